/**
 * Has the destinations that a bucket's notification document names told of a change, by the commit that makes it (events/note.ts).
 * A bucket without such a document is asked nothing and pays nothing: its row, which is in hand, says so.
 */
import { assert } from "../core/assert.ts";
import { noteEvent } from "../events/events.ts";
import type { Transaction } from "../kv/transact.ts";
import { hasConfiguration } from "../meta/configurations.ts";
import type { EventName, EventOrigin } from "../meta/events.ts";
import type { HeadRecord } from "../meta/heads.ts";
import { configurationIn } from "./configurations.ts";
import type { ObjectContext } from "./context.ts";
import { hasVersions, type Target } from "./target.ts";
import { versionIdOf } from "./version_ids.ts";

/** Why a key is changed: what its event is called, and who asked for it (undefined: the store itself). */
export type Cause<Name extends EventName = EventName> = {
  readonly event: Name;
  readonly origin: EventOrigin | undefined;
};

/** `version`: the one that was made, changed, or removed. Called once all that decides about the change was read. */
export async function announce(
  ctx: ObjectContext,
  tx: Transaction,
  { name, bucket, key, bucketVersion }: Target,
  { cause, version }: { readonly cause: Cause; readonly version: HeadRecord },
): Promise<void> {
  if (!hasConfiguration(bucket.configured, "notification")) return;
  const document = await configurationIn(ctx, tx, { name, bucket, version: bucketVersion }, "notification");
  if (document === undefined) return;
  assert(ctx.eventRules !== undefined, "who can set a notification document can read one");
  const { event, origin } = cause;
  const isThere = !event.startsWith("ObjectRemoved:") && !event.startsWith("LifecycleExpiration:");
  const written = await noteEvent(tx, ctx.session.id, ctx.eventRules(document), {
    name: event,
    atMs: ctx.clock.nowMs(),
    bucket: name,
    bucketId: bucket.id,
    region: bucket.region,
    key,
    object: isThere ? { sizeBytes: version.sizeBytes, etag: version.etag } : undefined,
    versionId: hasVersions(bucket) ? versionIdOf(version) : undefined,
    origin,
  });
  if (written > 0 && ctx.onQueued !== undefined) tx.committed(ctx.onQueued);
}
