/** Commits over several keys for programs that have the server inside: the document of docs/atomic-commit.md as objects. */
import { HoldfastError } from "../core/errors.ts";
import { readCommitDocument } from "../gateway/commit_document.ts";
import type { CommitDocumentEntry, ShownEntry } from "../gateway/commit_spelling.ts";
import { S3Error } from "../gateway/errors.ts";
import { shown } from "../gateway/handlers/commit.ts";
import type { CommitEntry } from "../object/commit_types.ts";
import type { Objects } from "../object/object.ts";

/** Errors: HoldfastError, with the place of the entry (`entry`, from 0) among its details where it is about one. */
export async function commitDocument(
  objects: Pick<Objects, "commit">,
  bucket: string,
  entries: readonly CommitDocumentEntry[],
): Promise<readonly ShownEntry[]> {
  const committed = await objects.commit({ bucket, entries: understood(entries) });
  return committed.map((entry) => shown(entry));
}

function understood(entries: readonly CommitDocumentEntry[]): CommitEntry[] {
  try {
    return readCommitDocument({ entries });
  } catch (error) {
    if (!(error instanceof S3Error)) throw error;
    const { Entry: entry, ...details } = error.details;
    const options = { details: { ...details, ...(entry !== undefined && { entry }) }, cause: error };
    throw new HoldfastError("invalid_request", error.message, options);
  }
}
