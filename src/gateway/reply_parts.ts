/** What became of each key of a request that is about several, as access logs have it. Named as AWS names the requests for one. */
import type { CommitEntry, EntryOf } from "../object/commit_types.ts";
import type { ReplyPart } from "./respond.ts";

/** Of a commit that happened. */
export function partsOfCommit(entries: readonly CommitEntry[]): ReplyPart[] {
  return entries.flatMap((entry) => partsOfEntry(entry).map((part) => ({ status: 200, code: undefined, ...part })));
}

type Told = Pick<ReplyPart, "operation" | "key" | "versionId"> & { readonly status?: number };

function partsOfEntry(entry: CommitEntry): readonly Told[] {
  const { key } = entry;
  switch (entry.kind) {
    case "put":
      return [{ operation: "BATCH.PUT.OBJECT", key, versionId: undefined }];
    case "copy":
      return partsOfCopy(entry);
    case "rename":
      return partsOfRename("BATCH", { from: entry.source.key, to: key });
    case "delete":
      return [{ operation: "BATCH.DELETE.OBJECT", key, versionId: entry.versionId, status: 204 }];
    case "check":
      return [{ operation: "BATCH.HEAD.OBJECT", key, versionId: undefined }];
  }
}

function partsOfCopy({ key, source }: EntryOf<"copy">): readonly Told[] {
  return [
    { operation: "BATCH.COPY.OBJECT", key, versionId: undefined },
    { operation: "BATCH.COPY.OBJECT_GET", key: source.key, versionId: source.versionId },
  ];
}

/** `REST`: the request has a line of its own for the new key. */
export function partsOfRename(
  of: "REST" | "BATCH",
  { from, to }: { readonly from: Buffer; readonly to: Buffer },
): readonly ReplyPart[] {
  const common = { versionId: undefined, status: 200, code: undefined };
  const removed = { ...common, operation: `${of}.PUT.OBJECT_RENAME_DELETE`, key: from };
  return of === "REST" ? [removed] : [{ ...common, operation: "BATCH.PUT.OBJECT_RENAME", key: to }, removed];
}
