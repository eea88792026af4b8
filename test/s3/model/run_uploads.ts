/** Steps of multipart uploads. */
import { pattern } from "../server.ts";
import { completedSum, sumOf, usualChoice, type Sum } from "./checksums.ts";
import { noEtag } from "./model.ts";
import {
  askedHeaders,
  broughtKey,
  conditionHeaders,
  document,
  keyHeaders,
  lockOf,
  partsText,
  toldSum,
  toldSumHeaders,
  uploadAt,
  versionAt,
} from "./requests.ts";
import type { Handlers, Run } from "./run.ts";
import { copiedHeaders } from "./run_objects.ts";
import type { Upload } from "./types.ts";
import { abort, complete, copyPart, createUpload, uploadPart, type Named } from "./uploads.ts";

/** The smallest part that others may follow. */
const wholePart = pattern(5 * 1024 * 1024);

export function uploadHandlers(run: Run): Handlers<"begin" | "part" | "copyPart" | "complete" | "abort"> {
  const { model } = run;
  const pathOf = ({ key, id }: Upload, number?: number): string =>
    `${run.path(key)}?${number === undefined ? "" : `partNumber=${number}&`}uploadId=${id}`;
  return {
    begin: async (each) => {
      const { choice } = each;
      const headers = askedHeaders(model, each);
      if (choice !== undefined) headers["x-amz-checksum-algorithm"] = choice.algorithm.toUpperCase();
      if (choice !== undefined) headers["x-amz-checksum-type"] = choice.type;
      const outcome = createUpload(model, each.key, { ...each, lock: lockOf(model, each) });
      await run.send("begin", { method: "POST", path: `${run.path(each.key)}?uploads`, headers }, outcome);
    },
    part: async ({ upload: at, number, body, isWhole, brings, sum: asked, isUsual }) => {
      const to = uploadAt(model, at);
      if (to === undefined) return;
      const clientKey = broughtKey(to.mode, brings);
      const bytes = isWhole === 0 ? wholePart : body;
      // Another algorithm than the upload's is refused.
      const sum = toldSum(asked && isUsual ? { ...asked, ...to.choice } : asked, bytes);
      const headers = { ...keyHeaders(clientKey), ...toldSumHeaders(sum) };
      const outcome = uploadPart(model, to, { number, bytes, clientKey, sum });
      await run.send("part", { method: "PUT", path: pathOf(to, number), headers, body: bytes }, outcome);
    },
    copyPart: async (each) => {
      const to = uploadAt(model, each.upload);
      if (to === undefined) return;
      const id = run.id(each.from, each.which);
      const source = versionAt(model, each.from, id);
      const sourceKey = broughtKey(source?.mode, each.sourceBrings);
      const clientKey = broughtKey(to.mode, each.brings);
      const headers = { ...keyHeaders(clientKey), ...copiedHeaders(run.bucket, { from: each.from, id, sourceKey }) };
      const last = Math.max(each.first ?? 0, (source?.bytes.length ?? 1) - 1);
      if (each.first !== undefined) headers["x-amz-copy-source-range"] = `bytes=${each.first}-${last}`;
      const outcome = copyPart(model, to, { ...each, id, sourceKey, clientKey });
      await run.send("copyPart", { method: "PUT", path: pathOf(to, each.number), headers }, outcome);
    },
    complete: async ({ upload: at, condition, fault, brings, says }) => {
      const ready = model.uploads.findLast(({ state, parts }) => state === "open" && parts.length > 0);
      const to = (at === 0 ? ready : undefined) ?? uploadAt(model, at);
      if (to === undefined) return;
      const named = namedParts(to, fault);
      // Where no checksum is about the key may stay away.
      const clientKey = broughtKey(to.mode, to.choice === undefined && brings === "right" ? "none" : brings);
      const whole = wholeSum(to, named, says);
      const { headers, body } = document(partsText(named));
      const all = {
        ...headers,
        ...keyHeaders(clientKey),
        ...toldSumHeaders(whole),
        ...conditionHeaders(condition, model.current(to.key)),
      };
      const outcome = complete(model, to, { named, condition, clientKey, whole });
      await run.send("complete", { method: "POST", path: pathOf(to), headers: all, body }, outcome);
    },
    abort: async ({ upload: at }) => {
      const to = uploadAt(model, at);
      if (to !== undefined) await run.send("abort", { method: "DELETE", path: pathOf(to) }, abort(to));
    },
  };
}

function namedParts(to: Upload, fault: string): Named[] {
  if (typeof to.state === "object" && fault === "none")
    return (JSON.parse(to.state.named) as Named[]).map((part) => ({ ...part, sum: undefined }));
  const all = to.parts.map(({ number, etag, sum }) => ({ number, etag: etag!, sum }));
  if (all.length === 0) return [{ number: 1, etag: noEtag, sum: undefined }];
  if (fault === "small") return all;
  if (fault === "few") return all.slice(0, 1);
  // Only the last one may be small; what is not named is left out.
  const named = all.filter((_, at) => at === all.length - 1 || to.parts[at]!.bytes.length >= wholePart.length);
  if (fault === "etag") return named.map((part) => ({ ...part, etag: noEtag }));
  if (fault === "unsummed") return named.map((part) => ({ ...part, sum: undefined }));
  if (fault === "sum")
    return named.map(({ sum, ...part }) => ({ ...part, sum: sum && sumOf(sum.algorithm, Buffer.from("else")) }));
  return fault === "order" ? named.toReversed() : named;
}

/** Of the upload's algorithm, or of that which its parts have. */
function wholeSum(to: Upload, named: readonly Named[], says: string): Sum | undefined {
  const isSummed = to.choice !== undefined || to.parts.some(({ sum }) => sum !== undefined);
  if (says === "nothing" || (says === "right" && !isSummed)) return undefined;
  const choice = to.choice ?? usualChoice(to.parts[0]?.sum?.algorithm ?? "crc32");
  const { algorithm } = choice;
  const parts = named.flatMap(({ number }) => to.parts.find((part) => part.number === number) ?? []);
  const computed = says === "right" && parts.length > 0 ? completedSum(choice, parts) : undefined;
  return computed ?? sumOf(algorithm, Buffer.from("else"));
}
