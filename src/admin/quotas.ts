/** Quotas as the operator's door speaks of them: `{"bytes": N or null, "objects": N or null}`; null is none. */
import { type DoorReply, type DoorRequest, jsonReply, methodNotAllowed } from "../core/door.ts";
import { HoldfastError } from "../core/errors.ts";
import { limits } from "../core/limits.ts";
import type { Directory } from "../identity/directory.ts";
import type { Objects } from "../object/object.ts";
import type { Quota, QuotaView } from "../object/quota_types.ts";
import { readJsonObject } from "./json_body.ts";

/** `held` null: it never had a quota, and is not counted so. */
export function quotaJson({ quota: { bytesMax, objectsMax }, held }: QuotaView): object {
  return { quota: { bytes: bytesMax ?? null, objects: objectsMax ?? null }, held: held ?? null };
}

/** What is not named stays as it was. Errors: `invalid_argument`. */
export function quotaIn(body: Readonly<Record<string, unknown>>, before: Quota): Quota {
  const { quota } = body;
  if (quota === null) return { bytesMax: undefined, objectsMax: undefined };
  if (typeof quota !== "object" || quota === undefined || Array.isArray(quota))
    throw new HoldfastError("invalid_argument", `"quota" must be an object, or null for none.`);
  const fields = quota as Readonly<Record<string, unknown>>;
  const unknown = Object.keys(fields).find((name) => name !== "bytes" && name !== "objects");
  if (unknown !== undefined)
    throw new HoldfastError("invalid_argument", `"${unknown}" is none of a quota's: bytes, objects.`);
  return {
    bytesMax: boundIn(fields, "bytes", before.bytesMax),
    objectsMax: boundIn(fields, "objects", before.objectsMax),
  };
}

function boundIn(
  fields: Readonly<Record<string, unknown>>,
  name: string,
  before: number | undefined,
): number | undefined {
  const value = fields[name];
  if (value === undefined) return before;
  if (value === null) return undefined;
  if (typeof value === "number" && Number.isSafeInteger(value) && value >= 0 && value <= limits.quotaMax) return value;
  throw new HoldfastError(
    "invalid_argument",
    `"${name}" of a quota is a whole number from 0 to ${limits.quotaMax}, or null for none.`,
  );
}

/** `admin/account-quotas/NUMBER`; whoever calls it has made sure that the caller may. Errors: `no_such_entity`. */
export async function accountQuotas(
  { objects, directory }: { readonly objects: Objects; readonly directory: Directory },
  request: DoorRequest,
): Promise<DoorReply> {
  const account = await accountOf(directory, request.segments[2] ?? "");
  if (request.method === "GET" || request.method === "HEAD")
    return jsonReply(200, { account: account.number, ...quotaJson(await objects.accountQuota(account.owner)) });
  if (request.method !== "PUT") throw methodNotAllowed("GET, PUT");
  const body = await readJsonObject(request.body(), ["quota"]);
  const quota = quotaIn(body, (await objects.accountQuota(account.owner)).quota);
  const set = await objects.setAccountQuota(account.owner, quota);
  return jsonReply(200, { account: account.number, ...quotaJson(set) });
}

/** `owner`: as buckets name it. `own` is the store's own account too. */
async function accountOf(
  directory: Directory,
  name: string,
): Promise<{ readonly number: string; readonly owner: string | undefined }> {
  const own = (await directory.ownAccount()).account;
  if (name === "own" || name === own) return { number: own, owner: undefined };
  const found = (await directory.accounts()).find(({ account }) => account === name);
  if (found === undefined) throw new HoldfastError("no_such_entity", `There is no account ${name}.`);
  return { number: found.account, owner: found.account };
}
