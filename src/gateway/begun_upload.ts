/**
 * What a multipart upload was begun with, for the policies that judge what is added to it. How the object will be encrypted and stored is
 * said once, at the start; the requests that bring its parts and complete it say nothing of that, or what does not count. So a policy that
 * wants encryption of every `s3:PutObject` lets parts in by what they will be, and by nothing else.
 *
 * Known gaps: which access control list was asked for is not kept in those words, so `s3:x-amz-acl` and its like have the values of the
 * request itself; and so has all else where a Complete that was done already is sent again.
 */
import { HoldfastError } from "../core/errors.ts";
import type { EncryptionInfo, Objects, StartedUpload } from "../object/object.ts";
import type { Asked } from "./needs.ts";
import { operations } from "./operations.ts";

type Parts = Pick<Objects, "listParts">;

/** The upload that a request adds to; undefined where it adds to none. What is wrong with its name is for the operation to say. */
export function begunUpload(asked: Asked, objects: Parts): Promise<StartedUpload | undefined> | undefined {
  const { sub, action } = operations[asked.operation];
  return sub === "uploadId" && action === "s3:PutObject" ? readUpload(asked, objects) : undefined;
}

async function readUpload({ bucket, key, query }: Asked, objects: Parts): Promise<StartedUpload | undefined> {
  const uploadId = query.get("uploadId") ?? "";
  try {
    return (await objects.listParts({ bucket, key, uploadId, after: 0, limit: 0 })).upload;
  } catch (error) {
    if (error instanceof HoldfastError && (error.kind === "not_found" || error.kind === "invalid")) return undefined;
    throw error;
  }
}

const methods: Readonly<Record<EncryptionInfo["mode"], string | undefined>> = {
  s3: "AES256",
  kms: "aws:kms",
  customer: undefined,
};

/** By the names of the headers that said it; undefined: that was not said. */
export function headersOfUpload({ encryption, metadata }: StartedUpload): ReadonlyMap<string, string | undefined> {
  const name = "x-amz-server-side-encryption";
  return new Map([
    [name, encryption && methods[encryption.mode]],
    [`${name}-aws-kms-key-id`, encryption?.mode === "kms" ? encryption.keyId : undefined],
    [`${name}-customer-algorithm`, encryption?.mode === "customer" ? "AES256" : undefined],
    ["x-amz-storage-class", metadata.headers["x-amz-storage-class"]],
    ["x-amz-website-redirect-location", metadata.headers["x-amz-website-redirect-location"]],
  ]);
}
