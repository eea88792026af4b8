/**
 * How the node and the store stand, for whoever watches. Drives are asked themselves; what is in the metadata store is left
 * out when that does not answer soon: then of all times somebody wants to see the rest.
 */
import type { Clock } from "../core/clock.ts";
import type { Log } from "../core/log.ts";
import type { NodeDriveFacts, Standing, StoreStanding } from "../core/metrics.ts";
import type { DriveView } from "./drives.ts";
import type { Store } from "./store.ts";
import { packageVersion } from "./version.ts";

const storeAnswerMsMax = 2_000;

export type StandingParts = {
  readonly store: Pick<Store, "drives" | "nodes" | "storeDrives" | "backlog" | "work" | "destinations" | "objects">;
  readonly startedMs: number;
  readonly clock: Clock;
  readonly log: Log;
};

export async function standingOf(parts: StandingParts): Promise<Standing> {
  const { store, startedMs } = parts;
  const [here, read] = await Promise.all([store.drives(), readInTime(parts)]);
  const views = new Map(read?.views.map((view) => [view.id, view]));
  const drives = here.map((status): NodeDriveFacts => ({ ...status, ...scrubOf(views.get(status.id)) }));
  const others = store.nodes().filter(({ isOwn }) => !isOwn);
  const peers = others.map(({ url, isUp, isWell }) => ({ name: url, isWell: isUp && isWell }));
  return { version: packageVersion(), startedMs, drives, peers, ...(read && { store: read.store }) };
}

function scrubOf(view: DriveView | undefined): Pick<NodeDriveFacts, "checkedMs" | "damagedShards"> {
  return { checkedMs: view?.checkedMs ?? view?.addedMs, damagedShards: view?.damagedShards ?? 0 };
}

type Read = { readonly views: readonly DriveView[]; readonly store: StoreStanding };

async function readInTime(parts: StandingParts): Promise<Read | undefined> {
  const { clock, log } = parts;
  const answered = new AbortController();
  const late = clock.sleep(storeAnswerMsMax, answered.signal).then(() => undefined);
  const read = readStore(parts).catch((error: unknown) => {
    log.debug({ err: error }, "How the store stands could not be read.");
    return undefined;
  });
  const found = await Promise.race([read, late]);
  answered.abort();
  return found;
}

async function readStore({ store }: StandingParts): Promise<Read> {
  const [views, backlog, work, notifications, quotas] = await Promise.all([
    store.storeDrives.list(),
    store.backlog(),
    store.work(),
    store.destinations.facts(),
    store.objects.quotas(),
  ]);
  // Several machines may do their share of a job: behind the job's name stands whose share it is.
  const byJob = work.map(({ name, ...bytes }) => ({ ...bytes, job: name.split("@", 1)[0]! }));
  const nodes = store.nodes();
  const up = nodes.filter(({ isUp }) => isUp).length;
  const counted = nodes.length === 0 ? {} : { nodes: { up, away: nodes.length - up } };
  return { views, store: { drives: views, ...counted, ...backlog, notifications, quotas, work: byJob } };
}
