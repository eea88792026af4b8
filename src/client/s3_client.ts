/**
 * A small S3 client for the command line and the crash tests: signed requests over kept connections, listings as
 * iterators, bodies as streams. It speaks to any S3 server. Retries are the caller's: a call fails once.
 */
import { createHash } from "node:crypto";
import http from "node:http";
import https from "node:https";
import type { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { HoldfastError, systemCode } from "../core/errors.ts";
import { onNoAnswer } from "../core/no_answer.ts";
import { child, childText, escapeXml, readXml } from "../gateway/xml.ts";
import type { XmlElement } from "../gateway/xml.ts";
import { createSigner } from "./signer.ts";
import type { RequestSigner } from "./signer.ts";

export type S3ClientOptions = {
  readonly endpoint: URL;
  readonly accessKey: string;
  readonly secretKey: string;
  readonly region: string;
  /** Certificates that are not signed by a known authority are accepted (`--insecure`). */
  readonly insecure?: boolean;
};

export type S3Request = {
  readonly method: string;
  readonly bucket?: string;
  readonly key?: string;
  readonly query?: Readonly<Record<string, string>>;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Buffer | { readonly stream: Readable; readonly lengthBytes: number };
  readonly signal?: AbortSignal;
};

export type S3Response = {
  readonly status: number;
  readonly headers: http.IncomingHttpHeaders;
  /** Consumed by the caller, or dropped with `resume()`. */
  readonly body: http.IncomingMessage;
};

/** An answer that is not a success: the server's code and message. */
export class S3RequestError extends Error {
  override name = "S3RequestError";
  readonly status: number;
  readonly code: string;

  constructor(status: number, code: string, message: string) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

export type ListedKey = {
  readonly key: string;
  readonly sizeBytes: number;
  readonly etag: string;
  readonly modified: string;
};
export type ListedVersion = {
  readonly key: string;
  readonly versionId: string;
  readonly isLatest: boolean;
  readonly isMarker: boolean;
  readonly sizeBytes: number;
  readonly modified: string;
};
export type ListPage = {
  readonly keys: readonly ListedKey[];
  readonly prefixes: readonly string[];
  readonly token: string | undefined;
};

/** RFC 3986 encoding as S3 signs it: everything but unreserved characters. */
export function encodeComponent(text: string): string {
  return encodeURIComponent(text).replace(/[!'()*]/g, (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`);
}

export const encodeKey = (key: string): string => key.split("/").map(encodeComponent).join("/");

/** The text of the first child of that name, "" where there is none. */
export const text = (element: XmlElement, name: string): string => childText(element, name) ?? "";

export class S3Client {
  readonly #options: S3ClientOptions;
  readonly #signer: RequestSigner;
  readonly #agent: http.Agent;

  constructor(options: S3ClientOptions) {
    this.#options = options;
    this.#signer = createSigner({ ...options, host: options.endpoint.host });
    const secure = options.endpoint.protocol === "https:";
    this.#agent = secure
      ? new https.Agent({ keepAlive: true, rejectUnauthorized: !options.insecure })
      : new http.Agent({ keepAlive: true });
  }

  close(): void {
    this.#agent.destroy();
  }

  /** Sends one request. Answers from 300 on become an S3RequestError, but for 304. */
  async send(request: S3Request): Promise<S3Response> {
    const response = await this.#exchange(request);
    if (response.status < 300 || response.status === 304) return response;
    const body = await readAll(response.body, 1024 * 1024);
    throw errorFrom(response.status, body.toString(), request);
  }

  #exchange(request: S3Request): Promise<S3Response> {
    const { endpoint } = this.#options;
    const path = `/${request.bucket ?? ""}${request.key === undefined ? "" : `/${encodeKey(request.key)}`}`;
    const query = Object.entries(request.query ?? {})
      .map(([name, value]) => `${encodeComponent(name)}=${encodeComponent(value)}`)
      .sort()
      .join("&");
    const headers = this.#signer.sign({ method: request.method, path, query, headers: request.headers ?? {} });
    const { body } = request;
    if (body) headers["content-length"] = String(Buffer.isBuffer(body) ? body.length : body.lengthBytes);
    const send = endpoint.protocol === "https:" ? https.request : http.request;
    const options: http.RequestOptions = {
      host: endpoint.hostname.replace(/^\[|\]$/g, ""),
      port: endpoint.port || (endpoint.protocol === "https:" ? 443 : 80),
      method: request.method,
      path: query === "" ? path : `${path}?${query}`,
      headers,
      agent: this.#agent,
      ...(request.signal && { signal: request.signal }),
    };
    return new Promise((resolve, reject) => {
      const outgoing = send(options, (incoming) =>
        resolve({ status: incoming.statusCode ?? 0, headers: incoming.headers, body: incoming }),
      );
      onNoAnswer(outgoing, (error) =>
        reject(error instanceof HoldfastError ? error : connectionError(endpoint, error)),
      );
      if (body && !Buffer.isBuffer(body)) pipeline(body.stream, outgoing).catch(reject);
      else outgoing.end(body);
    });
  }

  /** Sends a request whose answer's body is not needed. */
  async run(request: S3Request): Promise<http.IncomingHttpHeaders> {
    const { headers, body } = await this.send(request);
    await readAll(body, 16 * 1024 * 1024);
    return headers;
  }

  /** Sends a request and reads the XML it answers. */
  async xml(request: S3Request): Promise<XmlElement> {
    const { body } = await this.send(request);
    const bytes = await readAll(body, 16 * 1024 * 1024);
    const root = readXml(bytes);
    if (root.name === "Error") throw new S3RequestError(200, text(root, "Code"), text(root, "Message"));
    return root;
  }

  /** The object whole, in memory. */
  async read(bucket: string, key: string, bytesMax = 1024 * 1024 * 1024): Promise<Buffer> {
    const { body } = await this.send({ method: "GET", bucket, key });
    return readAll(body, bytesMax);
  }

  async buckets(): Promise<{ name: string; created: string }[]> {
    const list = child(await this.xml({ method: "GET" }), "Buckets");
    return (list?.children ?? []).map((bucket) => ({
      name: text(bucket, "Name"),
      created: text(bucket, "CreationDate"),
    }));
  }

  async listPage(
    bucket: string,
    options: { prefix?: string; delimiter?: string; token?: string | undefined },
  ): Promise<ListPage> {
    const query: Record<string, string> = {
      "list-type": "2",
      "max-keys": "1000",
      "encoding-type": "url",
      prefix: options.prefix ?? "",
    };
    if (options.delimiter !== undefined) query["delimiter"] = options.delimiter;
    if (options.token !== undefined) query["continuation-token"] = options.token;
    const root = await this.xml({ method: "GET", bucket, query });
    const named = (name: string) => root.children.filter((each) => each.name === name);
    return {
      keys: named("Contents").map((each) => ({
        key: decodeUrl(text(each, "Key")),
        sizeBytes: Number(text(each, "Size")),
        etag: text(each, "ETag"),
        modified: text(each, "LastModified"),
      })),
      prefixes: named("CommonPrefixes").map((each) => decodeUrl(text(each, "Prefix"))),
      token: text(root, "IsTruncated") === "true" ? text(root, "NextContinuationToken") : undefined,
    };
  }

  /** Every key below a prefix, in order. */
  async *list(bucket: string, prefix: string): AsyncGenerator<ListedKey> {
    let token: string | undefined;
    do {
      const page = await this.listPage(bucket, { prefix, token });
      yield* page.keys;
      token = page.token;
    } while (token !== undefined);
  }

  /** Every version and delete marker below a prefix, by key, the newest first. */
  async *listVersions(bucket: string, prefix: string): AsyncGenerator<ListedVersion> {
    let markers: Record<string, string> | undefined = {};
    while (markers !== undefined) {
      const query = { versions: "", "max-keys": "1000", "encoding-type": "url", prefix, ...markers };
      const root = await this.xml({ method: "GET", bucket, query });
      const isVersion = ({ name }: XmlElement): boolean => name === "Version" || name === "DeleteMarker";
      for (const each of root.children.filter(isVersion)) yield listedVersion(each);
      markers = text(root, "IsTruncated") === "true" ? nextMarkers(root) : undefined;
    }
  }

  async createUpload(bucket: string, key: string, headers: Record<string, string> = {}): Promise<string> {
    return text(await this.xml({ method: "POST", bucket, key, query: { uploads: "" }, headers }), "UploadId");
  }

  /** The part's ETag. */
  async uploadPart(
    target: { bucket: string; key: string; uploadId: string; partNumber: number },
    body: NonNullable<S3Request["body"]>,
  ): Promise<string> {
    const query = { partNumber: String(target.partNumber), uploadId: target.uploadId };
    const headers = await this.run({ method: "PUT", bucket: target.bucket, key: target.key, query, body });
    return headers.etag ?? "";
  }

  async completeUpload(
    target: { bucket: string; key: string; uploadId: string },
    etags: readonly string[],
  ): Promise<string> {
    const parts = etags.map((etag, index) => `<Part><PartNumber>${index + 1}</PartNumber><ETag>${etag}</ETag></Part>`);
    const body = Buffer.from(`<CompleteMultipartUpload>${parts.join("")}</CompleteMultipartUpload>`);
    return text(
      await this.xml({
        method: "POST",
        bucket: target.bucket,
        key: target.key,
        query: { uploadId: target.uploadId },
        body,
      }),
      "ETag",
    );
  }

  /** Deletes up to 1,000 keys, or versions of keys; returns what could not be deleted. */
  async deleteMany(
    bucket: string,
    wanted: readonly { readonly key: string; readonly versionId?: string }[],
    more: Readonly<Record<string, string>> = {},
  ): Promise<{ key: string; code: string; message: string }[]> {
    const objects = wanted.map(({ key, versionId }) => {
      const version = versionId === undefined ? "" : `<VersionId>${escapeXml(versionId)}</VersionId>`;
      return `<Object><Key>${escapeXml(key)}</Key>${version}</Object>`;
    });
    const body = Buffer.from(`<Delete><Quiet>true</Quiet>${objects.join("")}</Delete>`);
    const headers = { ...more, "content-md5": createHash("md5").update(body).digest("base64") };
    const root = await this.xml({ method: "POST", bucket, query: { delete: "" }, headers, body });
    return root.children
      .filter((each) => each.name === "Error")
      .map((each) => ({ key: text(each, "Key"), code: text(each, "Code"), message: text(each, "Message") }));
  }
}

/** As `encoding-type=url` spells it. */
function decodeUrl(value: string): string {
  return decodeURIComponent(value.replace(/\+/g, "%20"));
}

function listedVersion(element: XmlElement): ListedVersion {
  const isMarker = element.name === "DeleteMarker";
  return {
    key: decodeUrl(text(element, "Key")),
    versionId: text(element, "VersionId"),
    isLatest: text(element, "IsLatest") === "true",
    isMarker,
    sizeBytes: isMarker ? 0 : Number(text(element, "Size")),
    modified: text(element, "LastModified"),
  };
}

function nextMarkers(root: XmlElement): Record<string, string> {
  const key = decodeUrl(text(root, "NextKeyMarker"));
  return { "key-marker": key, "version-id-marker": text(root, "NextVersionIdMarker") };
}

export async function readAll(body: Readable, bytesMax: number): Promise<Buffer> {
  const pieces: Buffer[] = [];
  let length = 0;
  for await (const piece of body as AsyncIterable<Buffer>) {
    length += piece.length;
    if (length > bytesMax) throw new HoldfastError("entity_too_large", `The answer is larger than ${bytesMax} bytes.`);
    pieces.push(piece);
  }
  return Buffer.concat(pieces);
}

function errorFrom(status: number, body: string, request: S3Request): S3RequestError {
  const said = body === "" ? undefined : errorIn(body);
  if (said !== undefined) return new S3RequestError(status, text(said, "Code"), messageIn(said));
  const what = request.key === undefined ? `bucket ${request.bucket ?? ""}` : `${request.bucket}/${request.key}`;
  // What HEAD is refused with has no words of its own.
  if (status === 404) {
    return new S3RequestError(status, request.key === undefined ? "NoSuchBucket" : "NoSuchKey", `There is no ${what}.`);
  }
  const refused = "The server refuses it: the access key is unknown, its secret is wrong, or it may not do this.";
  if (status === 403) return new S3RequestError(status, "AccessDenied", refused);
  const message = `${request.method} of ${what} was answered with status ${status}.`;
  return new S3RequestError(status, `HTTP ${status}`, message);
}

/** Of several entries that were sent it is said which one it is about. */
function messageIn(said: XmlElement): string {
  const entry = childText(said, "Entry");
  const key = childText(said, "Key");
  const about = entry === undefined ? "" : `Entry ${entry}${key === undefined ? "" : ` (${key})`}: `;
  return about + text(said, "Message");
}

function errorIn(body: string): XmlElement | undefined {
  try {
    const root = readXml(Buffer.from(body));
    return root.name === "Error" ? root : undefined;
  } catch {
    return undefined;
  }
}

/** Why a server cannot be talked to, for a person. */
export function connectionError(endpoint: URL, error: Error): HoldfastError {
  const code = systemCode(error) ?? "";
  return new HoldfastError("unavailable", reasonOf(code, endpoint) ?? reasonIn(code, endpoint, error), {
    cause: error,
  });
}

function reasonOf(code: string, { origin, hostname, host }: URL): string | undefined {
  if (code === "ECONNREFUSED") return `Nothing answers at ${origin}; is the server running?`;
  if (code === "ENOTFOUND") return `There is no host of the name ${hostname}.`;
  if (code === "EPROTO") return `What answers at ${origin} does not speak TLS; is its address http://${host}?`;
  return undefined;
}

function reasonIn(code: string, { origin }: URL, error: Error): string {
  const isCertificate = /CERT|SIGNATURE|ALTNAME/.test(code);
  return `${origin}: ${error.message}${isCertificate ? " (--insecure accepts any certificate)" : ""}`;
}
