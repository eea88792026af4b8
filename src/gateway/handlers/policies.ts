/** A bucket's policy: put, get, delete, and whether it is public. What is kept is the document as it was sent. */
import { isOpenToPublic } from "../acls.ts";
import { parseBucketPolicy } from "../../policy/bucket_policy.ts";
import { isPublic } from "../../policy/public.ts";
import { S3Error } from "../errors.ts";
import type { Handler, S3Request, Services } from "../exchange.ts";
import { noContent, xmlReply } from "../respond.ts";
import { xmlDocument, xmlElement } from "../xml.ts";

export const getBucketPolicy: Handler = async ({ bucket }, { objects }) => {
  const found = await objects.configuration(bucket, "policy");
  if (found === undefined) throw noPolicy(bucket);
  return { status: 200, headers: ["content-type", "application/json"], body: found.bytes };
};

/** Errors: MalformedPolicy; AccessDenied for a public policy where BlockPublicPolicy is set. */
export const putBucketPolicy: Handler = async (request, services) => {
  const { bucket } = request;
  const document = await request.xml();
  const policy = parseBucketPolicy(document, bucket);
  const { block } = await request.rules(services);
  if (block?.BlockPublicPolicy === true && isPublic(policy))
    throw new S3Error("AccessDenied", "Public policies are blocked by the BlockPublicPolicy setting.");
  await services.objects.setConfiguration({ bucket, kind: "policy", document });
  return noContent;
};

export const deleteBucketPolicy: Handler = async ({ bucket }, { objects }) => {
  await objects.setConfiguration({ bucket, kind: "policy", document: undefined });
  return noContent;
};

/**
 * Whether the policy is public, or the list, where lists count: a list of the bucket's own lets the public in as well. AWS answers
 * NoSuchBucketPolicy where there is no policy; whoever asks wants to know whether strangers get in.
 */
export const getBucketPolicyStatus: Handler = async (request: S3Request, services: Services) => {
  const rules = await request.rules(services);
  const isOpen = rules.policy?.isPublic === true || isOpenToPublic(rules);
  return xmlReply(xmlDocument("PolicyStatus", xmlElement("IsPublic", isOpen)));
};

function noPolicy(bucket: string): S3Error {
  return new S3Error("NoSuchBucketPolicy", "The bucket policy does not exist", { details: { BucketName: bucket } });
}
