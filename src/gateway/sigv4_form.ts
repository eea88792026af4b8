/**
 * Who signed a browser's form: the signature is over its policy field as it stands there. Signature V4, and V2 too, unlike
 * everywhere else here: forms of it are what some SDKs still make, and what it signs is no weaker for its age.
 */
import { createHmac } from "node:crypto";
import { signatureOf, signingKey } from "./canonical.ts";
import { S3Error } from "./errors.ts";
import type { FormFields } from "./form.ts";
import { checkHex, checkScope, parseCredential, sameSignature, tokenIn } from "./sigv4.ts";
import type { Caller, VerifyOptions } from "./sigv4.ts";

export type VerifyFormOptions = Pick<VerifyOptions, "region" | "secretFor"> & { readonly fields: FormFields };

const where = { code: "InvalidArgument", prefix: "Error parsing the X-Amz-Credential field" } as const;
const signing = ["x-amz-credential", "x-amz-signature", "awsaccesskeyid", "signature"];

/** Without a policy nobody has signed anything. Errors: InvalidArgument, InvalidAccessKeyId, SignatureDoesNotMatch. */
export async function verifyForm(options: VerifyFormOptions): Promise<Caller> {
  const { fields } = options;
  if (!fields.has("policy")) {
    if (signing.some((name) => fields.has(name))) throw missing("policy");
    return { kind: "anonymous" };
  }
  const accessKey = await (fields.has("awsaccesskeyid") ? verifyVersion2(options) : verifyVersion4(options));
  return { kind: "authenticated", accessKey };
}

function missing(name: string): S3Error {
  return new S3Error(
    "InvalidArgument",
    `Bucket POST must contain a field named '${name}'.  If it is specified, please check the order of the fields.`,
    { details: { ArgumentName: name, ArgumentValue: "" } },
  );
}

function required(fields: FormFields, name: string): string {
  const value = fields.get(name);
  if (value === undefined) throw missing(name);
  return value;
}

async function verifyVersion4({ fields, region, secretFor }: VerifyFormOptions): Promise<string> {
  if (required(fields, "x-amz-algorithm") !== "AWS4-HMAC-SHA256")
    throw new S3Error("InvalidArgument", 'X-Amz-Algorithm only supports "AWS4-HMAC-SHA256"');
  const { accessKey, scope } = parseCredential(required(fields, "x-amz-credential"), where);
  checkScope(scope, required(fields, "x-amz-date"), { region }, where);
  const signature = checkHex(required(fields, "x-amz-signature"), where);
  const secret = await knownSecret(accessKey, { fields, secretFor });
  const computed = signatureOf(signingKey(accessKey, secret, scope), required(fields, "policy"));
  if (!sameSignature(computed, signature)) throw mismatch(accessKey, signature);
  return accessKey;
}

async function verifyVersion2({ fields, secretFor }: VerifyFormOptions): Promise<string> {
  const accessKey = required(fields, "awsaccesskeyid");
  const signature = required(fields, "signature");
  const secret = await knownSecret(accessKey, { fields, secretFor });
  const computed = createHmac("sha1", secret).update(required(fields, "policy")).digest("base64");
  if (!sameSignature(computed, signature)) throw mismatch(accessKey, signature);
  return accessKey;
}

/** Of temporary credentials the token is a field like others, which the signed policy must name. */
async function knownSecret(
  accessKey: string,
  { fields, secretFor }: Pick<VerifyFormOptions, "fields" | "secretFor">,
): Promise<string> {
  const secret = await secretFor(accessKey, tokenIn(fields.get("x-amz-security-token")));
  if (secret !== undefined) return secret;
  throw new S3Error("InvalidAccessKeyId", "The AWS Access Key Id you provided does not exist in our records.", {
    details: { AWSAccessKeyId: accessKey },
  });
}

function mismatch(accessKey: string, signature: string): S3Error {
  return new S3Error(
    "SignatureDoesNotMatch",
    "The request signature we calculated does not match the signature you provided. Check your key and signing method.",
    { details: { AWSAccessKeyId: accessKey, SignatureProvided: signature } },
  );
}
