/** Buckets themselves: list, create, head, delete, where they are. */
import { limits } from "../../core/limits.ts";
import type { BucketInfo, ConfigurationKind } from "../../object/object.ts";
import { isPrivate } from "../../access/acl.ts";
import { madeAcl, wantedAcl } from "../acls.ts";
import { aclDocument } from "../documents/acl.ts";
import { printDocument } from "../documents/document.ts";
import { lockedFromTheFirst } from "../documents/object_lock.ts";
import { objectOwnership, ownershipControls } from "../documents/switches.ts";
import { bucketTagging, newBucketTags, type Tags } from "../documents/tagging.ts";
import { S3Error } from "../errors.ts";
import type { Handler, S3Request, Services } from "../exchange.ts";
import { arnOf } from "../needs.ts";
import { ownerOfAccount, ownerXml, type Accounts } from "../owners.ts";
import { countParam, decodeToken, encodeToken, invalidArgument } from "../params.ts";
import { noContent, xmlReply } from "../respond.ts";
import { child, childText, escapeXml, onlyChild, onlyChildren, parseXml, xmlDocument } from "../xml.ts";
import type { XmlElement } from "../xml.ts";

/** AWS's bound of max-buckets. */
const maxBucketsMax = 10_000;

export const listBuckets: Handler = async (request, services) => {
  const { query } = request;
  const limit = countParam("max-buckets", query.get("max-buckets"));
  if (limit !== undefined && (limit < 1 || limit > maxBucketsMax))
    throw invalidArgument("max-buckets", String(limit), `max-buckets must be from 1 to ${maxBucketsMax}.`);
  const { buckets, next } = await bucketsOf(request, services, limit ?? limits.bucketsMax);
  const prefix = query.get("prefix");
  const entries = buckets.map(
    (bucket) =>
      `<Bucket><Name>${escapeXml(bucket.name)}</Name>` +
      `<CreationDate>${new Date(bucket.createdMs).toISOString()}</CreationDate>` +
      `<BucketRegion>${escapeXml(bucket.region)}</BucketRegion></Bucket>`,
  );
  const { caller } = request.authority;
  const owner = await ownerOfAccount(
    services.accounts,
    caller !== undefined && "account" in caller ? caller.account : undefined,
  );
  const inner =
    `${ownerXml(owner)}<Buckets>${entries.join("")}</Buckets>` +
    (next === undefined ? "" : `<ContinuationToken>${encodeToken(Buffer.from(next))}</ContinuationToken>`) +
    (prefix === undefined ? "" : `<Prefix>${escapeXml(prefix)}</Prefix>`);
  return xmlReply(xmlDocument("ListAllMyBucketsResult", inner));
};

async function bucketsOf(
  request: S3Request,
  { objects, region, accounts }: Services,
  limit: number,
): Promise<{ readonly buckets: BucketInfo[]; readonly next: string | undefined }> {
  const { query } = request;
  const buckets: BucketInfo[] = [];
  const wanted = query.get("bucket-region");
  if (wanted !== undefined && wanted !== region) return { buckets, next: undefined };
  const token = query.get("continuation-token");
  const prefix = query.get("prefix");
  // Whoever may do everything sees all of them, others those of their account.
  const all = request.authority.caller === undefined;
  const account = all ? undefined : ((await accountOf(request, accounts)) ?? "own");
  let next = token === undefined || token === "" ? undefined : decodeToken(token).toString();
  do {
    const page = await objects.listBuckets({
      limit: Math.min(limit - buckets.length, limits.listPageKeysMax),
      ...(prefix !== undefined && { prefix }),
      ...(account !== undefined && { account }),
      ...(next !== undefined && { after: next }),
    });
    buckets.push(...page.buckets);
    next = page.next;
  } while (next !== undefined && buckets.length < limit);
  return { buckets, next };
}

/** As a bucket's row has it: undefined for the store's own, which is also whose a bucket is that the root key makes. */
async function accountOf({ authority }: S3Request, accounts: Accounts): Promise<string | undefined> {
  const { caller } = authority;
  if (caller === undefined || !("account" in caller)) return undefined;
  return caller.account === (await accounts.own()).account ? undefined : caller.account;
}

export const createBucket: Handler = async (request, services) => {
  const { objects, region } = services;
  const { constraint, tags } = await wantedBucket(request);
  if (constraint !== undefined && !isHere(constraint, region))
    throw new S3Error("InvalidLocationConstraint", "The specified location-constraint is not valid", {
      details: { LocationConstraint: constraint },
    });
  const account = await accountOf(request, services.accounts);
  const documents = await documentsOf(request, services, account);
  if (tags.size > 0) documents.set("tagging", Buffer.from(printDocument(bucketTagging, tags)));
  const objectLock = lockedFromTheFirst(request.headers);
  const options = { region, account, documents, objectLock };
  const { created, bucket } = await objects.createBucket(request.bucket, options);
  if (!created && bucket.account !== account && request.authority.caller !== undefined)
    throw takenByOthers(request.bucket);
  // In us-east-1, and only there, AWS answers the owner's second attempt with success.
  if (!created && region !== "us-east-1")
    throw new S3Error(
      "BucketAlreadyOwnedByYou",
      "Your previous request to create the named bucket succeeded and you already own it.",
      { details: { BucketName: request.bucket } },
    );
  if (!created) await refuseOtherAcl(request, services, documents.get("acl"));
  return { status: 200, headers: ["location", `/${request.bucket}`] };
};

/**
 * Making a bucket again leaves it as it is, so what asks for another access control list than it has is not told that it was done. (AWS
 * resets the list; Ceph answers as here.)
 */
async function refuseOtherAcl(request: S3Request, { objects }: Services, wanted: Buffer | undefined): Promise<void> {
  if (wantedAcl(request.headers) === undefined) return;
  const there = await objects.configuration(request.bucket, "acl");
  const isSame = there === undefined ? wanted === undefined : wanted?.equals(there.bytes) === true;
  if (!isSame) throw takenByOthers(request.bucket);
}

function takenByOthers(bucket: string): S3Error {
  return new S3Error(
    "BucketAlreadyExists",
    "The requested bucket name is not available. The bucket namespace is shared by all users of the system. Please " +
      "select a different name and try again.",
    { details: { BucketName: bucket } },
  );
}

/** Ownership controls and the access control list that the bucket has from the first. */
async function documentsOf(
  { headers }: S3Request,
  { accounts }: Services,
  account: string | undefined,
): Promise<Map<ConfigurationKind, Buffer>> {
  const documents = new Map<ConfigurationKind, Buffer>();
  const text = headers["x-amz-object-ownership"];
  const ownership = text === undefined ? undefined : objectOwnership(String(text));
  if (ownership !== undefined)
    documents.set("ownershipControls", Buffer.from(printDocument(ownershipControls, ownership)));
  const wanted = wantedAcl(headers);
  if (wanted === undefined) return documents;
  const { canonicalId } = await accounts.ofNumber(account);
  const acl = await madeAcl(wanted, canonicalId, { accounts, bucketOwner: undefined });
  if (isPrivate(acl)) return documents;
  if (ownership === "BucketOwnerEnforced")
    throw new S3Error(
      "InvalidBucketAclWithObjectOwnership",
      "Bucket cannot have ACLs set with ObjectOwnership's BucketOwnerEnforced setting",
    );
  return documents.set("acl", Buffer.from(printDocument(aclDocument, acl)));
}

/** `US` and `EU` are AWS's old names of two regions, which some clients still send. */
function isHere(constraint: string, region: string): boolean {
  if (constraint === region) return true;
  return (region === "us-east-1" && constraint === "US") || (region === "eu-west-1" && constraint === "EU");
}

type WantedBucket = { readonly constraint: string | undefined; readonly tags: Tags };

async function wantedBucket(request: S3Request): Promise<WantedBucket> {
  const bytes = await request.xml();
  if (bytes.length === 0) return { constraint: undefined, tags: new Map() };
  const root = parseXml(bytes, "CreateBucketConfiguration");
  onlyChildren(root, ["LocationConstraint", "Location", "Bucket", "Tags"]);
  if (child(root, "Location") !== undefined || child(root, "Bucket") !== undefined)
    throw new S3Error("NotImplemented", "Directory buckets are not implemented.");
  const constraint = childText(root, "LocationConstraint");
  return { constraint: constraint === "" ? undefined : constraint, tags: wantedTags(request, root) };
}

/** Giving a bucket tags while it is made needs a permission of its own. */
function wantedTags({ authority, bucket }: S3Request, root: XmlElement): Tags {
  if (child(root, "Tags") === undefined) return new Map();
  authority.require({ action: "s3:TagResource", resource: arnOf(bucket), bucket });
  return newBucketTags(onlyChild(root, "Tags"));
}

export const headBucket: Handler = async (request, { objects }) => {
  const bucket = await objects.bucket(request.bucket);
  return { status: 200, headers: ["x-amz-bucket-region", bucket.region, "content-type", "application/xml"] };
};

export const deleteBucket: Handler = async (request, { objects }) => {
  await objects.deleteBucket(request.bucket);
  return noContent;
};

export const getBucketLocation: Handler = async (request, { objects }) => {
  const { region } = await objects.bucket(request.bucket);
  return xmlReply(xmlDocument("LocationConstraint", region === "us-east-1" ? "" : escapeXml(region)));
};
