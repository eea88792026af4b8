/** Buckets as websites: the document through the AWS SDK, the pages as a browser asks for them, by the name of their host. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { request } from "node:http";
import { after, before, test } from "node:test";
import {
  CreateBucketCommand,
  DeleteBucketWebsiteCommand,
  GetBucketWebsiteCommand,
  GetObjectCommand,
  HeadObjectCommand,
  ListObjectsV2Command,
  PutBucketCorsCommand,
  PutBucketLoggingCommand,
  PutBucketPolicyCommand,
  PutBucketWebsiteCommand,
  PutObjectCommand,
  PutPublicAccessBlockCommand,
  S3Client,
} from "@aws-sdk/client-s3";
import type { PutObjectCommandInput, RoutingRule, WebsiteConfiguration } from "@aws-sdk/client-s3";
import { createServer, type HoldfastServer } from "../../src/index.ts";
import { until } from "../server/harness.ts";
import { failsWith } from "./server.ts";
import type { RawAnswer } from "./server.ts";

const domain = "web.test";
let server: HoldfastServer;
let s3: S3Client;
let made = 0;

before(async () => {
  server = await createServer({ memory: true, domain: ["s3.test"], websiteDomain: [domain, "Other.Test"] });
  const { url, accessKey, secretKey, region } = server;
  s3 = new S3Client({
    endpoint: url,
    region,
    forcePathStyle: true,
    maxAttempts: 1,
    credentials: { accessKeyId: accessKey, secretAccessKey: secretKey },
  });
});
after(async () => {
  s3.destroy();
  await server.close();
});

type Asked = { readonly method?: string; readonly headers?: Record<string, string>; readonly body?: string };

/** `site`: a bucket, or a whole host. */
function get(
  site: string,
  target: string,
  { method = "GET", headers = {}, body }: Asked = {},
  port = server.port,
): Promise<RawAnswer> {
  const host = site.includes(".") ? site : `${site}.${domain}`;
  return new Promise((resolve, reject) => {
    const req = request(
      { host: "127.0.0.1", port, method, path: target, headers: { host, ...headers }, agent: false },
      (res) => {
        const pieces: Buffer[] = [];
        res.on("data", (piece: Buffer) => pieces.push(piece)).on("error", reject);
        res.on("end", () => {
          const bytes = Buffer.concat(pieces);
          resolve({ status: res.statusCode ?? 0, headers: res.headers, body: bytes, text: bytes.toString() });
        });
      },
    );
    req.on("error", reject);
    req.end(body);
  });
}

const toAll = (Bucket: string, ...actions: string[]): PutBucketPolicyCommand =>
  new PutBucketPolicyCommand({
    Bucket,
    Policy: JSON.stringify({
      Version: "2012-10-17",
      Statement: actions.map((Action) => ({
        Effect: "Allow",
        Principal: "*",
        Action,
        Resource: Action === "s3:ListBucket" ? `arn:aws:s3:::${Bucket}` : `arn:aws:s3:::${Bucket}/*`,
      })),
    }),
  });

type SiteOptions = {
  readonly name?: string;
  readonly objects?: Readonly<Record<string, string | Partial<PutObjectCommandInput>>>;
  readonly config?: WebsiteConfiguration;
  /** What everybody may do. */
  readonly actions?: readonly string[];
};

async function newSite({ name, objects = {}, config, actions = ["s3:GetObject", "s3:ListBucket"] }: SiteOptions) {
  const Bucket = name ?? `site-${(made += 1)}`;
  await s3.send(new CreateBucketCommand({ Bucket }));
  for (const [Key, given] of Object.entries(objects)) {
    const own = typeof given === "string" ? { Body: given } : given;
    await s3.send(new PutObjectCommand({ Bucket, Key, ContentType: "text/html", ...own }));
  }
  const WebsiteConfiguration = config ?? { IndexDocument: { Suffix: "index.html" } };
  await s3.send(new PutBucketWebsiteCommand({ Bucket, WebsiteConfiguration }));
  if (actions.length > 0) await s3.send(toAll(Bucket, ...actions));
  return Bucket;
}

const pages = { IndexDocument: { Suffix: "index.html" }, ErrorDocument: { Key: "error.html" } };
const codeOf = ({ status, headers, text }: RawAnswer): unknown[] => {
  assert.equal(headers["content-type"], "text/html; charset=utf-8");
  const code = /<li>Code: (\w+)<\/li>/.exec(text)?.[1];
  assert.equal(headers["x-amz-error-code"], code);
  return [status, code];
};

// ---- The document ----

const rule: RoutingRule = { Condition: { KeyPrefixEquals: "a/" }, Redirect: { ReplaceKeyPrefixWith: "b/" } };

void test("a website's document comes back as it was set, and is gone when deleted", async () => {
  const Bucket = "documented";
  await s3.send(new CreateBucketCommand({ Bucket }));
  const stored = async (): Promise<WebsiteConfiguration> => {
    const { $metadata: _, ...config } = await s3.send(new GetBucketWebsiteCommand({ Bucket }));
    return JSON.parse(JSON.stringify(config)) as WebsiteConfiguration;
  };
  await failsWith(stored(), 404, "NoSuchWebsiteConfiguration");
  for (const WebsiteConfiguration of [
    { RedirectAllRequestsTo: { HostName: "example.com", Protocol: "https" as const } },
    { IndexDocument: { Suffix: "index.html" } },
    {
      ...pages,
      RoutingRules: [
        rule,
        {
          Condition: { HttpErrorCodeReturnedEquals: "404", KeyPrefixEquals: "x" },
          Redirect: { HostName: "h", Protocol: "http" as const, HttpRedirectCode: "307", ReplaceKeyWith: "k?a&b" },
        },
        { Redirect: { HostName: "everywhere" } },
      ],
    },
  ]) {
    await s3.send(new PutBucketWebsiteCommand({ Bucket, WebsiteConfiguration }));
    assert.deepEqual(await stored(), WebsiteConfiguration);
  }
  const gone = await s3.send(new DeleteBucketWebsiteCommand({ Bucket }));
  assert.equal(gone.$metadata.httpStatusCode, 204);
  await failsWith(stored(), 404, "NoSuchWebsiteConfiguration");
});

const index = { IndexDocument: { Suffix: "index.html" } };
const withRule = (one: RoutingRule): WebsiteConfiguration => ({ ...index, RoutingRules: [one] });
for (const [what, config, code] of [
  ["nothing in it", {}, "InvalidArgument"],
  ["an empty suffix", { IndexDocument: { Suffix: "" } }, "InvalidArgument"],
  ["a slash in the suffix", { IndexDocument: { Suffix: "a/b" } }, "InvalidArgument"],
  ["a suffix that no key has", { IndexDocument: { Suffix: "s".repeat(1025) } }, "KeyTooLongError"],
  ["an empty key for errors", { ...index, ErrorDocument: { Key: "" } }, "MalformedXML"],
  ["all requests sent elsewhere and pages", { ...index, RedirectAllRequestsTo: { HostName: "h" } }, "InvalidArgument"],
  ["an empty host", { RedirectAllRequestsTo: { HostName: "" } }, "InvalidRequest"],
  ["a host with a line break", { RedirectAllRequestsTo: { HostName: "a\r\nset-cookie: b" } }, "InvalidRequest"],
  [
    "a protocol that is none",
    { RedirectAllRequestsTo: { HostName: "h", Protocol: "ftp" as "http" } },
    "InvalidRequest",
  ],
  ["51 rules", { ...index, RoutingRules: Array.from({ length: 51 }, () => rule) }, "InvalidRequest"],
  ["no rules in their list", { ...index, RoutingRules: [] }, "MalformedXML"],
  ["an empty condition", withRule({ ...rule, Condition: {} }), "InvalidRequest"],
  ["an empty redirect", withRule({ Redirect: {} }), "MalformedXML"],
  ["a redirect status of 300", withRule({ Redirect: { HttpRedirectCode: "300" } }), "InvalidRequest"],
  ["a redirect status of 399", withRule({ Redirect: { HttpRedirectCode: "399" } }), "InvalidRequest"],
  [
    "an error status of 302",
    withRule({ Condition: { HttpErrorCodeReturnedEquals: "302" }, Redirect: { HostName: "h" } }),
    "InvalidRequest",
  ],
  ["two replacements", withRule({ Redirect: { ReplaceKeyWith: "a", ReplaceKeyPrefixWith: "b" } }), "InvalidRequest"],
] satisfies [string, WebsiteConfiguration, string][])
  void test(`a website's document with ${what} is ${code} and changes nothing`, async () => {
    const Bucket = await newSite({});
    await failsWith(s3.send(new PutBucketWebsiteCommand({ Bucket, WebsiteConfiguration: config })), 400, code);
    assert.deepEqual((await s3.send(new GetBucketWebsiteCommand({ Bucket }))).IndexDocument, index.IndexDocument);
  });

void test("50 rules are taken", async () => {
  const RoutingRules = Array.from({ length: 50 }, () => rule);
  const Bucket = await newSite({ config: { ...index, RoutingRules } });
  assert.equal((await s3.send(new GetBucketWebsiteCommand({ Bucket }))).RoutingRules?.length, 50);
});

// ---- Pages ----

void test("a folder shows its index, and its name without the slash leads there", async () => {
  const site = await newSite({ objects: { "index.html": "home", "docs/index.html": "docs", "docs/a.html": "a" } });
  for (const [path, text] of [
    ["/", "home"],
    ["/?q=1", "home"],
    ["/docs/", "docs"],
    ["/docs/a.html", "a"],
  ] as const) {
    const answer = await get(site, path);
    assert.deepEqual([answer.status, answer.text, answer.headers["content-type"]], [200, text, "text/html"]);
  }
  const folder = await get(site, "/docs?q=1");
  assert.deepEqual([folder.status, folder.headers.location, folder.text], [302, "/docs/", ""]);
  assert.deepEqual(codeOf(await get(site, "/none")), [404, "NoSuchKey"]);
  assert.match((await get(site, "/none/")).text, /<li>Key: none\/index.html<\/li>/);
});

void test("an object of the folder's name stands before the folder", async () => {
  const site = await newSite({ objects: { docs: "object", "docs/index.html": "index" } });
  assert.equal((await get(site, "/docs")).text, "object");
});

void test("a folder at a key that begins with a slash leads to no other host", async () => {
  const site = await newSite({ objects: { "/evil.test/index.html": "x" } });
  const { status, headers } = await get(site, "//evil.test");
  assert.deepEqual([status, headers.location], [302, "/%2Fevil.test/"]);
  assert.equal((await get(site, headers.location!)).text, "x");
});

void test("HEAD answers as GET does, without a body", async () => {
  const site = await newSite({ objects: { "index.html": "home", "error.html": "sorry" }, config: pages });
  for (const path of ["/", "/none"]) {
    const [head, whole] = [await get(site, path, { method: "HEAD" }), await get(site, path)];
    assert.deepEqual([head.status, head.text], [whole.status, ""]);
    for (const name of ["content-type", "content-length", "etag", "x-amz-error-code"])
      assert.equal(head.headers[name], whole.headers[name], name);
  }
});

void test("ranges and conditions are those of S3", async () => {
  const site = await newSite({ objects: { "a.txt": "0123456789" } });
  const part = await get(site, "/a.txt", { headers: { range: "bytes=2-4" } });
  assert.deepEqual([part.status, part.text, part.headers["content-range"]], [206, "234", "bytes 2-4/10"]);
  const { etag } = part.headers;
  assert.equal((await get(site, "/a.txt", { headers: { "if-none-match": etag! } })).status, 304);
  assert.deepEqual(codeOf(await get(site, "/a.txt", { headers: { "if-match": '"x"' } })), [412, "PreconditionFailed"]);
  assert.deepEqual(codeOf(await get(site, "/a.txt", { headers: { range: "bytes=20-" } })), [416, "InvalidRange"]);
});

void test("a large page comes whole", async () => {
  const big = "page ".repeat(1_000_000);
  const site = await newSite({ objects: { "big.html": big } });
  const { body, headers } = await get(site, "/big.html");
  const hash = (bytes: string | Buffer): string => createHash("sha256").update(bytes).digest("hex");
  assert.deepEqual([hash(body), headers["content-length"]], [hash(big), String(big.length)]);
});

void test("the query asks for nothing, and other methods are not allowed", async () => {
  const site = await newSite({ objects: { "index.html": "home", a: "a" } });
  for (const path of [
    "/?website",
    "/?list-type=2",
    "/?versionId=x",
    "/?response-content-type=text%2Fplain",
    "/?X-Amz-Signature=x&X-Amz-Algorithm=y",
  ])
    assert.equal((await get(site, path)).text, "home", path);
  for (const method of ["PUT", "POST", "DELETE", "PATCH"]) {
    const answer = await get(site, "/a", { method, body: "changed" });
    assert.deepEqual(codeOf(answer), [405, "MethodNotAllowed"]);
    assert.equal(answer.headers.allow, "GET, HEAD, OPTIONS");
  }
  assert.equal((await get(site, "/a")).text, "a");
});

void test("what lies below /_/ on a website's host is the website's", async () => {
  const site = await newSite({ objects: { "_/health/live": "mine" } });
  assert.equal((await get(site, "/_/health/live")).text, "mine");
  const form = { "content-type": "application/x-www-form-urlencoded" };
  const answer = await get(site, "/", { method: "POST", headers: form, body: "Action=ListUsers&Version=2010-05-08" });
  assert.deepEqual(codeOf(answer), [405, "MethodNotAllowed"]);
});

// ---- Who may see them ----

void test("a website shows what everybody may read, whoever asks", async () => {
  const site = await newSite({ objects: { "index.html": "home" }, actions: [] });
  assert.deepEqual(codeOf(await get(site, "/")), [403, "AccessDenied"]);
  const signed = await s3.config.credentials();
  const headers = {
    authorization: `AWS4-HMAC-SHA256 Credential=${signed.accessKeyId}/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0`,
    "x-amz-date": "20260101T000000Z",
    "x-amz-content-sha256": "UNSIGNED-PAYLOAD",
  };
  assert.deepEqual(codeOf(await get(site, "/", { headers })), [403, "AccessDenied"]);
  await s3.send(toAll(site, "s3:GetObject"));
  assert.equal((await get(site, "/", { headers })).text, "home");
});

void test("an ACL opens one page", async () => {
  const objects = { "index.html": { Body: "home", ACL: "public-read" as const }, "private.html": "secret" };
  const site = await newSite({ objects, actions: [] });
  assert.equal((await get(site, "/")).text, "home");
  assert.deepEqual(codeOf(await get(site, "/private.html")), [403, "AccessDenied"]);
});

void test("who may not list the bucket is not told that a page is missing, but still led into folders", async () => {
  const site = await newSite({ objects: { "docs/index.html": "docs" }, actions: ["s3:GetObject"] });
  assert.deepEqual(codeOf(await get(site, "/none")), [403, "AccessDenied"]);
  assert.equal((await get(site, "/docs")).headers.location, "/docs/");
  const hidden = await newSite({ objects: { "docs/index.html": "docs" }, actions: [] });
  assert.deepEqual(codeOf(await get(hidden, "/docs")), [403, "AccessDenied"]);
});

void test("a public access block closes a website", async () => {
  const site = await newSite({ objects: { "index.html": "home" } });
  const block = { RestrictPublicBuckets: true };
  await s3.send(new PutPublicAccessBlockCommand({ Bucket: site, PublicAccessBlockConfiguration: block }));
  assert.deepEqual(codeOf(await get(site, "/")), [403, "AccessDenied"]);
});

void test("a policy may ask where a visitor comes from", async () => {
  const site = await newSite({ objects: { a: "a" }, actions: [] });
  const statement = {
    Effect: "Allow",
    Principal: "*",
    Action: "s3:GetObject",
    Resource: `arn:aws:s3:::${site}/*`,
    Condition: { StringLike: { "aws:Referer": "http://friend.test/*" } },
  };
  const Policy = JSON.stringify({ Version: "2012-10-17", Statement: [statement] });
  await s3.send(new PutBucketPolicyCommand({ Bucket: site, Policy }));
  assert.deepEqual(codeOf(await get(site, "/a")), [403, "AccessDenied"]);
  assert.equal((await get(site, "/a", { headers: { referer: "http://friend.test/x" } })).text, "a");
});

void test("what is encrypted by a client's key is never shown, even to who has it", async () => {
  const key = Buffer.alloc(32, 7);
  const md5 = createHash("md5").update(key).digest("base64");
  const customer = { SSECustomerAlgorithm: "AES256", SSECustomerKey: key.toString("base64"), SSECustomerKeyMD5: md5 };
  const site = await newSite({ objects: { a: { Body: "secret", ...customer } } });
  const name = "x-amz-server-side-encryption-customer";
  const headers = {
    [`${name}-algorithm`]: "AES256",
    [`${name}-key`]: key.toString("base64"),
    [`${name}-key-md5`]: md5,
  };
  for (const answer of [await get(site, "/a"), await get(site, "/a", { headers })]) {
    assert.deepEqual(codeOf(answer), [400, "InvalidRequest"]);
    assert.ok(!answer.text.includes("secret") && !answer.text.includes(key.toString("base64")));
  }
});

// ---- Errors ----

void test("the bucket's page for errors is shown with the error's status, without ranges and conditions", async () => {
  const site = await newSite({ objects: { "error.html": "sorry" }, config: pages });
  const answer = await get(site, "/none", { headers: { range: "bytes=1-2", "if-none-match": "*" } });
  assert.deepEqual([answer.status, answer.text, answer.headers["content-type"]], [404, "sorry", "text/html"]);
  assert.equal(answer.headers["x-amz-error-code"], "NoSuchKey");
  const closed = await newSite({
    objects: { "index.html": "x", "error.html": { Body: "closed", ACL: "public-read" } },
    config: pages,
    actions: [],
  });
  assert.deepEqual([(await get(closed, "/")).status, (await get(closed, "/")).text], [403, "closed"]);
});

void test("where that page cannot be shown either both errors are told", async () => {
  const site = await newSite({ config: pages });
  const missing = await get(site, "/none");
  assert.deepEqual(codeOf(missing), [404, "NoSuchKey"]);
  const [first, second] = missing.text.split(
    "<h3>An Error Occurred While Attempting to Retrieve a Custom Error Document</h3>",
  );
  assert.match(first!, /<title>404 Not Found<\/title>[\s\S]*<li>Key: none<\/li>[\s\S]*<li>RequestId: \w+<\/li>/);
  assert.match(second!, /<li>Code: NoSuchKey<\/li>[\s\S]*<li>Key: error.html<\/li>/);
  const closed = await newSite({ objects: { "error.html": "x" }, config: pages, actions: [] });
  assert.match((await get(closed, "/")).text, /<\/h3>\n<ul>\n<li>Code: AccessDenied<\/li>/);
});

void test("a bucket that is no website, and a host without a bucket, are pages of 404", async () => {
  const site = await newSite({ objects: { "index.html": "x" } });
  await s3.send(new DeleteBucketWebsiteCommand({ Bucket: site }));
  assert.deepEqual(codeOf(await get(site, "/")), [404, "NoSuchWebsiteConfiguration"]);
  for (const host of ["nowhere", domain, `${"n".repeat(70)}.${domain}`, `a..b.${domain}`, `%.${domain}`])
    assert.deepEqual(codeOf(await get(host, "/")), [404, "NoSuchBucket"], host);
});

void test("a path that is no key is an error's page", async () => {
  const site = await newSite({});
  for (const path of ["/%", "/%ff", "/%zz"]) assert.deepEqual(codeOf(await get(site, path)), [400, "InvalidURI"]);
  assert.deepEqual(codeOf(await get(site, `/${"k".repeat(1025)}`)), [400, "KeyTooLongError"]);
  const nasty = await get(site, "/%3Cscript%3E%0D%0A%C3%BC");
  assert.deepEqual(codeOf(nasty), [404, "NoSuchKey"]);
  assert.ok(!nasty.text.includes("<script>"));
});

// ---- Redirects ----

void test("a website may send all requests elsewhere, with their path and query", async () => {
  const site = await newSite({
    config: { RedirectAllRequestsTo: { HostName: "example.com", Protocol: "https" } },
    actions: [],
  });
  const answer = await get(site, "/a%20b/c?x=1&y");
  assert.deepEqual(
    [answer.status, answer.headers.location, answer.text],
    [301, "https://example.com/a%20b/c?x=1&y", ""],
  );
  await s3.send(
    new PutBucketWebsiteCommand({
      Bucket: site,
      WebsiteConfiguration: { RedirectAllRequestsTo: { HostName: "example.com" } },
    }),
  );
  assert.equal((await get(site, "//evil.test")).headers.location, "http://example.com//evil.test");
});

void test("rules send requests elsewhere before anything is read, and after an error", async () => {
  const RoutingRules: RoutingRule[] = [
    { Condition: { KeyPrefixEquals: "docs/" }, Redirect: { ReplaceKeyPrefixWith: "documents/" } },
    {
      Condition: { HttpErrorCodeReturnedEquals: "404", KeyPrefixEquals: "img/" },
      Redirect: {
        HostName: "images.test",
        Protocol: "https",
        HttpRedirectCode: "307",
        ReplaceKeyPrefixWith: "make?key=",
      },
    },
    {
      Condition: { HttpErrorCodeReturnedEquals: "404" },
      Redirect: { ReplaceKeyWith: "lost.html", HttpRedirectCode: "302" },
    },
  ];
  const objects = { "docs/a": "never shown", "img/a": "image", "error.html": "never shown" };
  const site = await newSite({ objects, config: { ...pages, RoutingRules } });
  const found = async (path: string): Promise<unknown[]> => {
    const { status, headers } = await get(site, path);
    return [status, headers.location];
  };
  assert.deepEqual(await found("/docs/a?q=1"), [301, `http://${site}.${domain}/documents/a?q=1`]);
  assert.deepEqual(await found("/img/a"), [200, undefined]);
  assert.deepEqual(await found("/img/b"), [307, "https://images.test/make?key=b"]);
  assert.deepEqual(await found("/other"), [302, `http://${site}.${domain}/lost.html`]);
});

void test("an object may redirect; S3 itself shows it as it is", async () => {
  const to = (WebsiteRedirectLocation: string) => ({ Body: "the object", WebsiteRedirectLocation });
  const objects = { "a.html": to("/b.html"), "index.html": to("https://example.com/x?y"), "b.html": "b" };
  const site = await newSite({ objects });
  const answer = await get(site, "/a.html", { headers: { range: "bytes=100-" } });
  assert.deepEqual([answer.status, answer.headers.location, answer.text], [301, "/b.html", ""]);
  assert.equal((await get(site, "/?q=1")).headers.location, "https://example.com/x?y");
  const object = await s3.send(new GetObjectCommand({ Bucket: site, Key: "a.html" }));
  assert.equal(await object.Body?.transformToString(), "the object");
  assert.equal(object.WebsiteRedirectLocation, "/b.html");
  const closed = await newSite({ objects, actions: [] });
  assert.deepEqual(codeOf(await get(closed, "/a.html")), [403, "AccessDenied"]);
});

void test("where an object redirects to is a path or an address of the web, or nothing is stored", async () => {
  const Bucket = await newSite({});
  const put = (WebsiteRedirectLocation: string) =>
    s3.send(new PutObjectCommand({ Bucket, Key: "r", Body: "x", WebsiteRedirectLocation }));
  for (const location of ["elsewhere", "ftp://a", "javascript:alert(1)", `/${"l".repeat(2048)}`])
    await failsWith(put(location), 400, "InvalidRedirectLocation");
  await assert.rejects(s3.send(new HeadObjectCommand({ Bucket, Key: "r" })));
  for (const location of ["/", "http://a", "https://a/b", `/${"l".repeat(2047)}`]) await put(location);
});

// ---- Pages of other origins ----

void test("pages of other origins see what the bucket's CORS rules let them, errors too", async () => {
  const site = await newSite({ objects: { a: "a" } });
  const CORSRules = [{ AllowedMethods: ["GET"], AllowedOrigins: ["http://friend.test"] }];
  await s3.send(new PutBucketCorsCommand({ Bucket: site, CORSConfiguration: { CORSRules } }));
  const allowed = async (path: string, origin: string, asked: Asked = {}): Promise<unknown[]> => {
    const { status, headers } = await get(site, path, { ...asked, headers: { origin, ...asked.headers } });
    return [status, headers["access-control-allow-origin"]];
  };
  assert.deepEqual(await allowed("/a", "http://friend.test"), [200, "http://friend.test"]);
  assert.deepEqual(await allowed("/none", "http://friend.test"), [404, "http://friend.test"]);
  assert.deepEqual(await allowed("/a", "http://foe.test"), [200, undefined]);
  const preflight = { method: "OPTIONS", headers: { "access-control-request-method": "GET" } };
  assert.deepEqual(await allowed("/a", "http://friend.test", preflight), [200, "http://friend.test"]);
  assert.deepEqual(codeOf(await get(site, "/a", { method: "OPTIONS" })), [400, "BadRequest"]);
});

// ---- Hosts ----

void test("a host names its bucket, or is its name", async () => {
  await newSite({ name: "www", objects: { "index.html": "www" } });
  await newSite({ name: `blog.${domain}`, objects: { "index.html": "blog" } });
  await newSite({ name: domain, objects: { "index.html": "apex" } });
  for (const [host, text] of [
    [`www.${domain}`, "www"],
    [`WWW.${domain}:${server.port}`, "www"],
    ["www.other.test", "www"],
    [`blog.${domain}`, "blog"],
    [`blog.${domain}.${domain}`, "blog"],
    [domain, "apex"],
  ] as const)
    assert.equal((await get(host, "/")).text, text, host);
});

void test("hosts that are no website's are S3's as before", async () => {
  const site = await newSite({ objects: { "index.html": "home", a: "a" } });
  assert.equal((await get(`${site}.s3.test`, "/a")).text, "a");
  assert.match((await get(`${site}.s3.test`, "/none")).text, /^<\?xml/);
  assert.equal((await get("127.0.0.1", `/${site}/a`)).text, "a");
});

void test("requests of websites are counted as theirs", async () => {
  const site = await newSite({ objects: { "index.html": "home" } });
  await get(site, "/");
  const { accessKey, secretKey, url } = server;
  const authorization = `Basic ${Buffer.from(`${accessKey}:${secretKey}`).toString("base64")}`;
  const metrics = await (await fetch(`${url}/_/metrics`, { headers: { authorization } })).text();
  assert.match(metrics, /holdfast_requests_total\{door="website",operation="GetObject",outcome="ok"\} [1-9]/);
});

void test("a bucket's access log has its website's requests too", async (t) => {
  // Its logs are written while it runs: a stop waits for them for a bounded time only.
  const logging = await createServer({ memory: true, websiteDomain: [domain], accessLogIntervalSeconds: 1 });
  const { url: endpoint, region, accessKey: accessKeyId, secretKey: secretAccessKey } = logging;
  const common = { endpoint, region, forcePathStyle: true, maxAttempts: 1 };
  const client = new S3Client({ ...common, credentials: { accessKeyId, secretAccessKey } });
  t.after(async () => {
    client.destroy();
    await logging.close();
  });
  for (const Bucket of ["site", "logs"]) await client.send(new CreateBucketCommand({ Bucket }));
  const Statement = { Effect: "Allow", Principal: { Service: "logging.s3.amazonaws.com" }, Action: "s3:PutObject" };
  const Policy = JSON.stringify({
    Version: "2012-10-17",
    Statement: [{ ...Statement, Resource: "arn:aws:s3:::logs/*" }],
  });
  await client.send(new PutBucketPolicyCommand({ Bucket: "logs", Policy }));
  await client.send(new PutBucketWebsiteCommand({ Bucket: "site", WebsiteConfiguration: index }));
  const page = { Bucket: "site", Key: "index.html", Body: "home", ACL: "public-read" } as const;
  await client.send(new PutObjectCommand(page));
  const LoggingEnabled = { TargetBucket: "logs", TargetPrefix: "log/" };
  await client.send(new PutBucketLoggingCommand({ Bucket: "site", BucketLoggingStatus: { LoggingEnabled } }));
  for (const asked of ["/?a b", "/none"]) await get("site", encodeURI(asked), {}, logging.port);
  const ofWebsite = async (): Promise<string[]> => {
    const { Contents = [] } = await client.send(new ListObjectsV2Command({ Bucket: "logs" }));
    const logs: string[] = [];
    for (const { Key } of Contents) {
      const { Body } = await client.send(new GetObjectCommand({ Bucket: "logs", Key }));
      logs.push(await Body!.transformToString());
    }
    return logs.flatMap((log) => log.trim().split("\n")).filter((line) => line.includes(" WEBSITE."));
  };
  await until(async () => (await ofWebsite()).length >= 2);
  const lines = await ofWebsite();
  assert.equal(lines.length, 2);
  // They may be in one object or in two, so in any order.
  for (const expected of [
    / - \w+ WEBSITE.GET.OBJECT index.html "GET \/\?a%20b HTTP\/1.1" 200 - 4 4 /,
    / - \w+ WEBSITE.GET.OBJECT none "GET \/none HTTP\/1.1" 403 AccessDenied /,
  ])
    assert.equal(lines.filter((line) => expected.test(line)).length, 1, lines.join("\n"));
});
