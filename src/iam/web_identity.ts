/**
 * STS: a role for somebody whom an OpenID Connect issuer knows. The request is not signed: its token says who asks. In this order:
 * the role is there; its account has a provider for the token's issuer; the token holds (src/oidc); the role's trust policy allows
 * `sts:AssumeRoleWithWebIdentity` to that provider, under its conditions on the token's claims (`ISSUER:sub`, `ISSUER:aud`, …).
 *
 * A token may bring tags for the session and a source identity, where the trust policy allows `sts:TagSession` and
 * `sts:SetSourceIdentity`. What the conditions saw of the token, those of the session's later requests see, too.
 *
 * Known gaps: providers that AWS has built in (which take access tokens of Amazon, Facebook and Google), tags that go on into further
 * sessions.
 * Sources: AssumeRoleWithWebIdentity of the STS API reference; "Available keys for AWS OIDC federation" and "Pass session tags in AWS
 * STS" of the IAM User Guide.
 */
import { limits } from "../core/limits.ts";
import { xmlElement } from "../gateway/xml.ts";
import type { Identity } from "../identity/identity.ts";
import { roleOfArn } from "../identity/names.ts";
import { oidcArn, oidcNameOf, type OidcProvider } from "../identity/oidc_providers.ts";
import type { Tag } from "../identity/records.ts";
import type { Role } from "../identity/roles.ts";
import type { Claims, Refusal, TokenVerifier } from "../oidc/oidc.ts";
import { normalKey, type KeyValue } from "../policy/condition_values.ts";
import { judge } from "../policy/evaluate.ts";
import { parsePolicy } from "../policy/policy.ts";
import { optional } from "./answer.ts";
import { keysOf, type Call } from "./call.ts";
import { QueryError } from "./faults.ts";
import type { Form } from "./form.ts";
import { assumedXml } from "./sts.ts";
import { whereThere } from "./users.ts";

/** A request that nobody signed. */
export type OpenCall = {
  readonly form: Form;
  readonly identity: Identity;
  readonly tokens: TokenVerifier;
  readonly facts: Call["facts"];
};

type Holder = { readonly provider: OidcProvider; readonly claims: Claims; readonly audience: string };

async function assumeRoleWithWebIdentity(call: OpenCall): Promise<string> {
  const { form, identity } = call;
  const named = roleOfArn(form.required("RoleArn"));
  const name = form.required("RoleSessionName");
  const token = form.required("WebIdentityToken");
  if (form.has("ProviderId")) throw new QueryError("ValidationError", "ProviderId is not for OpenID Connect tokens.");
  const role = named && (await whereThere(identity.directory.role(named.account, named.name)));
  if (role === undefined || role.arn !== form.required("RoleArn")) throw notAuthorized("AssumeRoleWithWebIdentity");
  const { account } = named!;
  const holder = await holderOf(call, account, token);
  const { provider, claims, audience } = holder;
  const tags = tagsIn(claims.all);
  const sourceIdentity = sourceIdentityIn(claims.all);
  const keys = keysOfToken(holder);
  judgeTrust(call, { role, account, provider, keys, tags, sourceIdentity });
  const begun = await identity.begin({
    principal: { kind: "role", account, role: role.name, id: role.id },
    seconds: form.whole("DurationSeconds") ?? limits.sessionSecondsDefault,
    secondsMax: role.sessionSecondsMax,
    name,
    sourceIdentity,
    policy: form.text("Policy"),
    managed: form.members("PolicyArns", "arn"),
    tags,
    keys,
  });
  return [
    assumedXml(role, begun),
    xmlElement("SubjectFromWebIdentityToken", claims.subject),
    xmlElement("Audience", audience),
    optional("Provider", claims.issuer),
  ].join("");
}

/** Who shows the token, once it is known to hold. */
async function holderOf({ identity, tokens }: OpenCall, account: string, token: string): Promise<Holder> {
  const issuer = await tokens.issuerOf(token);
  if (issuer === undefined) throw refusal("malformed");
  const arn = oidcArn(account, oidcNameOf(issuer));
  const provider = await whereThere(identity.directory.oidcProvider(account, arn));
  if (provider === undefined)
    throw new QueryError(
      "InvalidIdentityToken",
      `No OpenIDConnect provider found in the account for ${issuer.slice(0, limits.oidcUrlCharsMax)}`,
    );
  const verdict = await tokens.verify(token, { issuer: provider.url, clientIds: provider.clientIds });
  if (verdict.outcome === "refused") throw refusal(verdict.why);
  const { claims } = verdict;
  return { provider, claims, audience: claims.authorizedParty ?? claims.audiences[0]! };
}

/** What it says of the issuer is no more than the token says itself. */
function refusal(why: Refusal): QueryError {
  switch (why) {
    case "malformed":
      return new QueryError("InvalidIdentityToken", "The ID Token provided is not a valid JWT.");
    case "issuer":
      return new QueryError("InvalidIdentityToken", "The issuer of the token is not the provider's URL.");
    case "audience":
      return new QueryError("InvalidIdentityToken", "Incorrect token audience");
    case "times":
      return new QueryError("InvalidIdentityToken", "The token was issued, or holds, in the future.");
    case "signature":
      return new QueryError("InvalidIdentityToken", "The token is not signed with a key that the provider publishes.");
    case "expired":
      return new QueryError("ExpiredTokenException", "The token has expired.");
    case "unreachable":
      return new QueryError("IDPCommunicationError", "The identity provider could not be asked for its keys.");
    case "busy":
      return new QueryError("Throttling", "Rate exceeded");
  }
}

/**
 * What conditions see of a token. `aud` is the client that it was issued to; what the token's own `aud` says is `oaud`. Two of AWS's names
 * that look alike, as its guide has them.
 */
function keysOfToken({ provider, claims, audience }: Holder): ReadonlyMap<string, KeyValue> {
  const { audiences, methods } = claims;
  const found: readonly (readonly [string, KeyValue])[] = [
    ["sub", claims.subject],
    ["aud", audience],
    ["oaud", audiences.length === 1 ? audiences[0] : audiences],
    ["amr", methods.length === 0 ? undefined : methods],
    ["email", claims.email],
  ];
  const named = found.map(([name, value]) => [normalKey(`${provider.name}:${name}`), value] as const);
  const there = named.filter(([, value]) => value !== undefined);
  return new Map<string, KeyValue>([["aws:federatedprovider", provider.arn], ...there]);
}

type Asked = {
  readonly role: Role;
  readonly account: string;
  readonly provider: OidcProvider;
  readonly keys: ReadonlyMap<string, KeyValue>;
  readonly tags: readonly Tag[];
  readonly sourceIdentity: string | undefined;
};

function judgeTrust({ form, facts }: OpenCall, asked: Asked): void {
  const { role, account, provider, tags, sourceIdentity } = asked;
  const caller = { kind: "federated", provider: provider.arn } as const;
  const own = new Map<string, KeyValue>([
    ...asked.keys,
    ["sts:rolesessionname", form.text("RoleSessionName")],
    ["sts:sourceidentity", sourceIdentity],
  ]);
  const target = { arn: role.arn, account, tags: role.tags, requestTags: tags.length === 0 ? undefined : tags, own };
  const resource = parsePolicy(role.trust, { use: "trust", bytesMax: limits.bucketPolicyBytesMax });
  const actions = [
    "AssumeRoleWithWebIdentity",
    ...(tags.length > 0 ? ["TagSession"] : []),
    ...(sourceIdentity === undefined ? [] : ["SetSourceIdentity"]),
  ];
  for (const name of actions) {
    const action = `sts:${name}`;
    const keys = keysOf({ caller, facts }, target, action);
    const verdict = judge(
      { caller, action, resource: role.arn, resourceAccount: account, keys },
      { identity: [], resource },
    );
    if (verdict.outcome !== "allow") throw notAuthorized(name);
  }
}

/** Nothing is said of why: whoever asks is nobody yet. */
function notAuthorized(action: string): QueryError {
  return new QueryError("AccessDenied", `Not authorized to perform sts:${action}`);
}

const tagsClaim = "https://aws.amazon.com/tags";
const sourceIdentityClaim = "https://aws.amazon.com/source_identity";

/** As one claim with an object, or, since some issuers make no objects, as one claim for each tag. */
function tagsIn(claims: Readonly<Record<string, unknown>>): Tag[] {
  const nested = claims[tagsClaim] ?? {};
  if (!isObject(nested)) throw rejected("The tags of the token are no object.");
  const flat = `${tagsClaim}/principal_tags/`;
  const flattened = Object.entries(claims).filter(([name]) => name.startsWith(flat));
  const all = [
    ...Object.entries(isObject(nested["principal_tags"]) ? nested["principal_tags"] : {}),
    ...flattened.map(([name, value]) => [name.slice(flat.length), value] as const),
  ];
  const goOn = nested["transitive_tag_keys"] ?? claims[`${tagsClaim}/transitive_tag_keys`] ?? [];
  if (!Array.isArray(goOn) || goOn.length > 0) throw rejected("Tags of sessions go on nowhere.");
  return all.map(([key, value]) => {
    const [only, more] = Array.isArray(value) ? (value as unknown[]) : [value];
    if (typeof only !== "string" || more !== undefined) throw rejected("A tag of the token has one value.");
    return { key, value: only };
  });
}

function sourceIdentityIn(claims: Readonly<Record<string, unknown>>): string | undefined {
  const given = claims[sourceIdentityClaim];
  if (given === undefined || typeof given === "string") return given;
  throw rejected("The source identity of the token is no text.");
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function rejected(message: string): QueryError {
  return new QueryError("IDPRejectedClaim", message);
}

export const openStsActions: ReadonlyMap<string, (call: OpenCall) => Promise<string>> = new Map([
  ["AssumeRoleWithWebIdentity", assumeRoleWithWebIdentity],
]);
