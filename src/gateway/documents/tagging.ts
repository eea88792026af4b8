/**
 * Tags, of buckets and of objects: the Tagging document, and the x-amz-tagging header, which spells them as a query. Both are
 * judged by the same rules; the errors and their words are AWS's.
 */
import { limits } from "../../core/limits.ts";
import { S3Error } from "../errors.ts";
import { invalidArgument } from "../params.ts";
import { decodeKey } from "../route.ts";
import { childrenOf, onlyChild, onlyChildren, requiredText, xmlElement } from "../xml.ts";
import type { XmlElement } from "../xml.ts";
import type { DocumentKind } from "./document.ts";

export type Tags = ReadonlyMap<string, string>;

const noTags: Tags = new Map();

/** Letters, digits and blanks of any script, and a few signs. */
const allowed = /^[\p{L}\p{Z}\p{N}_.:/=+\-@]*$/u;

function invalidTag(message: string, name: string): S3Error {
  return new S3Error("InvalidTag", message, { details: { TagKey: name } });
}

/** Errors: InvalidTag. */
export function checkTag(name: string, value: string): void {
  if (name.length === 0 || name.length > limits.tagNameCharsMax || !allowed.test(name))
    throw invalidTag("The TagKey you have provided is invalid", name);
  if (value.length > limits.tagValueCharsMax || !allowed.test(value))
    throw invalidTag("The TagValue you have provided is invalid", name);
  if (name.toLowerCase().startsWith("aws:")) throw invalidTag("System tags cannot be added/updated by requester", name);
}

/** Errors: InvalidTag, and `duplicate`'s. */
function tagsOf(pairs: readonly (readonly [string, string])[], rules: TagRules): Tags {
  const { countMax, what, duplicate } = rules;
  if (pairs.length > countMax) throw new S3Error("InvalidTag", `${what} tags cannot be greater than ${countMax}`);
  const tags = new Map<string, string>();
  for (const [name, value] of pairs) {
    checkTag(name, value);
    if (tags.has(name)) throw duplicate(name);
    tags.set(name, value);
  }
  return tags;
}

type TagRules = {
  readonly countMax: number;
  readonly what: "Object" | "Bucket";
  readonly duplicate: (name: string) => S3Error;
};

const duplicateInDocument = (name: string): S3Error =>
  invalidTag("Cannot provide multiple Tags with the same key", name);

function readTagging(root: XmlElement, countMax: number, what: TagRules["what"]): Tags {
  onlyChildren(root, ["TagSet"]);
  return readTags(onlyChild(root, "TagSet"), countMax, what);
}

function readTags(set: XmlElement, countMax: number, what: TagRules["what"]): Tags {
  onlyChildren(set, ["Tag"]);
  const pairs = childrenOf(set, "Tag").map((tag) => {
    onlyChildren(tag, ["Key", "Value"]);
    return [requiredText(tag, "Key"), requiredText(tag, "Value")] as const;
  });
  return tagsOf(pairs, { countMax, what, duplicate: duplicateInDocument });
}

/** The inside of a Tagging document. */
export function printTags(tags: Tags = noTags): string {
  const each = [...tags].map(([name, value]) => `<Tag>${xmlElement("Key", name)}${xmlElement("Value", value)}</Tag>`);
  return `<TagSet>${each.join("")}</TagSet>`;
}

export const bucketTagging: DocumentKind<Tags> = {
  kind: "tagging",
  root: "Tagging",
  parse: (root) => readTagging(root, limits.bucketTagsMax, "Bucket"),
  print: printTags,
  absent: { code: "NoSuchTagSet", message: "The TagSet does not exist" },
  putStatus: 204,
};

/** Of a bucket that is being made: the Tags of its CreateBucketConfiguration. */
export function newBucketTags(set: XmlElement): Tags {
  return readTags(set, limits.bucketTagsMax, "Bucket");
}

/** An object's tags have no order of their own: they are shown by name, however they were set. */
function byName(tags: Tags): Tags {
  return new Map([...tags].toSorted(([a], [b]) => (a < b ? -1 : 1)));
}

/** What PutObjectTagging sends. */
export function objectTags(root: XmlElement): Tags {
  return byName(readTagging(root, limits.objectTagsMax, "Object"));
}

/** `a=b&c=d`, percent-encoded. Undefined where there is no header; empty where it is empty. */
export function taggingHeader(text: string | string[] | undefined): Tags | undefined {
  if (text === undefined) return undefined;
  const header = String(text);
  const badHeader = (): S3Error =>
    invalidArgument(
      "x-amz-tagging",
      header,
      "The header 'x-amz-tagging' shall be encoded as UTF-8 then URLEncoded URL query parameters without tag name duplicates.",
    );
  const part = (encoded: string): string => {
    try {
      return decodeKey(encoded.replaceAll("+", "%20")).toString();
    } catch {
      throw badHeader();
    }
  };
  const pairs = header
    .split("&")
    .filter((pair) => pair !== "")
    .map((pair) => {
      const [name = "", ...rest] = pair.split("=");
      return [part(name), part(rest.join("="))] as const;
    });
  return byName(tagsOf(pairs, { countMax: limits.objectTagsMax, what: "Object", duplicate: badHeader }));
}
