/**
 * What a part of a request says, for the conditions of policies. Where one request asks for much (entries of a commit, keys of a
 * DeleteObjects, both sides of a rename) each part has conditions, a source, a class and a version of its own, and they stand in the
 * body or under other names than those of headers. So each part is judged by what it would have said in a request for itself, and
 * the headers around it count for what they are about: the connection, the signature, the program.
 *
 * Known gap: what takes over its storage class from an object that is there (a rename, a `from` without headers) says none.
 */
import type { IncomingHttpHeaders } from "node:http";
import type { CommitEntry, EntryOf } from "../object/commit_types.ts";
import type { ObjectMetadata, WriteConditions } from "../object/object.ts";

/** `headers`: by the names that they would have, in lower case, as a client would write them. */
export type Said = { readonly headers: ReadonlyMap<string, string>; readonly versionId?: string | undefined };

type Header = readonly [name: string, value: string | undefined];

/** Headers without a value were not said. */
export function said(headers: readonly Header[], versionId?: string): Said {
  const given = headers.filter((header): header is readonly [string, string] => header[1] !== undefined);
  return { headers: new Map(given), versionId };
}

/** What such a header says is said by the part, or not at all. */
export function isOfPart(name: string): boolean {
  return (name.startsWith("if-") || name.startsWith("x-amz-")) && !ofRequest.has(name);
}

const ofRequest: ReadonlySet<string> = new Set(["x-amz-content-sha256", "x-amz-date", "x-amz-user-agent"]);

/** Of an object that is written, or that is deleted. */
export function saidConditions(conditions: WriteConditions | undefined): readonly Header[] {
  return [
    ["if-match", etagsText(conditions?.ifMatch)],
    ["if-none-match", etagsText(conditions?.ifNoneMatch)],
  ];
}

function etagsText(etags: readonly string[] | "*" | undefined): string | undefined {
  return etags === undefined || etags === "*" ? etags : etags.map((etag) => `"${etag}"`).join(", ");
}

/** Of a PutObject or a CopyObject that did the same. */
export function saidOfWrite(bucket: string, entry: EntryOf<"put" | "copy">): Said {
  return said([...saidConditions(entry.conditions), ...saidMetadata(entry.metadata), ...saidSource(bucket, entry)]);
}

function saidMetadata(metadata: ObjectMetadata | undefined): readonly Header[] {
  return (["x-amz-storage-class", "x-amz-website-redirect-location"] as const).map((name) => [
    name,
    metadata?.headers[name],
  ]);
}

function saidSource(bucket: string, entry: CommitEntry): readonly Header[] {
  if (entry.kind !== "copy") return [];
  const { key, versionId } = entry.source;
  const version = versionId === undefined ? "" : `?versionId=${versionId}`;
  return [
    ["x-amz-copy-source", `${encodeURIComponent(`${bucket}/${key.toString()}`)}${version}`],
    ["x-amz-metadata-directive", entry.metadata === undefined ? "COPY" : "REPLACE"],
  ];
}

/** What a rename says of the object that it makes, and of the one that it takes away. */
export type SaidOfRename = { readonly write: Said; readonly remove: Said };

export function saidOfRename({ conditions, source }: EntryOf<"rename">): SaidOfRename {
  return { write: said(saidConditions(conditions)), remove: said(saidConditions(source.conditions)) };
}

/** Of a RenameObject. */
export function saidInRename(headers: IncomingHttpHeaders): SaidOfRename {
  const text = (name: string): string | undefined => {
    const value = headers[name];
    return Array.isArray(value) ? value.join(", ") : value;
  };
  const names = ["if-match", "if-none-match"];
  return {
    write: said(names.map((name) => [name, text(name)])),
    remove: said(names.map((name) => [name, text(`x-amz-rename-source-${name}`)])),
  };
}
