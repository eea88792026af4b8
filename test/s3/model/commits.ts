/**
 * Several keys at once: each entry does what it would do alone to what there was before, and all of it happens, or nothing. No two
 * entries change the same key.
 */
import type { Model } from "./model.ts";
import { bytesOfCopy, put, remove, rename } from "./objects.ts";
import { noQuota, within } from "./quotas.ts";
import { isShared } from "./types.ts";
import type { Condition, Kept, Outcome, Part, Refused, Upload, Version } from "./types.ts";

export type Entry = { readonly key: string; readonly condition: Condition } & (
  | (Kept & { readonly does: "put"; readonly bytes: Buffer })
  | {
      readonly does: "from";
      readonly from: string;
      readonly id: string | undefined;
      readonly sourceCondition: Condition;
    }
  | { readonly does: "rename"; readonly from: string; readonly sourceCondition: Condition }
  | { readonly does: "delete"; readonly id: string | undefined }
  | { readonly does: "check" }
);
/** What each entry made. */
export type Committed = { readonly made: readonly (Version | Part | Upload | undefined)[] };

export function commit(model: Model, entries: readonly Entry[]): Refused | Committed {
  const changed = entries.flatMap(changedBy);
  const made: Committed["made"][number][] = [];
  const change = (): Outcome => {
    const before = model.save();
    const after = new Map<string, readonly Version[]>();
    const refused: string[] = new Set(changed).size < changed.length ? ["InvalidRequest"] : [];
    for (const entry of entries) {
      const outcome = alone(model, entry);
      if ("refused" in outcome) refused.push(...outcome.refused);
      else made.push(outcome.made);
      for (const key of changedBy(entry)) after.set(key, model.of(key));
      model.restore(before);
    }
    if (refused.length > 0) return { refused };
    for (const [key, versions] of after) {
      const gone = model.of(key).filter((version) => !versions.includes(version));
      model.drop(key, gone);
      model.place(key, versions);
    }
    return { status: 200, headers: {} };
  };
  // What takes something away is never refused for a quota, even if it leaves a marker.
  const isBounded = entries.some(({ does }) => does !== "delete" && does !== "check");
  const outcome = isBounded ? within(model, [], change) : change();
  return "refused" in outcome ? outcome : { made };
}

const changedBy = (entry: Entry): string[] =>
  entry.does === "check" ? [] : entry.does === "rename" ? [entry.key, entry.from] : [entry.key];

/** As if there were no quota: that is judged of all of them together. */
function alone(model: Model, entry: Entry): Outcome {
  const { quota } = model;
  model.quota = noQuota;
  const outcome = done(model, entry);
  model.quota = quota;
  return outcome;
}

function done(model: Model, entry: Entry): Outcome {
  const { key, condition } = entry;
  switch (entry.does) {
    case "put":
      return put(model, key, entry.bytes, { ...entry, lock: {} });
    case "from":
      return putFrom(model, entry);
    case "rename":
      return rename(model, entry.from, key, entry);
    case "delete":
      return remove(model, key, { id: entry.id, condition, bypass: false });
    case "check": {
      const refused = model.failed(key, condition);
      return refused.length > 0 ? { refused } : { status: 200, headers: {} };
    }
  }
}

/** A copy whose bytes stay where they are. */
function putFrom(model: Model, { key, condition, ...entry }: Entry & { readonly does: "from" }): Outcome {
  const source = model.source(entry.from, entry.id, { ...entry, sourceKey: undefined });
  const found = model.find(entry.from, entry.id);
  const mode = model.defaultMode;
  const refused = model.failed(key, condition);
  if (typeof found === "object" && !isShared(found.mode, mode)) refused.push("InvalidRequest");
  if (Array.isArray(source)) refused.push(...source);
  if (refused.length > 0 || Array.isArray(source)) return { refused };
  const { note, tag } = source;
  const said = { note, tag, isPublic: false, ...model.lockOf({}) };
  return { status: 200, headers: {}, made: model.write(key, { ...bytesOfCopy(source, mode), ...said }) };
}
