/** Objects: written, added to, read, copied, renamed and deleted. */
import { appendedSum, sumHeaders, wholeSum, type Algorithm, type Checksum, type Sum } from "./checksums.ts";
import { keyFaults, md5, shownOfWrite, type Model } from "./model.ts";
import { within } from "./quotas.ts";
import { encryptionHeaders, hasMd5, isShared } from "./types.ts";
import type { ClientKey, Condition, Headers, Kept, Lock, Mode, Outcome, Version } from "./types.ts";

/** What a client says that its bytes add up to, or what does not agree with that. */
export const sumFaults = (sum: Sum | undefined, bytes: Buffer): string[] =>
  sum !== undefined && sum.text !== wholeSum(sum.algorithm, bytes).text ? ["BadDigest"] : [];

export function put(
  model: Model,
  key: string,
  bytes: Buffer,
  asked: Kept & { mode?: Mode | undefined; condition: Condition; lock: Lock; sum?: Sum | undefined },
): Outcome {
  const { note, tag, isPublic = false, sum } = asked;
  const refused = [...model.failed(key, asked.condition), ...model.lockFaults(asked.lock), ...sumFaults(sum, bytes)];
  return within(model, refused, () => {
    const mode = asked.mode ?? model.defaultMode;
    const etag = hasMd5(mode) ? md5(bytes) : undefined;
    const checksum: Checksum | undefined = sum && { ...sum, type: "FULL_OBJECT" };
    const said = { note, tag, isPublic, checksum, parts: undefined, ...model.lockOf(asked.lock) };
    const made = model.write(key, { etag, bytes, mode, ...said });
    return {
      status: 200,
      headers: { ...shownOfWrite(made), ...sumHeaders(checksum), ...(etag && { etag: `"${etag}"` }) },
      made,
    };
  });
}

/** Adds to the end of what is there. */
export function append(
  model: Model,
  key: string,
  bytes: Buffer,
  { offset, condition, sum }: { offset: number; condition: Condition; sum: Sum | undefined },
): Outcome {
  const current = model.current(key);
  const before = current?.bytes ?? Buffer.alloc(0);
  const refused = [...model.failed(key, condition), ...sumFaults(sum, bytes)];
  if (model.versioning !== "unversioned" || model.defaultMode !== "plain") refused.push("InvalidRequest");
  if (bytes.length === 0 || (current && current.mode !== "plain")) refused.push("InvalidRequest");
  if (offset !== before.length) refused.push("InvalidWriteOffset");
  return within(model, refused, () => {
    const all = Buffer.concat([before, bytes]);
    const checksum = before.length === 0 ? sum && wholeSum(sum.algorithm, all) : appendedSum(current?.checksum, all);
    const parts = before.length === 0 ? undefined : "unknown";
    const { note, tag, isPublic = false } = current ?? {};
    const said = { note, tag, isPublic, checksum, parts, retention: undefined, held: undefined } as const;
    const made = model.write(key, { etag: undefined, bytes: all, mode: "plain", ...said });
    return { status: 200, headers: { ...shownOfWrite(made), "x-amz-object-size": String(all.length) }, made };
  });
}

type Asked = {
  readonly id: string | undefined;
  readonly clientKey: ClientKey | undefined;
  readonly condition: Condition;
  /** Bytes from there on, or one part; or neither, and all of it. */
  readonly from?: number | undefined;
  readonly part?: number | undefined;
  /** A request without a signature: it is told nothing of what it may not read. */
  readonly isAnonymous?: boolean;
};

export function get(model: Model, key: string, asked: Asked): Outcome {
  const { id, clientKey, condition, isAnonymous = false } = asked;
  const version = model.find(key, id);
  if (isAnonymous && (typeof version === "string" || !version.isPublic)) return { refused: ["AccessDenied"] };
  if (typeof version === "string") return { refused: [version] };
  const refused = keyFaults(version.mode, clientKey);
  if (condition === "other") refused.push("PreconditionFailed");
  if (condition === "absent") refused.push("NotModified");
  const span = spanOf(version, asked);
  if (typeof span === "string") refused.push(span);
  if (refused.length > 0 || typeof span === "string") return { refused };
  const { first, body, checksum } = span;
  const whole = version.bytes.length;
  const range = body.length === 0 ? `bytes */${whole}` : `bytes ${first}-${first + body.length - 1}/${whole}`;
  const isSpan = span.isPart || asked.from !== undefined;
  const headers: Headers = {
    ...shownOf(model, version, isAnonymous),
    ...sumHeaders(checksum),
    "content-length": String(body.length),
    "content-range": isSpan ? range : undefined,
    "x-amz-mp-parts-count":
      asked.part !== undefined && Array.isArray(version.parts) ? String(version.parts.length) : undefined,
  };
  return { status: isSpan ? 206 : 200, headers, body };
}

type Span = {
  readonly first: number;
  readonly body: Buffer;
  readonly isPart: boolean;
  readonly checksum: (Sum & Pick<Checksum, "type">) | undefined;
};

/** A range has no checksum, unless it is all of the object. What was made in one piece is its own part 1. */
function spanOf({ bytes, parts, checksum }: Version, { from, part: number }: Asked): Span | string {
  if (from !== undefined && from >= bytes.length) return "InvalidRange";
  const whole = { first: 0, body: bytes, isPart: false, checksum };
  if (number === undefined) {
    const isAll = from === undefined || from === 0;
    return isAll ? whole : { first: from, body: bytes.subarray(from), isPart: false, checksum: undefined };
  }
  if (parts === undefined || parts === "unknown")
    return number === 1 ? { ...whole, isPart: bytes.length > 0 } : "InvalidPart";
  const at = parts.findIndex((each) => each.number === number);
  const part = parts[at];
  if (part === undefined) return "InvalidPart";
  const first = parts.slice(0, at).reduce((sum, each) => sum + each.bytes.length, 0);
  const ofPart = part.sum && { ...part.sum, type: checksum?.type ?? ("FULL_OBJECT" as const) };
  const isAll = part.bytes.length === bytes.length;
  return { first, body: part.bytes, isPart: true, checksum: ofPart ?? (isAll ? checksum : undefined) };
}

/** All that a reader is told of a version. Its tags and its lock are no business of those whom nobody knows. */
function shownOf(model: Model, version: Version, isAnonymous: boolean): Headers {
  const { id, etag, mode, note } = version;
  const { tag, retention, held } = isAnonymous ? { ...version, ...unseen } : version;
  return {
    ...encryptionHeaders(mode),
    etag: `"${etag}"`,
    "x-amz-version-id": model.versioning === "unversioned" ? undefined : id,
    "x-amz-meta-note": note,
    "x-amz-tagging-count": tag === undefined ? undefined : "1",
    "x-amz-object-lock-mode": retention?.mode,
    "x-amz-object-lock-retain-until-date": retention && new Date(retention.untilMs).toISOString(),
    "x-amz-object-lock-legal-hold": held === undefined ? undefined : held ? "ON" : "OFF",
  };
}
const unseen = { tag: undefined, retention: undefined, held: undefined };

export function remove(
  model: Model,
  key: string,
  { id, condition, bypass }: { id: string | undefined; condition: Condition; bypass: boolean },
): Outcome {
  return id === undefined ? removeCurrent(model, key, condition) : removeVersion(model, key, { id, condition, bypass });
}

function removeCurrent(model: Model, key: string, condition: Condition): Outcome {
  const refused = model.failed(key, condition);
  if (refused.length > 0) return { refused };
  if (model.versioning === "unversioned") {
    model.drop(key, model.of(key));
    return { status: 204, headers: { "x-amz-version-id": undefined, "x-amz-delete-marker": undefined } };
  }
  const made = model.mark(key);
  return {
    status: 204,
    headers: { "x-amz-delete-marker": "true", ...(made.id && { "x-amz-version-id": made.id }) },
    made,
  };
}

function removeVersion(
  model: Model,
  key: string,
  { id, condition, bypass }: { id: string; condition: Condition; bypass: boolean },
): Outcome {
  const version = model.of(key).find((each) => each.id === id);
  const object = version?.isMarker === true ? undefined : version;
  const refused: string[] = [];
  if (condition === "there" || condition === "other") {
    if (object === undefined) refused.push("NoSuchKey");
    else if (condition === "other") refused.push("PreconditionFailed");
  }
  if (version !== undefined && model.isLocked(version, bypass)) refused.push("AccessDenied");
  if (refused.length > 0) return { refused };
  if (version !== undefined) model.drop(key, [version]);
  const isMarker = version?.isMarker === true ? "true" : undefined;
  return { status: 204, headers: { "x-amz-version-id": id, "x-amz-delete-marker": isMarker } };
}

export function copy(
  model: Model,
  asked: {
    readonly from: string;
    readonly id: string | undefined;
    readonly sourceKey: ClientKey | undefined;
    readonly sourceCondition: Condition;
    readonly to: string;
    readonly mode: Mode | undefined;
    readonly condition: Condition;
    readonly lock: Lock;
    readonly isPublic: boolean | undefined;
    /** To be computed of the copy; undefined: the source's. */
    readonly algorithm: Algorithm | undefined;
    /** Undefined: the source's. */
    readonly replaced: Kept | undefined;
  },
): Outcome {
  const { from, id, to, lock, replaced, algorithm } = asked;
  const source = model.source(from, id, asked);
  const refused = [...model.failed(to, asked.condition), ...model.lockFaults(lock)];
  const changesNothing = replaced === undefined && asked.mode === undefined && model.versioning === "unversioned";
  if (from === to && changesNothing) refused.push("InvalidRequest");
  if (Array.isArray(source)) refused.push(...source);
  return within(model, refused, () => {
    if (Array.isArray(source)) return { refused: source };
    const mode = asked.mode ?? model.defaultMode;
    const { note, tag } = replaced ?? source;
    const said = { note, tag, isPublic: asked.isPublic ?? false, ...model.lockOf(lock) };
    const made = model.write(to, { ...bytesOfCopy(source, mode, algorithm), ...said });
    const sourceId = model.versioning === "unversioned" ? undefined : source.id;
    return { status: 200, headers: { ...shownOfWrite(made), "x-amz-copy-source-version-id": sourceId }, made };
  });
}

type BytesOfCopy = Pick<Version, "etag" | "bytes" | "mode" | "checksum" | "parts">;

/** What is encrypted in another way is written anew, in one piece. */
export function bytesOfCopy({ bytes, ...source }: Version, mode: Mode, algorithm?: Algorithm): BytesOfCopy {
  const isKept = isShared(source.mode, mode);
  const wanted = algorithm ?? (isKept ? undefined : source.checksum?.algorithm);
  const checksum = wanted === undefined ? source.checksum : wholeSum(wanted, bytes);
  if (isKept) return { etag: source.etag, bytes, mode, checksum, parts: source.parts };
  return { etag: hasMd5(mode) ? md5(bytes) : undefined, bytes, mode, checksum, parts: undefined };
}

export function rename(
  model: Model,
  from: string,
  to: string,
  { condition, sourceCondition }: { condition: Condition; sourceCondition: Condition },
): Outcome {
  const source = model.current(from);
  const refused = from === to ? ["InvalidRequest"] : [];
  if (source === undefined) refused.push("NoSuchKey");
  else if (sourceCondition === "other" || sourceCondition === "absent") refused.push("PreconditionFailed");
  refused.push(...model.failed(to, condition));
  if (source !== undefined && model.isLocked(source, false)) refused.push("AccessDenied");
  return within(model, refused, () => {
    if (source === undefined) return { refused };
    const made = model.write(to, { ...source, ...model.lockOf({}) });
    if (model.versioning === "unversioned") {
      // It is the object as it was, at another key.
      model.place(to, [{ ...source }]);
      model.drop(from, [source]);
      return { status: 200, headers: { "x-amz-version-id": undefined } };
    }
    model.mark(from);
    return { status: 200, headers: model.versioning === "enabled" ? {} : { "x-amz-version-id": undefined }, made };
  });
}
