/** Lifecycle rules. Days are all one. */
import { dayMs, type Model } from "./model.ts";
import type { Rules } from "./types.ts";

const midnightFrom = (ms: number): number => Math.ceil(ms / dayMs) * dayMs;

/** What is due at this midnight. */
export function expire(model: Model): void {
  const { rules } = model;
  if (rules === undefined) return;
  for (const key of model.keys.filter((each) => each.startsWith(rules.prefix))) while (expireOnce(model, key, rules));
  for (const upload of model.uploads)
    if (
      upload.state === "open" &&
      rules.aborts === true &&
      upload.key.startsWith(rules.prefix) &&
      isDay(model, upload.startedMs)
    )
      upload.state = "ended";
}

function isDay(model: Model, fromMs: number): boolean {
  return midnightFrom(fromMs + dayMs) <= model.clock.nowMs();
}

/** Whether anything was done. */
function expireOnce(model: Model, key: string, { expires, noncurrent, markers }: Rules): boolean {
  const [current, ...older] = model.of(key);
  if (current === undefined) return false;
  if (expires === true && !current.isMarker && isDay(model, current.madeMs)) {
    if (model.versioning === "unversioned") model.drop(key, [current]);
    else model.mark(key);
    return true;
  }
  const nowMs = model.clock.nowMs();
  const gone = older.filter((version, at) => {
    const isLocked = version.held === true || midnightFrom(version.retention?.untilMs ?? 0) > nowMs;
    return noncurrent === true && !isLocked && isDay(model, [current, ...older][at]!.madeMs);
  });
  if (gone.length > 0) {
    model.drop(key, gone);
    return true;
  }
  if (!current.isMarker || older.length > 0) return false;
  const isOver =
    (expires === true && isDay(model, current.madeMs)) || (markers === true && midnightFrom(current.madeMs) <= nowMs);
  if (isOver) model.drop(key, [current]);
  return isOver;
}
