/** Temporary credentials: what a session may be, and its key, secret and token. Who may begin one is judged before (STS). */
import { HoldfastError } from "../core/errors.ts";
import { limits } from "../core/limits.ts";
import type { KeyValue } from "../policy/condition_values.ts";
import { builtinPolicies } from "./builtin_policies.ts";
import type { IdentityContext } from "./context.ts";
import { generateSecretKey, generateSessionKey } from "./credentials.ts";
import { readManagedPolicy } from "./managed_policies.ts";
import { checkTags } from "./names.ts";
import { encodeSession, parseSessionPolicy, type Session, type SessionTokens } from "./session_token.ts";
import type { Tag } from "./records.ts";

export type NewSession = {
  readonly principal: Session["principal"];
  readonly seconds: number;
  readonly secondsMax: number;
  readonly name?: string | undefined;
  readonly sourceIdentity?: string | undefined;
  readonly policy?: string | undefined;
  /** ARNs of managed policies of the account. */
  readonly managed?: readonly string[] | undefined;
  readonly tags?: readonly Tag[] | undefined;
  /** Condition keys that all its requests have, by their names in lower case. */
  readonly keys?: ReadonlyMap<string, KeyValue> | undefined;
};

export type BegunSession = {
  readonly session: Session;
  readonly token: string;
  /** How much of the room for policies and tags is taken. */
  readonly packedPercent: number;
};

const nameForm = /^[A-Za-z0-9_+=,.@-]{2,64}$/;

/** Errors: `invalid_argument`, `malformed_policy`, `no_such_entity`, `too_many_of_identity`, `entity_too_large`. */
export async function beginSession(
  ctx: IdentityContext,
  tokens: SessionTokens,
  { principal, seconds, secondsMax, name = "", sourceIdentity, policy, managed = [], tags = [], keys }: NewSession,
): Promise<BegunSession> {
  checkSeconds(seconds, secondsMax);
  if (principal.kind === "role") checkSessionName(name, "RoleSessionName");
  if (sourceIdentity !== undefined) checkSessionName(sourceIdentity, "SourceIdentity");
  if (policy !== undefined) parseSessionPolicy(policy);
  checkTags(tags);
  await checkManaged(ctx, principal.account, managed);
  const issuedMs = ctx.clock.nowMs();
  const session: Session = {
    accessKey: generateSessionKey(ctx.random),
    secretKey: generateSecretKey(ctx.random),
    issuedMs,
    expiresMs: issuedMs + seconds * 1_000,
    principal,
    name,
    sourceIdentity,
    policy,
    managed,
    tags,
    keys,
  };
  const token = await tokens.seal(session);
  const taken = encodeSession(session).length / limits.sessionRecordBytesMax;
  return { session, token, packedPercent: Math.ceil(100 * taken) };
}

function checkSeconds(seconds: number, secondsMax: number): void {
  if (Number.isInteger(seconds) && seconds >= limits.sessionSecondsMin && seconds <= secondsMax) return;
  const range = `${limits.sessionSecondsMin} to ${secondsMax}`;
  throw new HoldfastError("invalid_argument", `DurationSeconds must be from ${range} for this session.`);
}

function checkSessionName(name: string, what: string): void {
  if (!nameForm.test(name))
    throw new HoldfastError("invalid_argument", `${what} has 2 to 64 letters, digits or _+=,.@-`);
}

async function checkManaged(ctx: IdentityContext, account: string, arns: readonly string[]): Promise<void> {
  if (arns.length > limits.managedPoliciesMax)
    throw new HoldfastError("too_many_of_identity", `A session names at most ${limits.managedPoliciesMax} policies.`);
  for (const arn of arns) if (!builtinPolicies.has(arn)) await readManagedPolicy(ctx, account, arn);
}
