/** What identities may be called, their ARNs and their ids. Source: "IAM and AWS STS quotas" and "IAM identifiers". */
import { HoldfastError } from "../core/errors.ts";
import { limits } from "../core/limits.ts";
import type { Random } from "../core/random.ts";
import type { Tag } from "./records.ts";

const nameForm = /^[A-Za-z0-9_+=,.@-]+$/;
const pathForm = /^\/(?:[\x21-\x2e\x30-\x7e]+\/)*$/;
const pathCharsMax = 512;
const tagForm = /^[\p{L}\p{Z}\p{N}_.:/=+\-@]*$/u;

export function checkUserName(name: string): string {
  return checkName(name, "user", limits.userNameCharsMax);
}

export function checkGroupName(name: string): string {
  return checkName(name, "group", limits.groupNameCharsMax);
}

export function checkRoleName(name: string): string {
  return checkName(name, "role", limits.userNameCharsMax);
}

export function checkPolicyName(name: string): string {
  return checkName(name, "policy", limits.groupNameCharsMax);
}

export function checkAccountName(name: string): string {
  return checkName(name, "account", limits.groupNameCharsMax);
}

function isName(name: string, charsMax: number): boolean {
  return name.length <= charsMax && nameForm.test(name);
}

function checkName(name: string, what: string, charsMax: number): string {
  if (isName(name, charsMax)) return name;
  const message = `The name of a${what === "account" ? "n" : ""} ${what} has 1 to ${charsMax} letters, digits or _+=,.@-`;
  throw new HoldfastError("invalid_argument", `${message}.`);
}

export function checkPath(path: string): string {
  if (path.length <= pathCharsMax && pathForm.test(path)) return path;
  throw new HoldfastError("invalid_argument", "A path begins and ends with a slash, and has up to 512 characters.");
}

/** As IAM has them: keys that differ by case only are one. */
export function checkTags(tags: readonly Tag[]): readonly Tag[] {
  if (tags.length > limits.identityTagsMax)
    throw new HoldfastError("too_many_of_identity", `An identity has at most ${limits.identityTagsMax} tags.`);
  const keys = new Set(tags.map(({ key }) => key.toLowerCase()));
  const areGood = tags.every(
    ({ key, value }) =>
      key !== "" && key.length <= 128 && value.length <= 256 && tagForm.test(key) && tagForm.test(value),
  );
  if (areGood && keys.size === tags.length) return tags;
  throw new HoldfastError("invalid_argument", "A tag has a key of 1 to 128 and a value of up to 256 characters, once.");
}

export function userArn(account: string, { path, name }: { readonly path: string; readonly name: string }): string {
  return `arn:aws:iam::${account}:user${path}${name}`;
}

export function groupArn(account: string, { path, name }: { readonly path: string; readonly name: string }): string {
  return `arn:aws:iam::${account}:group${path}${name}`;
}

export function roleArn(account: string, { path, name }: { readonly path: string; readonly name: string }): string {
  return `arn:aws:iam::${account}:role${path}${name}`;
}

/** Account and name in a role's ARN; what stands between them is the path, which the role's row knows. */
export function roleOfArn(arn: string): { readonly account: string; readonly name: string } | undefined {
  const [, account, name] = /^arn:aws:iam::(\d{12}):role\/(?:[^:]*\/)?([^/:]+)$/.exec(arn) ?? [];
  if (account === undefined || name === undefined || !isName(name, limits.userNameCharsMax)) return undefined;
  return { account, name };
}

export function policyArn(account: string, { path, name }: { readonly path: string; readonly name: string }): string {
  return `arn:aws:iam::${account}:policy${path}${name}`;
}

/** The name at the end of a policy's ARN, where it is one of this account. */
export function policyNameOf(account: string, arn: string): string | undefined {
  const start = `arn:aws:iam::${account}:policy/`;
  return arn.startsWith(start) ? arn.slice(arn.lastIndexOf("/") + 1) : undefined;
}

const idLetters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/** `AIDA` users, `AGPA` groups, `AROA` roles, `ANPA` managed policies; then 17 letters: 85 bits. */
export function newUniqueId(prefix: "AIDA" | "AGPA" | "AROA" | "ANPA", random: Random): string {
  return prefix + Array.from(random.bytes(17), (byte) => idLetters[byte % 32]).join("");
}

/** 12 digits, the first of which is not 0. */
export function newAccountId(random: Random): string {
  return Array.from({ length: 12 }, (_, index) => (index === 0 ? 1 + random.below(9) : random.below(10))).join("");
}
