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

export type RulesSource = { readonly objects: Pick<Objects, "configurations">; readonly accounts: Accounts };

/** Errors: `no_such_bucket`. */
export async function readRules({ objects, accounts }: RulesSource, name: string): Promise<ReadRules> {
  const { bucket, documents } = await objects.configurations(name, kinds);
  const { account, canonicalId: owner } = await accounts.ofNumber(bucket.account);
  const content = <T>(kind: Parameters<typeof contentOf<T>>[0]): T | undefined => {
    const document = documents.get(kind.kind);
    return document && contentOf(kind, document);
  };
  return {
    id: bucket.id,
    account,
    owner,
    policy: policyOf(documents.get("policy"), name),
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

const parsed = new WeakMap<ConfigurationDocument, NonNullable<BucketRules["policy"]>>();

function policyOf(document: ConfigurationDocument | undefined, bucket: string): BucketRules["policy"] {
  if (document === undefined) return undefined;
  const known = parsed.get(document);
  if (known !== undefined) return known;
  const policy = readPolicy(document, bucket);
  const made = { policy, isPublic: isPublic(policy) };
  parsed.set(document, made);
  return made;
}
