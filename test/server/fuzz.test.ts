/**
 * Right requests, damaged at random places, on real sockets: whatever comes out is an answer or a closed connection, never
 * an error of ours; what a damaged upload stores is what an undamaged one would have stored; and the server goes on.
 */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { connect } from "node:net";
import { after, before, test } from "node:test";
import * as fc from "fast-check";
import { encodeAwsChunked } from "../../src/gateway/aws_chunked.ts";
import { signRequest, verifyRequest } from "../../src/gateway/sigv4.ts";
import { createServer, type HoldfastServer } from "../../src/index.ts";
import { basic } from "./harness.ts";
import { headText, statusesOf, talk } from "./wire.ts";

const body = Buffer.from("the body that was signed, and no other");
const path = "/fuzz/key%20%C3%A9";
let server: HoldfastServer;
let requests: Buffer[];
before(async () => {
  server = await createServer({ memory: true });
  const made = signed("PUT", "/fuzz", Buffer.alloc(0));
  assert.deepEqual(statusesOf(await talk(server.port, made)), [200]);
  const form = `--xx\r\nContent-Disposition: form-data; name="f"; filename="a.txt"\r\n\r\n${body.toString()}\r\n--xx--\r\n`;
  const owner = { host: "x", ...basic(server.accessKey, server.secretKey), connection: "close" };
  const formHead = {
    ...owner,
    "content-type": "multipart/form-data; boundary=xx",
    "content-length": String(form.length),
  };
  requests = [
    signed("PUT", path, body),
    await chunked(),
    signed("GET", `${path}?response-content-type=a%2Fb&partNumber=1`, Buffer.alloc(0)),
    signed("POST", "/fuzz?delete", Buffer.from("<Delete><Object><Key>other</Key></Object></Delete>")),
    signed("GET", "/fuzz?list-type=2&prefix=k%C3%A9&delimiter=%2F&max-keys=7&encoding-type=url", Buffer.alloc(0)),
    Buffer.from(headText("POST", "/_/files", formHead) + `\r\n${form}`),
    Buffer.from(`${headText("GET", "/_/files?limit=3&cursor=YQ", owner)}\r\n`),
  ];
  for (const request of requests) assert.match(await talk(server.port, request), /^HTTP\/1\.1 2/);
});
after(() => server.close());

const host = (): string => `127.0.0.1:${server.port}`;

function signed(method: string, target: string, sent: Buffer): Buffer {
  const [rawPath, rawQuery = ""] = target.split("?") as [string, string?];
  const { headers } = signRequest({
    accessKey: server.accessKey,
    secretKey: server.secretKey,
    region: "us-east-1",
    method,
    rawPath,
    rawQuery,
    headers: { host: host(), "content-md5": createHash("md5").update(sent).digest("base64") },
    payloadHash: createHash("sha256").update(sent).digest("hex"),
    nowMs: Date.now(),
  });
  const more = { "content-length": String(sent.length), connection: "close" };
  return Buffer.concat([Buffer.from(`${headText(method, target, { ...headers, ...more })}\r\n`), sent]);
}

async function chunked(): Promise<Buffer> {
  const request = { method: "PUT", rawPath: path, rawQuery: "", nowMs: Date.now(), region: "us-east-1" };
  const { headers } = signRequest({
    ...request,
    accessKey: server.accessKey,
    secretKey: server.secretKey,
    headers: { host: host(), "x-amz-decoded-content-length": String(body.length) },
    payloadHash: "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
  });
  const signing = await verifyRequest({ ...request, headers, secretFor: () => server.secretKey });
  assert.equal(signing.kind, "authenticated");
  const pieces: Uint8Array[] = [];
  const halves = [body.subarray(0, 20), body.subarray(20)];
  for await (const piece of encodeAwsChunked(halves, { mode: "streaming-signed", signing })) pieces.push(piece);
  const encoded = Buffer.concat(pieces);
  const head = headText("PUT", path, { ...headers, "content-length": String(encoded.length), connection: "close" });
  return Buffer.concat([Buffer.from(`${head}\r\n`), encoded]);
}

/** Sends, says that nothing more will come, and resolves to what was heard; a reset is as good as an end. */
function send(bytes: Buffer): Promise<string> {
  return new Promise((resolve) => {
    const socket = connect(server.port, "127.0.0.1", () => socket.end(bytes));
    let heard = "";
    socket.setEncoding("latin1");
    socket.on("data", (data: string) => (heard += data));
    socket.on("error", () => undefined);
    socket.on("close", () => resolve(heard));
  });
}

type Damage = { readonly at: number; readonly drop: number; readonly add: Buffer };

function damaged(request: Buffer, damages: readonly Damage[]): Buffer {
  let bytes = request;
  for (const { at, drop, add } of damages) {
    const start = Math.floor(at * bytes.length);
    bytes = Buffer.concat([bytes.subarray(0, start), add, bytes.subarray(start + drop)]);
  }
  return bytes;
}

const added = fc.oneof(
  fc.uint8Array({ maxLength: 3 }).map((bytes) => Buffer.from(bytes)),
  fc
    .constantFrom(
      "\r\n",
      "\n",
      ":",
      " ",
      "%",
      "&",
      "=",
      "\0",
      "Transfer-Encoding: chunked\r\n",
      "0\r\n\r\n",
      "--xx",
      "<",
      ";",
    )
    .map((text) => Buffer.from(text)),
);
const damage = fc.record({
  at: fc.double({ min: 0, max: 1, noNaN: true, maxExcluded: true }),
  drop: fc.oneof(fc.nat(3), fc.nat(400)),
  add: added,
});

test("a damaged request gets an answer or an end, never an error of ours, and never stores another body", async () => {
  await fc.assert(
    fc.asyncProperty(fc.nat(100), fc.array(damage, { minLength: 1, maxLength: 3 }), async (which, damages) => {
      const heard = await send(damaged(requests[which % requests.length]!, damages));
      assert.ok(
        statusesOf(heard).every((status) => status < 500 || status === 501 || status === 505),
        heard,
      );
    }),
    { numRuns: 2_000 },
  );
  const got = await talk(server.port, requests[2]!);
  assert.ok(got.endsWith(body.toString()), got);
  const listed = await talk(server.port, signed("GET", "/fuzz", Buffer.alloc(0)));
  assert.deepEqual(
    [...listed.matchAll(/<Key>([^<]*)</g)].map((match) => Buffer.from(match[1]!, "latin1").toString()),
    ["key é"],
  );
});
