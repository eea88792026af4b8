/**
 * Documents of one or a few values. What a public access block and ownership controls mean is in the access room; who pays for a
 * request, and acceleration, are kept and given back: nobody pays here.
 */
import type { ObjectOwnership, PublicAccessBlock } from "../../access/access.ts";
import { S3Error } from "../errors.ts";
import { invalidArgument } from "../params.ts";
import { childText, malformed, onlyChild, onlyChildren, requiredText, xmlElement } from "../xml.ts";
import type { XmlElement } from "../xml.ts";
import type { DocumentKind } from "./document.ts";

function oneOf<T extends string>(text: string, allowed: readonly T[]): T {
  const found = allowed.find((one) => one === text);
  if (found === undefined) throw malformed();
  return found;
}

// ---- Public access block ----

const blocks = ["BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets"] as const;

function blockIn(root: XmlElement, name: (typeof blocks)[number]): boolean {
  const text = childText(root, name)?.toLowerCase();
  return text !== undefined && oneOf(text, ["true", "false"]) === "true";
}

export const publicAccessBlock: DocumentKind<PublicAccessBlock> = {
  kind: "publicAccessBlock",
  root: "PublicAccessBlockConfiguration",
  parse(root) {
    onlyChildren(root, blocks);
    if (root.children.length === 0) throw new S3Error("InvalidRequest", "Must specify at least one configuration.");
    return {
      BlockPublicAcls: blockIn(root, "BlockPublicAcls"),
      IgnorePublicAcls: blockIn(root, "IgnorePublicAcls"),
      BlockPublicPolicy: blockIn(root, "BlockPublicPolicy"),
      RestrictPublicBuckets: blockIn(root, "RestrictPublicBuckets"),
    };
  },
  print: (value) => blocks.map((name) => xmlElement(name, value[name])).join(""),
  absent: {
    code: "NoSuchPublicAccessBlockConfiguration",
    message: "The public access block configuration was not found",
  },
};

// ---- Ownership controls ----

const ownerships = ["BucketOwnerEnforced", "BucketOwnerPreferred", "ObjectWriter"] as const;

/** Of a header. Errors: InvalidArgument. */
export function objectOwnership(text: string): ObjectOwnership {
  const found = ownerships.find((one) => one === text);
  if (found === undefined) throw invalidArgument("x-amz-object-ownership", text, "Invalid ObjectOwnership value.");
  return found;
}

export const ownershipControls: DocumentKind<ObjectOwnership> = {
  kind: "ownershipControls",
  root: "OwnershipControls",
  parse(root) {
    onlyChildren(root, ["Rule"]);
    const rule = onlyChild(root, "Rule");
    onlyChildren(rule, ["ObjectOwnership"]);
    return oneOf(requiredText(rule, "ObjectOwnership"), ownerships);
  },
  print: (ownership) => `<Rule>${xmlElement("ObjectOwnership", ownership)}</Rule>`,
  absent: { code: "OwnershipControlsNotFoundError", message: "The bucket ownership controls were not found" },
};

// ---- Who pays ----

const payers = ["BucketOwner", "Requester"] as const;

export const requestPayment: DocumentKind<(typeof payers)[number]> = {
  kind: "requestPayment",
  root: "RequestPaymentConfiguration",
  parse(root) {
    onlyChildren(root, ["Payer"]);
    return oneOf(requiredText(root, "Payer"), payers);
  },
  print: (payer) => xmlElement("Payer", payer),
  absent: { value: "BucketOwner" },
};

// ---- Transfer acceleration ----

const accelerations = ["Enabled", "Suspended"] as const;
/** Undefined: never set. */
type Acceleration = (typeof accelerations)[number] | undefined;

export const accelerate: DocumentKind<Acceleration> = {
  kind: "accelerate",
  root: "AccelerateConfiguration",
  parse(root) {
    onlyChildren(root, ["Status"]);
    return oneOf(requiredText(root, "Status"), accelerations);
  },
  print: (status) => (status === undefined ? "" : xmlElement("Status", status)),
  absent: { value: undefined },
};
