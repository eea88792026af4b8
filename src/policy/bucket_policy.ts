/**
 * A bucket's policy, held to its bucket as S3 does when one is put: every resource can be in the bucket, every action is one of
 * S3's and, where it is denied, fits one of the resources of its statement, every condition key is known to each action.
 */
import { limits } from "../core/limits.ts";
import { actionsOfKey, s3Actions, type ActionTarget } from "./actions.ts";
import { malformed } from "./faults.ts";
import type { GlobToken } from "./glob.ts";
import { parsePolicy, type Policy } from "./policy.ts";
import type { ActionPattern, ResourcePattern, Statement } from "./statement.ts";
import { reaches } from "./reach.ts";

/** Errors: `malformed_policy`. */
export function parseBucketPolicy(source: string | Uint8Array, bucket: string): Policy {
  const policy = parsePolicy(source, { use: "bucket", bytesMax: limits.bucketPolicyBytesMax });
  for (const statement of policy.statements) check(statement, bucket);
  return policy;
}

function check(statement: Statement, bucket: string): void {
  const { actions, resources, conditions, effect } = statement;
  const targets = targetsOf(resources!.patterns, bucket);
  const known = actions.patterns.map((pattern) => actionsOf(pattern));
  for (const clause of conditions) {
    if (actionsOfKey(clause.key) === undefined) throw malformed("condition_key");
  }
  // What a NotAction or NotResource leaves over always fits something.
  if (actions.isNot) return;
  for (const names of known) {
    const fitting = resources!.isNot ? names : names.filter((name) => targets.has(s3Actions.get(name)!));
    // What denies nothing would deceive whoever wrote it. (AWS refuses what allows nothing, too.)
    if (fitting.length === 0 && effect === "Deny") throw malformed("mismatch");
    for (const clause of conditions) {
      const takers = actionsOfKey(clause.key);
      const isTaken = takers === "all" || fitting.some((name) => takers?.has(name));
      if (!isTaken) throw malformed("condition_mismatch");
    }
  }
}

/** What the patterns can be: the bucket, or objects in it. Every one of them is one of these. */
function targetsOf(patterns: readonly ResourcePattern[], bucket: string): Set<ActionTarget> {
  const targets = new Set<ActionTarget>();
  for (const pattern of patterns) {
    const found = targetsOfPattern(pattern, bucket);
    if (found.length === 0) throw malformed("resource");
    for (const target of found) targets.add(target);
  }
  return targets;
}

function targetsOfPattern({ tokens }: ResourcePattern, bucket: string): ActionTarget[] {
  // A variable can be anything.
  const wide = tokens.map((token): GlobToken => (token.kind === "variable" ? { kind: "any" } : token));
  const arn = `arn:aws:s3:::${bucket}`;
  const targets: ActionTarget[] = [];
  if (reaches(wide, arn, "whole")) targets.push("bucket");
  if (reaches(wide, `${arn}/`, "start")) targets.push("object");
  return targets;
}

/** The actions of S3 that the pattern stands for: at least one. */
function actionsOf(pattern: ActionPattern): string[] {
  const names = [...s3Actions.keys()].filter((name) => pattern.matches(`s3:${name}`));
  if (names.length === 0) throw malformed("action");
  return names;
}
