/** Multipart uploads. */
import { completedSum, isPossible, sumHeaders, sumOf, usualChoice, type Choice, type Sum } from "./checksums.ts";
import { keyFaults, md5, shownOfWrite, type Model } from "./model.ts";
import { sumFaults } from "./objects.ts";
import { within } from "./quotas.ts";
import { customerHeader, encryptionHeaders, hasMd5, isClients } from "./types.ts";
import type { ClientKey, Condition, Kept, Lock, Mode, Outcome, Part, Upload, Version } from "./types.ts";

const smallestPart = 5 * 1024 * 1024;

export function createUpload(
  model: Model,
  key: string,
  { mode: asked, lock, choice, note, tag, isPublic }: Kept & Asked,
): Outcome {
  const refused = model.lockFaults(lock);
  if (choice !== undefined && !isPossible(choice)) refused.push("InvalidRequest");
  if (refused.length > 0) return { refused };
  const mode = asked ?? model.defaultMode;
  const startedMs = model.clock.nowMs();
  const said = { note, tag, isPublic, lock, choice };
  const made: Upload = { ...said, key, mode, startedMs, id: undefined, parts: [], state: "open" };
  model.uploads.push(made);
  const headers = { "x-amz-checksum-algorithm": choice?.algorithm.toUpperCase(), "x-amz-checksum-type": choice?.type };
  return { status: 200, headers: { ...encryptionHeaders(mode), ...headers }, made };
}
type Asked = { readonly mode: Mode | undefined; readonly lock: Lock; readonly choice: Choice | undefined };

export function uploadPart(
  model: Model,
  upload: Upload,
  {
    number,
    bytes,
    clientKey,
    sum,
  }: { number: number; bytes: Buffer; clientKey: ClientKey | undefined; sum?: Sum | undefined },
): Outcome {
  if (upload.state !== "open") return { refused: ["NoSuchUpload", ...sumFaults(sum, bytes)] };
  const refused = [...keyFaults(upload.mode, clientKey), ...sumFaults(sum, bytes)];
  const { choice } = upload;
  if (choice !== undefined && sum !== undefined && sum.algorithm !== choice.algorithm) refused.push("InvalidRequest");
  return within(model, refused, () => {
    const etag = hasMd5(upload.mode) ? md5(bytes) : undefined;
    const kept = choice === undefined ? sum : sumOf(choice.algorithm, bytes);
    const made = { number, bytes, etag, sum: kept };
    upload.parts = [...upload.parts.filter((part) => part.number !== number), made].toSorted(
      (a, b) => a.number - b.number,
    );
    const headers = { ...encryptionHeaders(upload.mode), ...sumHeaders(kept), ...(etag && { etag: `"${etag}"` }) };
    return { status: 200, headers, made };
  });
}

export function copyPart(
  model: Model,
  upload: Upload,
  asked: {
    readonly number: number;
    readonly from: string;
    readonly id: string | undefined;
    readonly first: number | undefined;
    readonly sourceKey: ClientKey | undefined;
    readonly clientKey: ClientKey | undefined;
  },
): Outcome {
  const { number, clientKey, first } = asked;
  const source = model.source(asked.from, asked.id, { ...asked, sourceCondition: "none" });
  const refused = upload.state === "open" ? keyFaults(upload.mode, clientKey) : ["NoSuchUpload"];
  if (Array.isArray(source)) refused.push(...source);
  else if (first !== undefined && first >= source.bytes.length)
    refused.push("InvalidRange", "InvalidArgument", "InvalidRequest");
  if (refused.length > 0 || Array.isArray(source)) return within(model, refused, () => ({ refused }));
  const bytes = source.bytes.subarray(first ?? 0);
  const headers = { "x-amz-copy-source-version-id": model.versioning === "unversioned" ? undefined : source.id };
  const outcome = uploadPart(model, upload, { number, bytes, clientKey });
  if ("refused" in outcome) return outcome;
  return { ...outcome, headers: { ...encryptionHeaders(upload.mode), ...headers } };
}

export type Named = { readonly number: number; readonly etag: string; readonly sum: Sum | undefined };
type Completing = {
  /** As the request has them. */
  readonly named: readonly Named[];
  readonly condition: Condition;
  readonly clientKey: ClientKey | undefined;
  /** What the request says of the whole. */
  readonly whole: Sum | undefined;
};

export function complete(model: Model, upload: Upload, asked: Completing): Outcome {
  const { named } = asked;
  const text = JSON.stringify(named.map(({ number, etag }) => ({ number, etag })));
  const isOrdered = named.every(({ number }, at) => at === 0 || named[at - 1]!.number <= number);
  if (upload.state !== "open") {
    if (upload.state === "ended" || upload.state.named !== text) {
      return { refused: ["NoSuchUpload", ...(isOrdered ? [] : ["InvalidPartOrder"])] };
    }
    const { version, idShown } = upload.state;
    return { status: 200, headers: { "x-amz-version-id": idShown ? version.id : undefined }, made: version };
  }
  const refused = [...model.failed(upload.key, asked.condition), ...completingKeyFaults(upload, asked.clientKey)];
  // Of a part that is named several times in a row, what is said last counts.
  const last = named.filter(({ number }, at) => named[at + 1]?.number !== number);
  const parts = last.flatMap(({ number, etag }) => upload.parts.find((each) => isPart(each, number, etag)) ?? []);
  if (!isOrdered) refused.push("InvalidPartOrder");
  if (parts.length < last.length) refused.push("InvalidPart");
  if (parts.slice(0, -1).some((part) => part.bytes.length < smallestPart)) refused.push("EntityTooSmall");
  refused.push(...namedSumFaults(upload, last), ...wholeFaults(upload, parts, asked.whole));
  return within(model, refused, () => {
    const version = publish(model, upload, { parts, whole: asked.whole });
    upload.state = { named: text, version, idShown: model.versioning === "enabled" };
    const { [customerHeader]: _, ...headers } = shownOfWrite(version);
    return { status: 200, headers, made: version };
  });
}

const isPart = (part: Part, number: number, etag: string): boolean => part.number === number && part.etag === etag;

/** A client's key need not come, but where there is a checksum. */
function completingKeyFaults({ mode, choice, parts }: Upload, clientKey: ClientKey | undefined): string[] {
  const isSummed = choice !== undefined || parts.some(({ sum }) => sum !== undefined);
  const isNeeded = isClients(mode) && isSummed;
  return isNeeded || clientKey !== undefined ? keyFaults(mode, clientKey) : [];
}

/** What the request names must be so; where the whole's is made of the parts', they have one algorithm. */
function namedSumFaults({ choice, parts }: Upload, named: readonly Named[]): string[] {
  const isOther = ({ sum }: Named): boolean => sum !== undefined && sum.algorithm !== choice?.algorithm;
  const refused = choice?.type === "COMPOSITE" && named.some(isOther) ? ["InvalidRequest"] : [];
  const isWrong = named.some(({ number, sum }) => {
    const kept = parts.find((part) => part.number === number)?.sum;
    return sum !== undefined && kept?.algorithm === sum.algorithm && kept.text !== sum.text;
  });
  return isWrong ? [...refused, "InvalidPart"] : refused;
}

/** What an upload was begun with, or what its Complete asks for. */
const choiceOf = ({ choice }: Upload, whole: Sum | undefined): Choice | undefined =>
  choice ?? (whole && usualChoice(whole.algorithm));

function wholeFaults(upload: Upload, parts: readonly Part[], whole: Sum | undefined): string[] {
  const choice = choiceOf(upload, whole);
  if (choice === undefined) return [];
  const computed = completedSum(choice, parts);
  if (computed === undefined || (whole !== undefined && whole.algorithm !== choice.algorithm))
    return ["InvalidRequest"];
  return whole !== undefined && computed.text !== whole.text ? ["BadDigest"] : [];
}

function publish(
  model: Model,
  upload: Upload,
  { parts, whole }: { readonly parts: readonly Part[]; readonly whole: Sum | undefined },
): Version {
  const { key, mode, note, tag, isPublic = false, lock } = upload;
  const bytes = Buffer.concat(parts.map((part) => part.bytes));
  const digest = md5(Buffer.from(parts.map((part) => part.etag!).join(""), "hex"));
  const choice = choiceOf(upload, whole);
  const checksum = choice && completedSum(choice, parts);
  const said = { note, tag, isPublic, checksum, parts, ...model.lockOf(lock) };
  return model.write(key, { etag: `${digest}-${parts.length}`, bytes, mode, ...said });
}

export function abort(upload: Upload): Outcome {
  if (upload.state !== "open") return { refused: ["NoSuchUpload"] };
  upload.state = "ended";
  return { status: 204, headers: {} };
}
