/**
 * STS: who a key is, and temporary credentials.
 *
 * A role is assumed by whom its trust policy lets: within the account that policy alone is enough where it names the user or the
 * session itself; where it names the account, and for everybody of another account, the caller's own policies must allow
 * `sts:AssumeRole` on the role too. Tags need `sts:TagSession`, a source identity `sts:SetSourceIdentity`, in both likewise.
 * Roots assume no roles, as in AWS, and keys that may do everything have no use for it. A source identity goes on into every further
 * session and is not changed there.
 *
 * Whoever is known to an OpenID Connect issuer assumes a role without a key of the store's (web_identity.ts).
 *
 * Known gaps: SAML, GetFederationToken, MFA, tags that go on into further sessions.
 * Source: the AWS Security Token Service API reference.
 */
import { limits } from "../core/limits.ts";
import { xmlElement } from "../gateway/xml.ts";
import { roleOfArn } from "../identity/names.ts";
import type { Role } from "../identity/roles.ts";
import type { BegunSession } from "../identity/sessions.ts";
import { parsePolicy } from "../policy/policy.ts";
import { dateElement, optional } from "./answer.ts";
import { callerArn, need, type Call, type Target } from "./call.ts";
import { QueryError } from "./faults.ts";
import { whereThere } from "./users.ts";

export type StsAction = (call: Call) => Promise<string>;

/** Nobody needs a permission for it. */
async function getCallerIdentity({ actor: { caller } }: Call): Promise<string> {
  const id = caller.kind === "root" ? caller.account : caller.id;
  return xmlElement("Arn", callerArn(caller)) + xmlElement("UserId", id) + xmlElement("Account", caller.account);
}

function credentialsXml({ session, token }: BegunSession): string {
  const { accessKey, secretKey, expiresMs } = session;
  const texts = { AccessKeyId: accessKey, SecretAccessKey: secretKey, SessionToken: token };
  const elements = Object.entries(texts).map(([element, text]) => xmlElement(element, text));
  return `<Credentials>${elements.join("")}${dateElement("Expiration", expiresMs)}</Credentials>`;
}

/** For a user itself, or an account's root. Its session may do what the user may, but not ask IAM or for more of its kind. */
async function getSessionToken({ actor, form, identity }: Call): Promise<string> {
  const { caller, isFull, session } = actor;
  if (session !== undefined || caller.kind === "session")
    throw new QueryError("AccessDenied", "Cannot call GetSessionToken with session credentials");
  if (isFull) throw new QueryError("AccessDenied", "A key that is nobody's has no session; make a user.");
  if (form.has("TokenCode") || form.has("SerialNumber"))
    throw new QueryError("AccessDenied", "There are no devices for multi-factor authentication.");
  const { account } = caller;
  const secondsMax = caller.kind === "root" ? limits.accountSessionSecondsMax : limits.userSessionSecondsMax;
  // AWS gives 12 hours to whoever says nothing.
  const byDefault = Math.min(secondsMax, limits.roleSessionSecondsMax);
  const principal =
    caller.kind === "root"
      ? ({ kind: "account", account } as const)
      : ({ kind: "user", account, user: caller.name, id: caller.id } as const);
  const seconds = form.whole("DurationSeconds") ?? byDefault;
  return credentialsXml(await identity.begin({ principal, seconds, secondsMax }));
}

async function assumeRole(call: Call): Promise<string> {
  const { form, identity, actor } = call;
  const arn = form.required("RoleArn");
  const name = form.required("RoleSessionName");
  if (form.has("TransitiveTagKeys")) throw new QueryError("ValidationError", "Tags of sessions go on nowhere.");
  if (form.has("TokenCode") || form.has("SerialNumber"))
    throw new QueryError("AccessDenied", "There are no devices for multi-factor authentication.");
  if (actor.caller.kind === "root") throw new QueryError("AccessDenied", "Roles may not be assumed by root accounts.");
  const role = await trusting(call, arn);
  const { account } = roleOfArn(role.arn)!;
  const isChained = actor.caller.kind === "session";
  const secondsMax = isChained ? limits.chainedSessionSecondsMax : role.sessionSecondsMax;
  const begun = await identity.begin({
    principal: { kind: "role", account, role: role.name, id: role.id },
    seconds: form.whole("DurationSeconds") ?? limits.sessionSecondsDefault,
    secondsMax,
    name,
    sourceIdentity: sourceIdentityOf(call),
    policy: form.text("Policy"),
    managed: form.members("PolicyArns", "arn"),
    tags: form.tags(),
  });
  return assumedXml(role, begun);
}

export function assumedXml(role: Role, begun: BegunSession): string {
  const { name, sourceIdentity } = begun.session;
  const { account } = roleOfArn(role.arn)!;
  const arn = `arn:aws:sts::${account}:assumed-role/${role.name}/${name}`;
  const user = xmlElement("AssumedRoleId", `${role.id}:${name}`) + xmlElement("Arn", arn);
  const packed = xmlElement("PackedPolicySize", begun.packedPercent);
  const source = optional("SourceIdentity", sourceIdentity);
  return `${credentialsXml(begun)}<AssumedRoleUser>${user}</AssumedRoleUser>${packed}${source}`;
}

/** The role, where it and the caller's policies allow all that is asked for. A role that is not there is denied like any other. */
async function trusting(call: Call, arn: string): Promise<Role> {
  const { form, identity } = call;
  const named = roleOfArn(arn);
  const role = named && (await whereThere(identity.directory.role(named.account, named.name)));
  if (named === undefined || role === undefined || role.arn !== arn)
    throw new QueryError(
      "AccessDenied",
      `User: ${callerArn(call.actor.caller)} is not authorized to perform: sts:AssumeRole on resource: ${arn}`,
    );
  const tags = form.tags();
  const sourceIdentity = sourceIdentityOf(call);
  const target: Target = {
    arn,
    account: named.account,
    tags: role.tags,
    requestTags: tags,
    own: new Map([
      ["sts:externalid", form.text("ExternalId")],
      ["sts:rolesessionname", form.text("RoleSessionName")],
      ["sts:sourceidentity", sourceIdentity],
    ]),
    trust: parsePolicy(role.trust, { use: "trust", bytesMax: limits.bucketPolicyBytesMax }),
  };
  need(call, "sts:AssumeRole", target);
  if (tags !== undefined) need(call, "sts:TagSession", target);
  if (sourceIdentity !== undefined) need(call, "sts:SetSourceIdentity", target);
  return role;
}

function sourceIdentityOf({ form, actor }: Call): string | undefined {
  const given = form.text("SourceIdentity");
  const before = actor.session?.sourceIdentity;
  if (given !== undefined && before !== undefined && given !== before)
    throw new QueryError("AccessDenied", "The source identity of a session is not changed by the sessions it begins.");
  return before ?? given;
}

export const stsActions: Readonly<Record<string, StsAction>> = {
  GetCallerIdentity: getCallerIdentity,
  GetSessionToken: getSessionToken,
  AssumeRole: assumeRole,
};
