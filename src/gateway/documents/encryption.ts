/**
 * How new objects of a bucket are encrypted whose requests say nothing of it: by the store's own key, or by one that is named. A
 * client's key cannot be a default.
 */
import type { ConfigurationDocument, WantedEncryption } from "../../object/object.ts";
import { limits } from "../../core/limits.ts";
import { S3Error } from "../errors.ts";
import { childText, malformed, onlyChild, onlyChildren, requiredText, xmlElement } from "../xml.ts";
import type { XmlElement } from "../xml.ts";
import { contentOf, type DocumentKind } from "./document.ts";

type DefaultEncryption =
  | { readonly algorithm: "AES256"; readonly hasBucketKey: boolean }
  | { readonly algorithm: "aws:kms"; readonly keyId: string | undefined; readonly hasBucketKey: boolean };

export const bucketEncryption: DocumentKind<DefaultEncryption> = {
  kind: "encryption",
  root: "ServerSideEncryptionConfiguration",
  parse(root) {
    onlyChildren(root, ["Rule"]);
    const rule = onlyChild(root, "Rule");
    if (rule.children.some(({ name }) => name === "BlockedEncryptionTypes"))
      throw new S3Error("NotImplemented", "Blocking a type of encryption (BlockedEncryptionTypes) is not implemented.");
    onlyChildren(rule, ["ApplyServerSideEncryptionByDefault", "BucketKeyEnabled"]);
    const byDefault = onlyChild(rule, "ApplyServerSideEncryptionByDefault");
    onlyChildren(byDefault, ["SSEAlgorithm", "KMSMasterKeyID"]);
    const hasBucketKey = bucketKeyIn(rule);
    const keyId = childText(byDefault, "KMSMasterKeyID");
    const algorithm = algorithmOf(requiredText(byDefault, "SSEAlgorithm"));
    if (algorithm === "aws:kms") return { algorithm, keyId: checkedKeyId(keyId), hasBucketKey };
    if (keyId !== undefined)
      throw invalidDefault("a KMSMasterKeyID is not applicable if the default sse algorithm is not aws:kms");
    return { algorithm, hasBucketKey };
  },
  print(value) {
    const keyId = value.algorithm === "aws:kms" ? value.keyId : undefined;
    const byDefault =
      xmlElement("SSEAlgorithm", value.algorithm) + (keyId === undefined ? "" : xmlElement("KMSMasterKeyID", keyId));
    const bucketKey = xmlElement("BucketKeyEnabled", value.hasBucketKey);
    return `<Rule><ApplyServerSideEncryptionByDefault>${byDefault}</ApplyServerSideEncryptionByDefault>${bucketKey}</Rule>`;
  },
  absent: {
    code: "ServerSideEncryptionConfigurationNotFoundError",
    message: "The server side encryption configuration was not found",
  },
};

function algorithmOf(text: string): DefaultEncryption["algorithm"] {
  if (text === "AES256" || text === "aws:kms") return text;
  if (text !== "aws:kms:dsse") throw malformed();
  throw new S3Error("NotImplemented", "Dual-layer encryption (aws:kms:dsse) is not implemented.");
}

function bucketKeyIn(rule: XmlElement): boolean {
  const text = childText(rule, "BucketKeyEnabled")?.toLowerCase();
  if (text === undefined || text === "false") return false;
  if (text !== "true") throw malformed();
  return true;
}

function checkedKeyId(keyId: string | undefined): string | undefined {
  if (keyId === undefined || (keyId !== "" && keyId.length <= limits.encryptionKeyIdCharsMax)) return keyId;
  throw invalidDefault("The ID of the AWS KMS key is not valid.");
}

function invalidDefault(message: string): S3Error {
  return new S3Error("InvalidArgument", message);
}

export function wantedOf(value: DefaultEncryption): WantedEncryption {
  if (value.algorithm === "AES256") return { mode: "s3" };
  return { mode: "kms", keyId: value.keyId, context: new Map(), hasBucketKey: value.hasBucketKey };
}

/** What a stored document says of new objects. */
export function defaultEncryption(document: ConfigurationDocument): WantedEncryption {
  return wantedOf(contentOf(bucketEncryption, document));
}
