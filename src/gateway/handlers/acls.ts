/** Access control lists of buckets and objects: get and put. */
import { aclsCount, type BucketRules } from "../../access/access.ts";
import { isPrivate, privateAcl, type Acl } from "../../access/acl.ts";
import { aclNotSupported, checkGrantees, madeAcl, refusePublic, wantedAcl } from "../acls.ts";
import { aclDocument, printAcl } from "../documents/acl.ts";
import { printDocument } from "../documents/document.ts";
import { S3Error } from "../errors.ts";
import type { Handler, S3Request, Services } from "../exchange.ts";
import { versionHeader } from "../headers.ts";
import { ownerOfId, ownerParts } from "../owners.ts";
import { versionParam } from "../params.ts";
import { xmlReply, type Reply } from "../respond.ts";
import { parseXml, xmlDocument } from "../xml.ts";

export const getBucketAcl: Handler = async (request, services) => {
  const rules = await request.rules(services);
  const acl = aclsCount(rules) ? rules.acl : undefined;
  return shown(acl ?? privateAcl(rules.owner), services);
};

export const getObjectAcl: Handler = async (request, services) => {
  const { bucket, key, query, admission } = request;
  const info = await services.objects.describe({ bucket, key, ...versionParam(query), ...admission.of("target") });
  const rules = await request.rules(services);
  const acl = aclsCount(rules) ? info.acl : undefined;
  return shown(acl ?? privateAcl(rules.owner), services, versionHeader(info));
};

async function shown({ owner, grants }: Acl, { accounts }: Services, headers: readonly string[] = []): Promise<Reply> {
  const names = new Map<string, string>();
  const ids = [owner, ...grants.flatMap(({ grantee }) => (grantee.kind === "account" ? [grantee.id] : []))];
  for (const id of ids) if (!names.has(id)) names.set(id, ownerParts(await ownerOfId(accounts, id)));
  return xmlReply(
    xmlDocument(
      "AccessControlPolicy",
      printAcl({ owner, grants }, (id) => names.get(id)!),
    ),
    headers,
  );
}

export const putBucketAcl: Handler = async (request, services) => {
  const { bucket } = request;
  const rules = await request.rules(services);
  if (!aclsCount(rules)) throw aclNotSupported();
  const acl = await sentAcl(request, services, { owner: rules.owner, bucketOwner: undefined });
  refusePublic(rules, acl);
  const document = isPrivate(acl) ? undefined : Buffer.from(printDocument(aclDocument, acl));
  await services.objects.setConfiguration({ bucket, kind: "acl", document });
  return { status: 200, headers: [] };
};

export const putObjectAcl: Handler = async (request, services) => {
  const { bucket, key, query, admission } = request;
  const rules = await request.rules(services);
  if (!aclsCount(rules)) throw aclNotSupported();
  const { admit } = admission.of("target");
  // Who owns the object does not change by this; it is read first, for a canned list is made of it.
  const info = await services.objects.describe({ bucket, key, ...versionParam(query), ...(admit && { admit }) });
  const owner = info.acl?.owner ?? rules.owner;
  const acl = await sentAcl(request, services, { owner, bucketOwner: rules.owner });
  refusePublic(rules, acl);
  const changed = await services.objects.setAcl({
    bucket,
    key,
    ...versionParam(query),
    change: (found) => {
      admit?.(found);
      if ((found.acl?.owner ?? rules.owner) !== owner) throw otherOwner();
      return kept(acl, rules);
    },
  });
  return { status: 200, headers: versionHeader(changed) };
};

function kept(acl: Acl, { owner }: BucketRules): Acl | undefined {
  return acl.owner === owner && isPrivate(acl) ? undefined : acl;
}

type Whose = { readonly owner: string; readonly bucketOwner: string | undefined };

/** Of the body, or of the headers. Errors: those of either; AccessDenied where the body names another owner. */
async function sentAcl(request: S3Request, { accounts }: Services, { owner, bucketOwner }: Whose): Promise<Acl> {
  const wanted = wantedAcl(request.headers);
  const body = await request.xml();
  if (wanted !== undefined) {
    if (body.length > 0) throw new S3Error("UnexpectedContent", "This request does not support content");
    return madeAcl(wanted, owner, { accounts, bucketOwner });
  }
  if (body.length === 0)
    throw new S3Error("MissingSecurityHeader", "Your request was missing a required header", {
      details: { MissingHeaderName: "x-amz-acl" },
    });
  const acl = aclDocument.parse(parseXml(body, aclDocument.root));
  if (acl.owner !== "" && acl.owner !== owner) throw otherOwner();
  const whole = { ...acl, owner };
  await checkGrantees(whole, accounts);
  return whole;
}

function otherOwner(): S3Error {
  return new S3Error("AccessDenied", "Access Denied");
}
