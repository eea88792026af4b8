/**
 * The AccessControlPolicy document, of buckets and of objects. Accounts are named by their canonical ids; names that clients send
 * with them are not looked at, and those of answers are found when they are made (handlers/acls.ts). Grants to addresses of mail
 * are refused: accounts have none here.
 */
import { groups, permissions, type Acl, type Grant, type Grantee, type Group } from "../../access/acl.ts";
import { limits } from "../../core/limits.ts";
import { S3Error } from "../errors.ts";
import { child, childrenOf, childText, malformed, onlyChild, requiredText, xmlElement } from "../xml.ts";
import type { XmlElement } from "../xml.ts";
import type { DocumentKind } from "./document.ts";

const groupUris: Readonly<Record<Group, string>> = {
  AllUsers: "http://acs.amazonaws.com/groups/global/AllUsers",
  AuthenticatedUsers: "http://acs.amazonaws.com/groups/global/AuthenticatedUsers",
  LogDelivery: "http://acs.amazonaws.com/groups/s3/LogDelivery",
};

/** Errors: InvalidArgument. */
export function groupOfUri(uri: string): Group {
  const found = groups.find((group) => groupUris[group] === uri);
  if (found !== undefined) return found;
  throw new S3Error("InvalidArgument", "Invalid group uri", { details: { ArgumentName: "uri", ArgumentValue: uri } });
}

export function unknownMail(address: string): S3Error {
  return new S3Error(
    "UnresolvableGrantByEmailAddress",
    "The email address you provided does not match any account on record.",
    {
      details: { EmailAddress: address },
    },
  );
}

export const aclDocument: DocumentKind<Acl> = {
  kind: "acl",
  root: "AccessControlPolicy",
  parse(root) {
    const owner = child(root, "Owner");
    const list = onlyChild(root, "AccessControlList");
    const grants = childrenOf(list, "Grant").map(grantIn);
    if (grants.length > limits.aclGrantsMax) throw malformed();
    return { owner: owner === undefined ? "" : requiredText(owner, "ID"), grants };
  },
  print: (acl) => printAcl(acl, (id) => xmlElement("ID", id)),
  // A bucket without a document has a private list, which handlers/acls.ts makes.
  absent: { value: { owner: "", grants: [] } },
};

/** `account` prints what stands for an account: its id, and its name where that is to be shown. */
export function printAcl({ owner, grants }: Acl, account: (id: string) => string): string {
  // Groups first: the order says nothing, and there are clients that compare it.
  const groupsFirst = grants.toSorted(
    (a, b) => Number(a.grantee.kind === "account") - Number(b.grantee.kind === "account"),
  );
  const each = groupsFirst.map((grant) => grantXml(grant, account));
  return `<Owner>${account(owner)}</Owner><AccessControlList>${each.join("")}</AccessControlList>`;
}

export function grantXml({ grantee, permission }: Grant, account: (id: string) => string): string {
  return `<Grant>${granteeXml(grantee, account)}${xmlElement("Permission", permission)}</Grant>`;
}

function granteeXml(grantee: Grantee, account: (id: string) => string): string {
  const [type, inner] =
    grantee.kind === "account"
      ? ["CanonicalUser", account(grantee.id)]
      : ["Group", xmlElement("URI", groupUris[grantee.group])];
  return `<Grantee xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type="${type}">${inner}</Grantee>`;
}

/** Errors: MalformedXML, InvalidArgument, UnresolvableGrantByEmailAddress. */
export function grantIn(element: XmlElement): Grant {
  const text = requiredText(element, "Permission");
  const permission = permissions.find((each) => each === text);
  if (permission === undefined) throw malformed();
  return { grantee: granteeIn(onlyChild(element, "Grantee")), permission };
}

/** What kind it is says what it holds; the attribute that says so too is not read. */
function granteeIn(element: XmlElement): Grantee {
  const id = childText(element, "ID");
  const uri = childText(element, "URI");
  const mail = childText(element, "EmailAddress");
  if ([id, uri, mail].filter((each) => each !== undefined).length !== 1) throw malformed();
  if (mail !== undefined) throw unknownMail(mail);
  return uri === undefined ? { kind: "account", id: id! } : { kind: "group", group: groupOfUri(uri) };
}
