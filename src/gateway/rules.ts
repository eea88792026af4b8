/**
 * What a bucket says about who may use it, read and made of its documents: its policy, ACL, ownership controls and public access
 * block, all of one revision. The bucket's row is read each time, so that a change holds for the next request; the documents, and what
 * was made of them, are kept as long as the row says that they are still the same.
 */
import type { BucketRules } from "../access/access.ts";
import { HoldfastError } from "../core/errors.ts";
import type { BucketId } from "../core/ids.ts";
import type { ConfigurationDocument, ConfigurationKind, Objects } from "../object/object.ts";
import type { Policy } from "../policy/policy.ts";
import { parseBucketPolicy } from "../policy/bucket_policy.ts";
import { isPublic } from "../policy/public.ts";
import { aclDocument } from "./documents/acl.ts";
import { contentOf } from "./documents/document.ts";
import { ownershipControls, publicAccessBlock } from "./documents/switches.ts";
import type { Accounts } from "./owners.ts";

const kinds: readonly ConfigurationKind[] = ["policy", "acl", "ownershipControls", "publicAccessBlock"];

/** `id`: of the bucket that says so. Another one may have its name later. */
export type ReadRules = BucketRules & { readonly id: BucketId };

export type RulesSource = {
  readonly objects: Pick<Objects, "configurations" | "knownConfigurations">;
  readonly accounts: Accounts;
};

type Found = Awaited<ReturnType<Objects["configurations"]>>;
export type ReadAhead = NonNullable<ReturnType<Objects["readAhead"]>>;

/** The answer of the object layer is the same object as long as the bucket is the same, and an account never changes. */
const made = new WeakMap<Found, ReadRules>();

/** What readRules would answer, where the bucket's row was read ahead and its rules were made before. Errors: `no_such_bucket`. */
export function knownRules(
  objects: Pick<Objects, "knownConfigurations">,
  name: string,
  ahead: ReadAhead | undefined,
): ReadRules | undefined {
  const found = ahead && objects.knownConfigurations(name, kinds, ahead);
  return found && made.get(found);
}

/** `ahead`: the bucket's rows, where they have been read since the request began. Errors: `no_such_bucket`. */
export async function readRules(
  { objects, accounts }: RulesSource,
  name: string,
  ahead?: ReadAhead,
): Promise<ReadRules> {
  const found = await objects.configurations(name, kinds, ahead);
  const known = made.get(found);
  if (known !== undefined) return known;
  const rules = await rulesOf(found, accounts);
  made.set(found, rules);
  return rules;
}

async function rulesOf({ bucket, documents }: Found, accounts: Accounts): Promise<ReadRules> {
  const { account, canonicalId: owner } = await accounts.ofNumber(bucket.account);
  const content = <T>(kind: Parameters<typeof contentOf<T>>[0]): T | undefined => {
    const document = documents.get(kind.kind);
    return document && contentOf(kind, document);
  };
  return {
    id: bucket.id,
    account,
    owner,
    policy: policyOf(documents.get("policy"), bucket.name),
    acl: content(aclDocument),
    ownership: content(ownershipControls),
    block: content(publicAccessBlock),
  };
}

/** What was taken once and is no policy any more is not the request's fault. */
function readPolicy({ bytes }: ConfigurationDocument, bucket: string): Policy {
  try {
    return parseBucketPolicy(bytes, bucket);
  } catch (cause) {
    throw new HoldfastError("corrupt_record", "The policy of a bucket cannot be read.", { cause });
  }
}

function policyOf(document: ConfigurationDocument | undefined, bucket: string): BucketRules["policy"] {
  if (document === undefined) return undefined;
  const policy = readPolicy(document, bucket);
  return { policy, isPublic: isPublic(policy) };
}
