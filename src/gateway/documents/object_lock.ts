/**
 * Object lock as S3 spells it: the documents, and the headers of requests and answers. Errors and their words are AWS's,
 * which differ between a header (InvalidArgument) and a document (MalformedXML).
 */
import type { IncomingHttpHeaders } from "node:http";
import { limits } from "../../core/limits.ts";
import type { DefaultRetention, ObjectLock, Retention } from "../../object/object.ts";
import { S3Error } from "../errors.ts";
import { invalidArgument } from "../params.ts";
import { child, childText, malformed, onlyChild, onlyChildren, requiredText, xmlElement } from "../xml.ts";
import type { XmlElement } from "../xml.ts";

const modes = ["GOVERNANCE", "COMPLIANCE"] as const;
const modeHeader = "x-amz-object-lock-mode";
const untilHeader = "x-amz-object-lock-retain-until-date";
const holdHeader = "x-amz-object-lock-legal-hold";

/** ISO 8601 with its zone; Date.parse alone takes far more. */
const dateForm = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:?\d\d)$/;

function dateMs(text: string): number | undefined {
  const ms = dateForm.test(text) ? Date.parse(text) : Number.NaN;
  return Number.isNaN(ms) ? undefined : ms;
}

function modeOf(text: string | undefined): Retention["mode"] | undefined {
  return modes.find((mode) => mode === text);
}

// ---- A bucket's configuration ----

export function readObjectLockConfiguration(root: XmlElement): DefaultRetention | undefined {
  onlyChildren(root, ["ObjectLockEnabled", "Rule"]);
  if (requiredText(root, "ObjectLockEnabled") !== "Enabled") throw malformed();
  if (child(root, "Rule") === undefined) return undefined;
  const rule = onlyChild(root, "Rule");
  onlyChildren(rule, ["DefaultRetention"]);
  const retention = onlyChild(rule, "DefaultRetention");
  onlyChildren(retention, ["Mode", "Days", "Years"]);
  const mode = modeOf(requiredText(retention, "Mode"));
  const days = childText(retention, "Days");
  const years = childText(retention, "Years");
  if (mode === undefined || (days === undefined) === (years === undefined)) throw malformed();
  if (days !== undefined) return { mode, unit: "Days", count: periodOf(days, limits.defaultRetentionDaysMax) };
  return { mode, unit: "Years", count: periodOf(years!, limits.defaultRetentionYearsMax) };
}

function periodOf(text: string, max: number): number {
  if (!/^-?\d{1,15}$/.test(text)) throw malformed();
  const count = Number(text);
  if (count < 1)
    throw new S3Error("InvalidRetentionPeriod", "Default retention period must be a positive integer value.");
  if (count > max) throw new S3Error("InvalidRetentionPeriod", "Default retention period too large.");
  return count;
}

/** The inside of an ObjectLockConfiguration document. */
export function printObjectLockConfiguration(retention: DefaultRetention | undefined): string {
  const enabled = xmlElement("ObjectLockEnabled", "Enabled");
  if (retention === undefined) return enabled;
  const { mode, unit, count } = retention;
  return `${enabled}<Rule><DefaultRetention>${xmlElement("Mode", mode)}${xmlElement(unit, count)}</DefaultRetention></Rule>`;
}

// ---- A version's retention and legal hold ----

/** An empty document takes the retention away. */
export function readRetention(root: XmlElement): Retention | undefined {
  onlyChildren(root, ["Mode", "RetainUntilDate"]);
  if (root.children.length === 0) return undefined;
  const mode = modeOf(requiredText(root, "Mode"));
  const untilMs = dateMs(requiredText(root, "RetainUntilDate"));
  if (mode === undefined || untilMs === undefined) throw malformed();
  return { mode, untilMs };
}

/** The inside of a Retention document. */
export function printRetention({ mode, untilMs }: Retention): string {
  return xmlElement("Mode", mode) + xmlElement("RetainUntilDate", new Date(untilMs).toISOString());
}

export function readLegalHold(root: XmlElement): boolean {
  onlyChildren(root, ["Status"]);
  const status = requiredText(root, "Status");
  if (status !== "ON" && status !== "OFF") throw malformed();
  return status === "ON";
}

/** The inside of a LegalHold document. */
export function printLegalHold(legalHold: boolean): string {
  return xmlElement("Status", legalHold ? "ON" : "OFF");
}

// ---- Headers ----

/** What a request asks for with a new version. Errors: InvalidArgument. */
export function lockAsked(headers: IncomingHttpHeaders): ObjectLock | undefined {
  const retention = retentionAsked(headers[modeHeader], headers[untilHeader]);
  const hold = headers[holdHeader];
  if (hold !== undefined && hold !== "ON" && hold !== "OFF")
    throw invalidArgument(holdHeader, String(hold), "Legal Hold must be either of 'ON' or 'OFF'");
  if (retention === undefined && hold === undefined) return undefined;
  return { ...(retention !== undefined && { retention }), ...(hold !== undefined && { legalHold: hold === "ON" }) };
}

/** The same for a policy to judge: what is wrong in it is refused when the request is run. */
export function lockAskedAnyhow(headers: IncomingHttpHeaders): ObjectLock {
  try {
    return lockAsked(headers) ?? {};
  } catch (error) {
    if (error instanceof S3Error) return {};
    throw error;
  }
}

type Header = string | string[] | undefined;

function retentionAsked(modeText: Header, untilText: Header): Retention | undefined {
  if (modeText === undefined && untilText === undefined) return undefined;
  if (modeText === undefined || untilText === undefined)
    throw invalidArgument(
      modeText === undefined ? modeHeader : untilHeader,
      "",
      "x-amz-object-lock-retain-until-date and x-amz-object-lock-mode must both be supplied",
    );
  const mode = modeOf(String(modeText));
  if (mode === undefined) throw invalidArgument(modeHeader, String(modeText), "Unknown wormMode directive.");
  const untilMs = dateMs(String(untilText));
  if (untilMs === undefined)
    throw invalidArgument(untilHeader, String(untilText), "The retain until date must be provided in ISO 8601 format");
  return { mode, untilMs };
}

const noHeaders: readonly string[] = [];

/** Of an answer that shows an object. A retention that has ended is shown as well. */
export function lockHeaders({ retention, legalHold }: ObjectLock): readonly string[] {
  if (retention === undefined && legalHold === undefined) return noHeaders;
  const headers: string[] = [];
  if (retention !== undefined)
    headers.push(modeHeader, retention.mode, untilHeader, new Date(retention.untilMs).toISOString());
  if (legalHold !== undefined) headers.push(holdHeader, legalHold ? "ON" : "OFF");
  return headers;
}

export function bypassesGovernance(headers: IncomingHttpHeaders): boolean {
  return String(headers["x-amz-bypass-governance-retention"]).toLowerCase() === "true";
}

/** Of CreateBucket. Errors: InvalidArgument. */
export function lockedFromTheFirst(headers: IncomingHttpHeaders): boolean {
  const name = "x-amz-bucket-object-lock-enabled";
  const text = headers[name];
  if (text === undefined) return false;
  const value = String(text).toLowerCase();
  if (value !== "true" && value !== "false") throw invalidArgument(name, String(text), "It must be true or false.");
  return value === "true";
}
