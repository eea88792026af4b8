/**
 * One line of an access log, in the format that AWS documents for S3: 27 fields with a space between each, and `-` for what is not
 * known or does not apply. Pure.
 *
 * Promises: a line is ASCII without a line feed, and taking it apart by spaces and quotation marks gives the fields back: what
 * could be taken for one of those is percent-encoded. What would let whoever reads the log sign or decrypt (the signature of a
 * presigned URL, tokens, clients' keys) does not stand in it: neither in what was asked for nor in the address that led there.
 *
 * Source: "Amazon S3 server access log format" of the S3 User Guide.
 */
/** The store's own account, whose id a door need not know. */
export const ownAccount = Symbol("the store's own account");

export type AccessFacts = {
  /** When the request came, Unix milliseconds. */
  readonly timeMs: number;
  readonly remoteAddress: string | undefined;
  /** The canonical id of an account, or the ARN of a user or session; undefined: nobody knows. */
  readonly requester: string | typeof ownAccount | undefined;
  readonly requestId: string;
  /** `REST.GET.OBJECT` */
  readonly operation: string;
  readonly key: Uint8Array | undefined;
  /** Undefined: there was no request of its own. */
  readonly request: { readonly method: string; readonly target: string; readonly httpVersion: string } | undefined;
  readonly status: number;
  /** S3's error code. */
  readonly code: string | undefined;
  readonly bytesSent: number | undefined;
  readonly objectBytes: number | undefined;
  /** From the first byte of the request to the last one of the answer, and from the last of the request to the first of the answer. */
  readonly totalMs: number | undefined;
  readonly turnAroundMs: number | undefined;
  readonly referer: string | undefined;
  readonly userAgent: string | undefined;
  /** That the request named. */
  readonly versionId: string | undefined;
  readonly hostId: string | undefined;
  readonly signatureVersion: "SigV2" | "SigV4" | undefined;
  readonly authType: "AuthHeader" | "QueryString" | "POST" | "Basic" | undefined;
  /** In OpenSSL's spelling. */
  readonly cipher: string | undefined;
  readonly tlsVersion: string | undefined;
  readonly host: string | undefined;
  /** It was allowed by an access control list. */
  readonly isByAcl: boolean;
};

/** The bucket that is logged, its owner, and the store's own account: canonical ids. */
export type LineOf = { readonly owner: string; readonly bucket: string; readonly ownAccount: string };

/** Access points, and regions that requests come from, do not exist here: two fields are always empty. */
const neverThere = "-";

export function formatLine({ owner, bucket, ownAccount: own }: LineOf, facts: AccessFacts): string {
  const { key, request, status, bytesSent, objectBytes, totalMs, turnAroundMs } = facts;
  const requester = facts.requester === ownAccount ? own : facts.requester;
  const requestLine = request && `${request.method} ${withoutSecrets(request.target)} HTTP/${request.httpVersion}`;
  return (
    `${owner} ${bucket} [${logTime(facts.timeMs)}] ${ours(facts.remoteAddress)} ${word(requester)} ` +
    `${facts.requestId} ${facts.operation} ${keyText(key)} ${quoted(requestLine)} ${status} ` +
    `${ours(facts.code)} ${bytesSent || "-"} ${count(objectBytes)} ${count(totalMs)} ${count(turnAroundMs)} ` +
    `${quoted(facts.referer && withoutSecrets(facts.referer))} ${quoted(facts.userAgent)} ${word(facts.versionId)} ${ours(facts.hostId)} ` +
    `${ours(facts.signatureVersion)} ${ours(facts.cipher)} ${ours(facts.authType)} ${word(facts.host)} ` +
    `${ours(facts.tlsVersion)} ${neverThere} ${facts.isByAcl ? "Yes" : "-"} ${neverThere}\n`
  );
}

function count(value: number | undefined): string {
  return value === undefined ? "-" : String(Math.max(0, Math.round(value)));
}

const notInWord = /[^\x21\x23-\x5b\x5d-\x7e]/;
const notQuoted = /[^\x20\x21\x23-\x5b\x5d-\x7e]/;

/** What no client can have written. */
function ours(text: string | undefined): string {
  return text ?? "-";
}

function word(text: string | undefined): string {
  if (text === undefined || text === "") return "-";
  return notInWord.test(text) ? encoded(text, notInWord) : text;
}

function quoted(text: string | undefined): string {
  if (text === undefined || text === "") return '"-"';
  return `"${notQuoted.test(text) ? encoded(text, notQuoted) : text}"`;
}

/** Percent signs stay as they came: most of what stands here is encoded already. */
function encoded(text: string, foreign: RegExp): string {
  return text.replace(new RegExp(foreign.source, "gu"), (char) => {
    // Bytes of headers are latin1 in node.
    const code = char.codePointAt(0)!;
    const bytes = code < 0x100 ? [code] : [...Buffer.from(char)];
    return bytes.map((byte) => `%${byte.toString(16).toUpperCase().padStart(2, "0")}`).join("");
  });
}

const plainKey = /^[A-Za-z0-9/._~]+$/;

/** Percent-encoded, its slashes left. */
function keyText(key: Uint8Array | undefined): string {
  if (key === undefined || key.length === 0) return "-";
  const text = Buffer.from(key.buffer, key.byteOffset, key.byteLength).toString();
  if (plainKey.test(text)) return text;
  return encodeURIComponent(text).replaceAll("%2F", "/").replace(/^-$/, "%2D");
}

/** Query parameters by which somebody else could do the same again, or read what a client encrypted. */
const secrets = new Set([
  "x-amz-signature",
  "x-amz-security-token",
  "signature",
  "x-amz-server-side-encryption-customer-key",
  "x-amz-copy-source-server-side-encryption-customer-key",
]);

function withoutSecrets(target: string): string {
  const mark = target.indexOf("?");
  if (mark < 0) return target;
  const pairs = target.slice(mark + 1).split("&");
  const shown = pairs.map((pair) => {
    const equals = pair.indexOf("=");
    return equals >= 0 && isSecret(pair.slice(0, equals)) ? `${pair.slice(0, equals)}=REDACTED` : pair;
  });
  return `${target.slice(0, mark)}?${shown.join("&")}`;
}

function isSecret(name: string): boolean {
  if (!name.includes("%")) return secrets.has(name.toLowerCase());
  try {
    return secrets.has(decodeURIComponent(name).toLowerCase());
  } catch {
    return false;
  }
}

const months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
let lastSecond = { at: -1, text: "" };

/** `06/Feb/2019:00:00:38 +0000`; many requests come in one second. */
export function logTime(timeMs: number): string {
  const at = Math.floor(timeMs / 1_000);
  if (lastSecond.at === at) return lastSecond.text;
  const iso = new Date(at * 1_000).toISOString();
  const text = `${iso.slice(8, 10)}/${months[Number(iso.slice(5, 7)) - 1]}/${iso.slice(0, 4)}:${iso.slice(11, 19)} +0000`;
  lastSecond = { at, text };
  return text;
}
