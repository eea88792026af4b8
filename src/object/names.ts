/** Which names, keys and metadata are taken, without any I/O. */
import { assert } from "../core/assert.ts";
import { HoldfastError } from "../core/errors.ts";
import { limits } from "../core/limits.ts";
import type { ObjectMetadata, ObjectTags } from "./object.ts";

/** Of a bucket's name, whose labels have dots between them: the name shall be one of DNS. */
const label = /^[a-z0-9](?:[a-z0-9-]*[a-z0-9])?$/;
const ipAddress = /^\d{1,3}(?:\.\d{1,3}){3}$/;
const forbiddenPrefixes = ["xn--", "sthree-", "amzn-s3-demo-"];
const forbiddenSuffixes = ["-s3alias", "--ol-s3", ".mrap", "--x-s3", "--table-s3"];

/** General purpose bucket naming rules (S3 User Guide). Errors: `invalid_bucket_name`. */
export function checkBucketName(name: string): void {
  const ok =
    name.length >= limits.bucketNameCharsMin &&
    name.length <= limits.bucketNameCharsMax &&
    name.split(".").every((each) => label.test(each)) &&
    !ipAddress.test(name) &&
    !forbiddenPrefixes.some((prefix) => name.startsWith(prefix)) &&
    !forbiddenSuffixes.some((suffix) => name.endsWith(suffix));
  if (!ok) {
    throw new HoldfastError("invalid_bucket_name", "The specified bucket is not valid.", { details: { bucket: name } });
  }
}

/** Errors: `key_too_long`, `invalid_key`. */
export function checkObjectKey(key: Uint8Array): void {
  if (key.length === 0) throw new HoldfastError("invalid_key", "An object's key has at least one byte.");
  if (key.length > limits.objectKeyBytesMax) {
    const details = { sizeBytes: key.length, maxSizeBytes: limits.objectKeyBytesMax };
    throw new HoldfastError("key_too_long", "Your key is too long.", { details });
  }
  if (key.length <= limits.objectKeyNulBytesMax) return;
  let nulBytes = 0;
  for (const byte of key) if (byte === 0) nulBytes += 1;
  if (nulBytes > limits.objectKeyNulBytesMax) {
    throw new HoldfastError("invalid_key", `A key has at most ${limits.objectKeyNulBytesMax} NUL bytes.`);
  }
}

/** Errors: `metadata_too_large`. */
export function checkMetadata(metadata: ObjectMetadata): void {
  // Header bytes are latin1 in node: one character is one byte.
  let userBytes = 0;
  for (const name in metadata.user) userBytes += name.length + metadata.user[name]!.length;
  let largestHeader = 0;
  for (const value of Object.values(metadata.headers)) largestHeader = Math.max(largestHeader, value.length);
  if (userBytes <= limits.userMetadataBytesMax && largestHeader <= limits.contentHeaderBytesMax) return;
  throw new HoldfastError("metadata_too_large", "Your metadata headers exceed the maximum allowed metadata size.", {
    details: { sizeBytes: userBytes, maxSizeBytes: limits.userMetadataBytesMax },
  });
}

/** Doors judge tags before they hand them on: what is too much here is a fault of ours. */
export function assertTags(tags: ObjectTags | undefined): void {
  if (tags === undefined) return;
  assert(tags.size <= limits.objectTagsMax, "an object has at most objectTagsMax tags");
  for (const [name, value] of tags) {
    assert(
      name.length > 0 && name.length <= limits.tagNameCharsMax,
      "a tag's name has 1 to tagNameCharsMax characters",
    );
    assert(value.length <= limits.tagValueCharsMax, "a tag's value has at most tagValueCharsMax characters");
  }
}
