/** Several keys of a bucket changed at once (ours: docs/atomic-commit.md). */
import type { ShownEntry } from "../commit_spelling.ts";
import type { CommittedEntry } from "../../object/commit_types.ts";
import { newObjectAcl } from "../acls.ts";
import { judgedEntry, shownOfEntry } from "../commit_access.ts";
import { parseCommitDocument } from "../commit_document.ts";
import type { Handler } from "../exchange.ts";
import { partsOfCommit } from "../reply_parts.ts";

export const commitObjects: Handler = async (request, services) => {
  const { bucket, signal, origin, authority } = request;
  const asked = parseCommitDocument(await request.xml());
  const acl = await newObjectAcl({ bucket, headers: {}, authority }, services);
  const entries = asked.map((entry, index) => judgedEntry(request, { entry, index, acl }));
  const committed = await services.objects.commit({ bucket, entries, origin, signal }).catch((error: unknown) => {
    throw shownOfEntry(request, asked, error);
  });
  const body = `${JSON.stringify({ entries: committed.map(shown) })}\n`;
  return { status: 200, headers: ["content-type", "application/json"], body, parts: partsOfCommit(asked) };
};

export function shown({ key, etag, versionId, isMarker }: CommittedEntry): ShownEntry {
  return { key: key.toString(), etag, versionId, deleteMarker: isMarker ? true : undefined };
}
