/**
 * OpenID Connect providers: the issuers whose tokens an account takes, and the clients that those must be for. A provider is named by its
 * address without `https://`, which is the end of its ARN. Whether a token holds is not judged here (src/oidc).
 *
 * Sources: CreateOpenIDConnectProvider and its like of the IAM API reference.
 */
import { HoldfastError } from "../core/errors.ts";
import { limits } from "../core/limits.ts";
import { transact, type Transaction } from "../kv/transact.ts";
import { tags } from "../meta/keys.ts";
import { namedRows, noSuch, putNew, rowKey, tooMany, type IdentityContext } from "./context.ts";
import { checkTags } from "./names.ts";
import { decodeOidcProvider, encodeOidcProvider, type OidcProviderRecord } from "./oidc_record.ts";
import type { Tag } from "./records.ts";

export type OidcProvider = OidcProviderRecord & { readonly arn: string; readonly name: string };

export type NewOidcProvider = {
  readonly account: string;
  readonly url: string;
  readonly clientIds?: readonly string[] | undefined;
  readonly thumbprints?: readonly string[] | undefined;
  readonly tags?: readonly Tag[] | undefined;
};

/** Host, port and path, of characters that can stand in an ARN and in the name of a condition key. */
const urlForm = /^https?:\/\/[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?(?::\d{1,5})?(?:\/[A-Za-z0-9._/-]*)?$/;
const nameForm = /^[A-Za-z0-9._:/-]{1,255}$/;
/** As OAuth has them: visible ASCII, and the space. */
const clientIdForm = /^[\x20-\x7e]{1,255}$/;
/** AWS documents the length, and writes examples with other letters than those of digits. */
const thumbprintForm = /^[0-9A-Za-z]{40}$/;

/** What stands in ARNs and before the colon of condition keys. */
export function oidcNameOf(url: string): string {
  return url.replace(/^https?:\/\//, "");
}

/** Errors: `invalid_argument`, `too_many_of_identity`, `entity_already_exists`, `no_such_entity` for the account. */
export async function createOidcProvider(ctx: IdentityContext, given: NewOidcProvider): Promise<OidcProvider> {
  const { account, url } = given;
  const record: OidcProviderRecord = {
    url,
    createdMs: ctx.clock.nowMs(),
    clientIds: [...new Set(given.clientIds)],
    thumbprints: given.thumbprints ?? [],
    tags: given.tags ?? [],
  };
  checkRecord(record);
  const row = { tag: tags.provider, account, name: oidcNameOf(url), value: encodeOidcProvider(record) };
  if ((await listOidcProviders(ctx, account)).length >= limits.oidcProvidersMax)
    throw tooMany(`An account has at most ${limits.oidcProvidersMax} OpenID Connect providers.`);
  await transact(ctx.kv, (tx) => putNew(tx, row));
  return shown(account, record);
}

function checkRecord({ url, clientIds, thumbprints, tags: given }: OidcProviderRecord): void {
  if (url.length > limits.oidcUrlCharsMax || !urlForm.test(url))
    throw invalid("The URL of a provider is https://, a host and perhaps a path, with at most 255 characters.");
  if (clientIds.length > limits.oidcClientIdsMax)
    throw tooMany(`A provider has at most ${limits.oidcClientIdsMax} client IDs.`);
  if (thumbprints.length > limits.oidcThumbprintsMax)
    throw invalid(`A provider has at most ${limits.oidcThumbprintsMax} thumbprints.`);
  if (!clientIds.every((each) => clientIdForm.test(each)))
    throw invalid("A client ID has 1 to 255 characters of visible ASCII.");
  if (!thumbprints.every((each) => thumbprintForm.test(each))) throw invalid("A thumbprint has 40 letters and digits.");
  checkTags(given);
}

function invalid(message: string): HoldfastError {
  return new HoldfastError("invalid_argument", message);
}

function shown(account: string, record: OidcProviderRecord): OidcProvider {
  const name = oidcNameOf(record.url);
  return { ...record, name, arn: oidcArn(account, name) };
}

export function oidcArn(account: string, name: string): string {
  return `arn:aws:iam::${account}:oidc-provider/${name}`;
}

/** By its ARN. Errors: `no_such_entity`. */
export async function readOidcProvider(ctx: IdentityContext, account: string, arn: string): Promise<OidcProvider> {
  return shown(account, await transact(ctx.kv, (tx) => rowOf(tx, account, arn)));
}

/** Under just this ARN: addresses differ by case, though names of rows do not. */
async function rowOf(tx: Transaction, account: string, arn: string): Promise<OidcProviderRecord> {
  const start = oidcArn(account, "");
  const name = arn.startsWith(start) ? arn.slice(start.length) : "";
  if (!nameForm.test(name)) throw noSuch("OpenID Connect provider", arn);
  const [row] = await tx.get([rowKey(tags.provider, account, name)]);
  const record = row && decodeOidcProvider(row.value);
  if (record === undefined || oidcNameOf(record.url) !== name) throw noSuch("OpenID Connect provider", arn);
  return record;
}

/** All that an account has. */
export async function listOidcProviders(ctx: IdentityContext, account: string): Promise<OidcProvider[]> {
  // Some more, should several have been made at one moment.
  const rows = await namedRows(ctx, tags.provider, { account, limit: 2 * limits.oidcProvidersMax });
  return rows.map(({ value }) => shown(account, decodeOidcProvider(value)));
}

export type OidcChange = Partial<Pick<OidcProviderRecord, "clientIds" | "thumbprints" | "tags">>;

/** Errors: `no_such_entity`, `invalid_argument`, `too_many_of_identity`. */
export async function setOidcProvider(
  ctx: IdentityContext,
  account: string,
  arn: string,
  change: (provider: OidcProviderRecord) => OidcChange,
): Promise<void> {
  await transact(ctx.kv, async (tx) => {
    const record = await rowOf(tx, account, arn);
    const changed = { ...record, ...change(record) };
    checkRecord(changed);
    tx.put(rowKey(tags.provider, account, oidcNameOf(record.url)), encodeOidcProvider(changed));
  });
}

/** Its tokens are taken no more; sessions that began with them last until they end. Errors: `no_such_entity`. */
export async function deleteOidcProvider(ctx: IdentityContext, account: string, arn: string): Promise<void> {
  await transact(ctx.kv, async (tx) => {
    const { url } = await rowOf(tx, account, arn);
    tx.delete(rowKey(tags.provider, account, oidcNameOf(url)));
  });
}
