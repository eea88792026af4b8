/** Buckets themselves: list, create, head, delete, where they are. */
import { limits } from "../../core/limits.ts";
import type { BucketInfo } from "../../object/object.ts";
import { S3Error } from "../errors.ts";
import type { Handler, S3Request, Services } from "../exchange.ts";
import { countParam, decodeToken, encodeToken, invalidArgument } from "../params.ts";
import { noContent, xmlReply } from "../respond.ts";
import { childText, escapeXml, parseXml, xmlDocument } from "../xml.ts";
import { ownerXml } from "./list.ts";

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
  const inner =
    `${ownerXml(services.owner)}<Buckets>${entries.join("")}</Buckets>` +
    (next === undefined ? "" : `<ContinuationToken>${encodeToken(Buffer.from(next))}</ContinuationToken>`) +
    (prefix === undefined ? "" : `<Prefix>${escapeXml(prefix)}</Prefix>`);
  return xmlReply(xmlDocument("ListAllMyBucketsResult", inner));
};

async function bucketsOf(
  request: S3Request,
  { objects, region }: Services,
  limit: number,
): Promise<{ readonly buckets: BucketInfo[]; readonly next: string | undefined }> {
  const { query } = request;
  const buckets: BucketInfo[] = [];
  const wanted = query.get("bucket-region");
  if (wanted !== undefined && wanted !== region) return { buckets, next: undefined };
  const token = query.get("continuation-token");
  const prefix = query.get("prefix");
  let next = token === undefined || token === "" ? undefined : decodeToken(token).toString();
  do {
    const page = await objects.listBuckets({
      limit: Math.min(limit - buckets.length, limits.listPageKeysMax),
      ...(prefix !== undefined && { prefix }),
      ...(next !== undefined && { after: next }),
    });
    buckets.push(...page.buckets);
    next = page.next;
  } while (next !== undefined && buckets.length < limit);
  return { buckets, next };
}

export const createBucket: Handler = async (request, { objects, region }) => {
  const constraint = await locationConstraint(request);
  if (constraint !== undefined && !isHere(constraint, region))
    throw new S3Error("InvalidLocationConstraint", "The specified location-constraint is not valid", {
      details: { LocationConstraint: constraint },
    });
  const { created } = await objects.createBucket(request.bucket, { region });
  // In us-east-1, and only there, AWS answers the owner's second attempt with success.
  if (!created && region !== "us-east-1")
    throw new S3Error(
      "BucketAlreadyOwnedByYou",
      "Your previous request to create the named bucket succeeded and you already own it.",
      { details: { BucketName: request.bucket } },
    );
  return { status: 200, headers: ["location", `/${request.bucket}`] };
};

/** `US` and `EU` are AWS's old names of two regions, which some clients still send. */
function isHere(constraint: string, region: string): boolean {
  if (constraint === region) return true;
  return (region === "us-east-1" && constraint === "US") || (region === "eu-west-1" && constraint === "EU");
}

async function locationConstraint(request: S3Request): Promise<string | undefined> {
  const bytes = await request.xml();
  if (bytes.length === 0) return undefined;
  const constraint = childText(parseXml(bytes, "CreateBucketConfiguration"), "LocationConstraint");
  return constraint === "" ? undefined : constraint;
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
