/**
 * Right documents, damaged at random places, through HTTP: each is refused and what was there stays, or is taken whole. None is an
 * error of ours, and none lets anybody in: there is no wildcard in them for a damage to set free.
 */
import assert from "node:assert/strict";
import { createHash, createHmac } from "node:crypto";
import { after, before, test } from "node:test";
import fc from "fast-check";
import { accessKey, secretKey, sendRaw, startTestServer, type RawAnswer, type TestServer } from "./server.ts";

const bucket = "damaged";
const origin = "https://page.test";
let server: TestServer;
let account: string;
before(async () => {
  server = await startTestServer();
  await server.bucket(bucket);
  ({ account } = await server.identity.directory.ownAccount());
  await server.identity.directory.createUser({ account, name: "reader" });
  const sent = { method: "PUT", path: `/${bucket}/shared`, body: Buffer.from("x") };
  assert.equal((await server.raw(sent)).status, 200);
});
after(() => server.close());

type Damage = { readonly at: number; readonly taken: number; readonly put: string };

/** Some text is cut out, and some of the same document, or what means something in it, is put in. */
function damagesOf(text: string, tokens: RegExp): fc.Arbitrary<readonly Damage[]> {
  const own = text.match(tokens) ?? [];
  assert.ok(own.length > 5, "the document has tokens");
  const put = fc.oneof(
    fc.constantFrom("", "<", "</", "&", "\0", "]]>", "<a/>", '"', "{", "}", "[", "]", ",", ":", "\\", "null", "é", "%"),
    fc.constantFrom(...own),
    fc.string({ unit: "binary", maxLength: 4 }).filter((each) => !each.includes("*")),
  );
  const damage = fc.record({ at: fc.nat({ max: text.length }), taken: fc.oneof(fc.nat(3), fc.nat(60)), put });
  return fc.array(damage, { minLength: 1, maxLength: 3 });
}

function damaged(text: string, damages: readonly Damage[]): string {
  return damages.reduce((spoiled, { at, taken, put }) => spoiled.slice(0, at) + put + spoiled.slice(at + taken), text);
}

function put(sub: string, text: string): Promise<RawAnswer> {
  const body = Buffer.from(text);
  const headers = { "content-md5": createHash("md5").update(body).digest("base64") };
  return server.raw({ method: "PUT", path: `/${bucket}?${sub}`, headers, body });
}

const shown = async (sub: string): Promise<string> => {
  const { status, text } = await server.raw({ method: "GET", path: `/${bucket}?${sub}` });
  assert.equal(status, 200, text);
  return text;
};

/** Nobody who is not named reads, writes or lists, and no page of another origin is let in. */
async function assertShut(): Promise<void> {
  const ask = (method: string, path: string, headers = {}): Promise<RawAnswer> =>
    sendRaw(server.port, { method, path, headers });
  for (const [method, path] of [
    ["GET", `/${bucket}/shared`],
    ["PUT", `/${bucket}/shared`],
    ["GET", `/${bucket}`],
    ["GET", `/${bucket}?policy`],
    ["DELETE", `/${bucket}/shared`],
  ] as const)
    assert.equal((await ask(method, path)).status, 403, `${method} ${path}`);
  const page = { origin: "https://other.invalid", "access-control-request-method": "GET" };
  const preflight = await ask("OPTIONS", `/${bucket}/shared`, page);
  assert.deepEqual([preflight.status, preflight.headers["access-control-allow-origin"]], [403, undefined]);
}

const policy = (): string =>
  JSON.stringify({
    Version: "2012-10-17",
    Id: "own",
    Statement: [
      {
        Sid: "read",
        Effect: "Allow",
        Principal: { AWS: [`arn:aws:iam::${account}:user/reader`] },
        Action: ["s3:GetObject", "s3:GetObjectVersion"],
        Resource: `arn:aws:s3:::${bucket}/shared`,
        Condition: { Bool: { "aws:SecureTransport": "false" }, NumericLessThan: { "s3:signatureAge": 5 } },
      },
      { Effect: "Deny", Principal: { AWS: account }, Action: "s3:PutObject", Resource: `arn:aws:s3:::${bucket}/a` },
    ],
  });
const cors = (): string =>
  `<CORSConfiguration><CORSRule><ID>i</ID><AllowedMethod>GET</AllowedMethod><AllowedMethod>PUT</AllowedMethod>` +
  `<AllowedOrigin>${origin}</AllowedOrigin><AllowedHeader>x-a</AllowedHeader><MaxAgeSeconds>30</MaxAgeSeconds>` +
  `<ExposeHeader>etag</ExposeHeader></CORSRule></CORSConfiguration>`;
const lifecycle = (): string =>
  `<LifecycleConfiguration><Rule><ID>a</ID><Filter><And><Prefix>p/</Prefix><Tag><Key>k</Key><Value>v</Value></Tag></And></Filter>` +
  `<Status>Enabled</Status><Expiration><Days>3</Days></Expiration></Rule><Rule><ID>b</ID><Filter/><Status>Disabled</Status>` +
  `<NoncurrentVersionExpiration><NoncurrentDays>3</NoncurrentDays></NoncurrentVersionExpiration>` +
  `<AbortIncompleteMultipartUpload><DaysAfterInitiation>7</DaysAfterInitiation></AbortIncompleteMultipartUpload></Rule></LifecycleConfiguration>`;

for (const [sub, original, tokens] of [
  ["policy", policy, /"[^"]*"|[{}[\],:]/g],
  ["cors", cors, /<[^>]+>|[^<>]+/g],
  ["lifecycle", lifecycle, /<[^>]+>|[^<>]+/g],
] as const)
  test(`a damaged ${sub} document is refused or taken whole, and lets nobody in`, async () => {
    const text = original();
    assert.equal(Math.floor((await put(sub, text)).status / 100), 2);
    await assertShut();
    let refusals = 0;
    await fc.assert(
      fc.asyncProperty(damagesOf(text, tokens), async (damages) => {
        const before = await shown(sub);
        const { status, text: said } = await put(sub, damaged(text, damages));
        assert.ok(status < 500 || status === 501, said);
        if (status >= 300) {
          refusals += 1;
          assert.equal(await shown(sub), before);
        } else await assertShut();
        // What was taken is understood, and can be set once more.
        assert.equal(Math.floor((await put(sub, await shown(sub))).status / 100), 2);
      }),
      { numRuns: 150 },
    );
    assert.ok(refusals > 50, `${refusals} were refused`);
  });

test("a form whose policy was damaged after it was signed stores nothing", async () => {
  const document = {
    expiration: new Date(Date.now() + 3_600_000).toISOString(),
    conditions: [{ bucket }, ["starts-with", "$key", "up/"], ["content-length-range", 0, 9]],
  };
  const text = Buffer.from(JSON.stringify(document)).toString("base64");
  const signature = createHmac("sha1", secretKey).update(text).digest("base64");
  const send = (sent: string): Promise<RawAnswer> => {
    const fields = { key: "up/x", AWSAccessKeyId: accessKey, policy: sent, signature };
    const parts = Object.entries(fields).map(([name, value]) => `name="${name}"\r\n\r\n${value}`);
    const disposition = "\r\n--limit\r\nContent-Disposition: form-data; ";
    const all = [...parts, `name="file"; filename="f"\r\n\r\nx`].map((part) => disposition + part).join("");
    const headers = { "content-type": "multipart/form-data; boundary=limit" };
    const body = Buffer.from(`${all.slice(2)}\r\n--limit--\r\n`);
    return sendRaw(server.port, { method: "POST", path: `/${bucket}`, headers, body });
  };
  const isThere = async (): Promise<boolean> =>
    (await server.raw({ method: "HEAD", path: `/${bucket}/up/x` })).status === 200;
  await fc.assert(
    fc.asyncProperty(damagesOf(text, /.{1,4}/g), async (damages) => {
      const sent = damaged(text, damages);
      if (sent === text) return;
      const answer = await send(sent);
      assert.ok(answer.status >= 400 && answer.status < 500, `${answer.status} ${answer.text}`);
      assert.equal(await isThere(), false);
    }),
    { numRuns: 150 },
  );
  assert.equal((await send(text)).status, 204);
  assert.equal(await isThere(), true);
});
