/**
 * A node's own row, kept up to date: how its drives are, every nodePublishMs, by one of its processes (the holder of a lease of
 * the node's own). When nobody does it any more the others take the node for away.
 */
import type { Clock } from "../core/clock.ts";
import { limits } from "../core/limits.ts";
import type { Log } from "../core/log.ts";
import type { Check, Kv } from "../kv/kv.ts";
import { nodeKey } from "../meta/keys.ts";
import { encodeNode, readNode, type NodeRecord } from "../meta/nodes.ts";
import type { ChunkNode } from "../node/node.ts";
import { DriveReports } from "./drive_reports.ts";

/** What does not change while the node runs. */
export type OwnNode = Omit<NodeRecord, "drives"> & { readonly url: string };

export type PublishParts = {
  readonly kv: Kv;
  readonly own: OwnNode;
  /** Of this machine. */
  readonly local: ChunkNode;
  /** Of the process's session: a fenced one says nothing any more. */
  readonly check: Check;
  /** Whether it is this process that does it. */
  readonly mayPublish: () => Promise<boolean>;
  readonly clock: Clock;
  readonly log: Log;
};

/** Until what it returns is called. */
export function keepPublished(parts: PublishParts): () => Promise<void> {
  const { clock, log } = parts;
  const reports = new DriveReports(parts);
  const stop = new AbortController();
  const ended = (async () => {
    for (let [isFailing, isSaid] = [false, false]; !stop.signal.aborted;) {
      try {
        const outcome = (await parts.mayPublish()) ? await publish(parts, reports) : undefined;
        if (outcome === "no place" && !isSaid)
          log.error(
            { url: parts.own.url },
            "This node is not in the list of nodes any more: the others do not see it.",
          );
        isSaid = outcome === "no place";
        isFailing = false;
      } catch (error) {
        if (!isFailing) log.warn({ err: error }, "This node could not say that it is there.");
        isFailing = true;
      }
      await clock.sleep(limits.nodePublishMs, stop.signal);
    }
  })();
  return () => {
    stop.abort();
    return ended;
  };
}

/** "no place": the row was removed, or is another server's (own_place.ts). */
async function publish({ kv, own, check }: PublishParts, reports: DriveReports): Promise<"published" | "no place"> {
  const { url, ...facts } = own;
  const row = await readNode(kv, url);
  if (row?.run !== own.run) return "no place";
  const value = encodeNode({ ...facts, drives: await reports.look() });
  await kv.commit({
    checks: [check, { key: nodeKey(url), version: row.rowVersion }],
    writes: [{ kind: "put", key: nodeKey(url), value }],
  });
  return "published";
}
