/** Reading answers: the first child of a name, and its text. */
import type { XmlElement } from "../gateway/xml.ts";

export const child = (element: XmlElement, name: string): XmlElement | undefined =>
  element.children.find((each) => each.name === name);

/** "" where there is no such child. */
export const text = (element: XmlElement, name: string): string => child(element, name)?.text ?? "";
