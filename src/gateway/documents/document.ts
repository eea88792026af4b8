/**
 * What a kind of configuration document is: how it is read, judged and written. What is stored is never what was sent but
 * what was understood of it, written anew: so a document that is there can always be read, and holds nothing that nobody
 * looked at.
 */
import { limits } from "../../core/limits.ts";
import type { ConfigurationDocument, ConfigurationKind } from "../../object/object.ts";
import { S3Error } from "../errors.ts";
import type { S3ErrorCode } from "../errors.ts";
import { parseXml, xmlDocument } from "../xml.ts";
import type { XmlElement } from "../xml.ts";

export type DocumentKind<T> = {
  readonly kind: ConfigurationKind;
  /** The name of the document's root element. */
  readonly root: string;
  /** The content of a document; throws S3Error for one that AWS would refuse. Reads back all that `print` writes. */
  readonly parse: (root: XmlElement) => T;
  /** The inside of the root element. */
  readonly print: (value: T) => string;
  /** What is answered where there is none: an error, or what counts then. */
  readonly absent: { readonly code: S3ErrorCode; readonly message: string } | { readonly value: T };
  /** 200 where nothing else is said. */
  readonly putStatus?: 204;
};

export function printDocument<T>({ root, print }: DocumentKind<T>, value: T): string {
  return xmlDocument(root, print(value));
}

/** The document as it is to be stored. Errors: those of `parse`, MissingRequestBodyError, MaxMessageLengthExceeded. */
export function normalised<T>(kind: DocumentKind<T>, sent: Buffer): { readonly value: T; readonly bytes: Buffer } {
  if (sent.length === 0) throw new S3Error("MissingRequestBodyError", "Request Body is empty");
  const value = kind.parse(parseXml(sent, kind.root));
  const bytes = Buffer.from(printDocument(kind, value));
  if (bytes.length > limits.configurationBytesMax)
    throw new S3Error("MaxMessageLengthExceeded", "Your request was too big.", {
      details: { MaxMessageLengthBytes: limits.configurationBytesMax },
    });
  return { value, bytes };
}

const read = new WeakMap<ConfigurationDocument, unknown>();

/** What a stored document says; parsed once, for it stays the same object as long as it is the bucket's. */
export function contentOf<T>({ parse, root }: DocumentKind<T>, document: ConfigurationDocument): T {
  const known = read.get(document) as T | undefined;
  if (known !== undefined) return known;
  const value = parse(parseXml(document.bytes, root));
  read.set(document, value);
  return value;
}
