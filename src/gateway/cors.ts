/**
 * Requests of browsers for pages of another origin: the preflight, which asks what may be sent and needs no signature, and
 * the headers that let the page see the answer to what it sent, be it an error. Both follow from the bucket's CORS document.
 */
import type { IncomingHttpHeaders } from "node:http";
import { hasReason } from "../core/errors.ts";
import { limits } from "../core/limits.ts";
import type { Objects } from "../object/object.ts";
import { contentOf } from "./documents/document.ts";
import { cors, corsHeaders, corsMethods, corsVary, matchCors } from "./documents/cors.ts";
import type { CorsRequest, CorsRule } from "./documents/cors.ts";
import { S3Error } from "./errors.ts";
import type { Reply } from "./respond.ts";

type Configurations = Pick<Objects, "configuration">;

/** Undefined: the bucket has no CORS document. Errors: `no_such_bucket`. */
async function rulesOf(objects: Configurations, bucket: string): Promise<readonly CorsRule[] | undefined> {
  const document = await objects.configuration(bucket, "cors");
  return document && contentOf(cors, document);
}

export type Preflight = {
  readonly headers: IncomingHttpHeaders;
  /** "" for the service itself, which no document is of. */
  readonly bucket: string;
  readonly isObject: boolean;
};

/** Errors: BadRequest for what is no preflight, AccessForbidden for what is not allowed. */
export async function answerPreflight(
  objects: Configurations,
  { headers, bucket, isObject }: Preflight,
): Promise<Reply> {
  const { origin } = headers;
  if (origin === undefined) throw new S3Error("BadRequest", "Insufficient information. Origin request header needed.");
  const method = textOf(headers["access-control-request-method"]);
  if (method === undefined || !corsMethods.has(method))
    throw new S3Error("BadRequest", `Invalid Access-Control-Request-Method: ${method ?? "null"}`);
  const details = { Method: method, ResourceType: isObject ? "OBJECT" : "BUCKET" };
  const forbidden = (why: string): S3Error => new S3Error("AccessForbidden", `CORSResponse: ${why}`, { details });
  const rules = bucket === "" ? undefined : await rulesOf(objects, bucket).catch(ifNoBucket);
  if (rules === "no_such_bucket") throw forbidden("Bucket not found");
  if (rules === undefined) throw forbidden("CORS is not enabled for this bucket.");
  const request: CorsRequest = { origin, method, headers: namesIn(headers["access-control-request-headers"]) };
  const match = request.headers.length > limits.headersMax ? undefined : matchCors(rules, request);
  if (match === undefined)
    throw forbidden(
      "This CORS request is not allowed. This is usually because the evalution of Origin, request method / " +
        "Access-Control-Request-Method or Access-Control-Request-Headers are not whitelisted by the resource's CORS spec.",
    );
  return { status: 200, headers: [...corsHeaders(match, request), "vary", corsVary] };
}

function ifNoBucket(error: unknown): "no_such_bucket" {
  if (!hasReason(error, "no_such_bucket")) throw error;
  return "no_such_bucket";
}

function namesIn(text: string | string[] | undefined): string[] {
  return (textOf(text) ?? "")
    .split(",")
    .map((name) => name.trim().toLowerCase())
    .filter((name) => name !== "");
}

function textOf(value: string | string[] | undefined): string | undefined {
  return Array.isArray(value) ? value.join(",") : value;
}

/**
 * What is added to the answer of a request that names its origin, whatever the answer is. A bucket that is not there adds nothing.
 * A request may say by Access-Control-Request-Method which of its rules it means, as with AWS.
 */
export async function corsOfAnswer(
  objects: Configurations,
  {
    bucket,
    method,
    headers,
  }: { readonly bucket: string; readonly method: string; readonly headers: IncomingHttpHeaders },
): Promise<readonly string[]> {
  const { origin } = headers;
  if (origin === undefined || bucket === "") return [];
  const rules = await rulesOf(objects, bucket).catch(ifNoBucket);
  if (rules === undefined || rules === "no_such_bucket") return [];
  const request = { origin, method: textOf(headers["access-control-request-method"]) ?? method, headers: [] };
  const match = matchCors(rules, request);
  return [...(match === undefined ? [] : corsHeaders(match, request)), "vary", corsVary];
}
