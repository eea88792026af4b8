/** What is said of versions afterwards: tags, access control lists, retention, legal holds. */
import type { Model } from "./model.ts";
import type { Outcome, Retention, Version } from "./types.ts";

export function setTag(model: Model, key: string, id: string | undefined, tag: string | undefined): Outcome {
  const version = model.find(key, id);
  if (typeof version === "string") return { refused: [version] };
  version.tag = tag;
  return { status: tag === undefined ? 204 : 200, headers: {} };
}

/** Who may read it: everybody, or nobody but its owner. */
export function setAcl(model: Model, key: string, id: string | undefined, isPublic: boolean): Outcome {
  const version = model.find(key, id);
  if (typeof version === "string") return { refused: [version] };
  version.isPublic = isPublic;
  return { status: 200, headers: {} };
}

export function setRetention(
  model: Model,
  key: string,
  { id, retention, bypass }: { id: string | undefined; retention: Retention | undefined; bypass: boolean },
): Outcome {
  const version = lockable(model, key, id);
  const refused = Array.isArray(version) ? version : [];
  if (retention !== undefined && retention.untilMs <= model.clock.nowMs()) refused.push("InvalidArgument");
  if (!Array.isArray(version)) {
    const { retention: before } = version;
    const isWeaker = before?.mode !== retention?.mode || (retention?.untilMs ?? 0) < (before?.untilMs ?? 0);
    const isKept = model.isLocked({ ...version, held: undefined }, bypass);
    if (isWeaker && isKept) refused.push("AccessDenied");
    if (refused.length === 0) version.retention = retention;
  }
  return refused.length > 0 ? { refused } : { status: 200, headers: {} };
}

export function setHold(model: Model, key: string, id: string | undefined, held: boolean): Outcome {
  const version = lockable(model, key, id);
  if (Array.isArray(version)) return { refused: version };
  version.held = held;
  return { status: 200, headers: {} };
}

function lockable(model: Model, key: string, id: string | undefined): Version | string[] {
  const version = model.find(key, id);
  const refused = model.hasLock ? [] : ["InvalidRequest"];
  if (typeof version === "string") return [...refused, version];
  return refused.length > 0 ? refused : version;
}
