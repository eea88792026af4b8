/**
 * Where the requests to a bucket are logged: the BucketLoggingStatus document. One that is empty means that they are not, and none is
 * kept then. Source: PutBucketLogging of the S3 API reference.
 */
import { permissions, type Grant } from "../../access/acl.ts";
import { HoldfastError } from "../../core/errors.ts";
import { limits } from "../../core/limits.ts";
import type { LoggingSetting } from "../../logging/source.ts";
import { logName, type KeyFormat } from "../../logging/names.ts";
import type { ConfigurationDocument } from "../../object/object.ts";
import { invalidArgument } from "../params.ts";
import { child, childrenOf, childText, malformed, onlyChild, onlyChildren, requiredText, xmlElement } from "../xml.ts";
import type { XmlElement } from "../xml.ts";
import { grantIn, grantXml } from "./acl.ts";
import { contentOf, type DocumentKind } from "./document.ts";

/** Of what ACLs know. */
const granted = permissions.filter((each) => !each.endsWith("_ACP"));

export const bucketLogging: DocumentKind<LoggingSetting | undefined> = {
  kind: "logging",
  root: "BucketLoggingStatus",
  parse(root) {
    onlyChildren(root, ["LoggingEnabled"]);
    return root.children.length === 0 ? undefined : readSetting(onlyChild(root, "LoggingEnabled"));
  },
  print: (setting) => (setting === undefined ? "" : printSetting(setting)),
  absent: { value: undefined },
};

function readSetting(element: XmlElement): LoggingSetting {
  onlyChildren(element, ["TargetBucket", "TargetPrefix", "TargetGrants", "TargetObjectKeyFormat"]);
  const bucket = requiredText(element, "TargetBucket");
  const prefix = requiredText(element, "TargetPrefix");
  const grants = child(element, "TargetGrants") && readGrants(onlyChild(element, "TargetGrants"));
  const format = child(element, "TargetObjectKeyFormat") && onlyChild(element, "TargetObjectKeyFormat");
  return { bucket, prefix, grants: grants ?? [], keyFormat: format && readFormat(format) };
}

function readGrants(element: XmlElement): readonly Grant[] {
  onlyChildren(element, ["Grant"]);
  const grants = childrenOf(element, "Grant").map(grantIn);
  if (grants.length > limits.aclGrantsMax || grants.some(({ permission }) => !granted.includes(permission)))
    throw malformed();
  return grants;
}

function readFormat(element: XmlElement): KeyFormat {
  onlyChildren(element, ["SimplePrefix", "PartitionedPrefix"]);
  // The two exclude each other.
  if (element.children.length !== 1) throw malformed();
  const partitioned = child(element, "PartitionedPrefix");
  if (partitioned === undefined) {
    onlyChildren(onlyChild(element, "SimplePrefix"), []);
    return "SimplePrefix";
  }
  onlyChildren(partitioned, ["PartitionDateSource"]);
  const source = childText(partitioned, "PartitionDateSource") ?? "DeliveryTime";
  if (source !== "DeliveryTime" && source !== "EventTime") throw malformed();
  return source;
}

function printSetting({ bucket, prefix, grants, keyFormat }: LoggingSetting): string {
  const list = grants.map((grant) => grantXml(grant, (id) => xmlElement("ID", id)));
  const format =
    keyFormat === "SimplePrefix"
      ? "<SimplePrefix/>"
      : `<PartitionedPrefix>${xmlElement("PartitionDateSource", keyFormat ?? "")}</PartitionedPrefix>`;
  return (
    `<LoggingEnabled>${xmlElement("TargetBucket", bucket)}${xmlElement("TargetPrefix", prefix)}` +
    (list.length === 0 ? "" : `<TargetGrants>${list.join("")}</TargetGrants>`) +
    (keyFormat === undefined ? "" : `<TargetObjectKeyFormat>${format}</TargetObjectKeyFormat>`) +
    "</LoggingEnabled>"
  );
}

/** What a stored document says; one that is empty is not stored. */
export function loggingSetting(document: ConfigurationDocument): LoggingSetting {
  const setting = contentOf(bucketLogging, document);
  if (setting === undefined) throw new HoldfastError("corrupt_record", "A logging document says nothing.");
  return setting;
}

/** A log object like those that will be written: its name must be one. Errors: InvalidArgument. */
export function sampleName(
  { prefix, keyFormat: format = "SimplePrefix" }: LoggingSetting,
  of: { readonly account: string; readonly region: string; readonly bucket: string; readonly timeMs: number },
): string {
  const name = logName({ ...of, prefix, format, unique: "0123456789ABCDEF" });
  if (Buffer.byteLength(name) > limits.objectKeyBytesMax || prefix.includes("\0"))
    throw invalidArgument("TargetPrefix", prefix, "The names of log objects with this prefix would be no keys.");
  return name;
}
