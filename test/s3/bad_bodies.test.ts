/**
 * Bodies that are not what was announced, in every form a body can have, small (kept in a row) and large (cut into
 * chunks), as an object and as a part: S3's code, nothing stored, and the server goes on.
 */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { connect } from "node:net";
import { after, afterEach, before, test } from "node:test";
import { crc32 } from "node:zlib";
import { encodeAwsChunked } from "../../src/gateway/aws_chunked.ts";
import type { ChunkedMode } from "../../src/gateway/aws_chunked.ts";
import { signRequest, verifyRequest } from "../../src/gateway/sigv4.ts";
import { codeOf, headText, statusesOf, talk } from "../server/wire.ts";
import { accessKey, pattern, secretKey, startTestServer } from "./server.ts";
import type { TestServer } from "./server.ts";

const bucket = "bodies";
const key = Buffer.from("new");
const objectPath = `/${bucket}/new`;
let server: TestServer;
let uploadId: string;
before(async () => {
  server = await startTestServer();
  await server.bucket(bucket);
  ({ id: uploadId } = await server.objects.createUpload({ bucket, key, metadata: { headers: {}, user: {} } }));
});
after(() => server.close());

/** After every test: no object and no part, and a right upload is taken. */
afterEach(async () => {
  assert.deepEqual((await server.objects.list({ bucket, limit: 10 })).objects, []);
  assert.deepEqual((await server.objects.listParts({ bucket, key, uploadId, after: 0, limit: 10 })).parts, []);
  assert.equal((await server.raw({ method: "GET", path: `/${bucket}` })).status, 200);
});

type Form = ChunkedMode | "unsigned" | "hashed";
const words: Readonly<Record<ChunkedMode, string>> = {
  "streaming-signed": "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
  "streaming-signed-trailer": "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER",
  "streaming-unsigned-trailer": "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
};
const chunkedForms = Object.keys(words) as ChunkedMode[];
const isChunkedForm = (form: Form): form is ChunkedMode => form in words;
const hasTrailer = (form: Form): boolean => form.endsWith("-trailer");

type Upload = { readonly headers: Record<string, string>; readonly encoded: Buffer };

type Announced = { readonly path?: string; readonly decodedLength?: string; readonly trailer?: string };

/** A right upload of `body`, but for what `announced` says otherwise. */
async function upload(form: Form, body: Buffer, announced: Announced = {}): Promise<Upload> {
  const { path = objectPath, decodedLength = String(body.length), trailer = "x-amz-checksum-crc32" } = announced;
  const [rawPath, rawQuery = ""] = path.split("?") as [string, string?];
  const nowMs = Date.now();
  const hash = form === "unsigned" ? "UNSIGNED-PAYLOAD" : createHash("sha256").update(body).digest("hex");
  const chunkHeaders = { "content-encoding": "aws-chunked", "x-amz-decoded-content-length": decodedLength };
  const request = { method: "PUT", rawPath, rawQuery, nowMs, region: "us-east-1" };
  const { headers } = signRequest({
    ...request,
    accessKey,
    secretKey,
    headers: {
      host: `127.0.0.1:${server.port}`,
      ...(isChunkedForm(form) && chunkHeaders),
      ...(hasTrailer(form) && { "x-amz-trailer": trailer }),
    },
    payloadHash: isChunkedForm(form) ? words[form] : hash,
  });
  if (!isChunkedForm(form)) return { headers, encoded: body };
  const auth = await verifyRequest({ ...request, headers, secretFor: () => secretKey });
  assert.equal(auth.kind, "authenticated");
  const sum = Buffer.alloc(4);
  sum.writeUInt32BE(crc32(body));
  const trailers = hasTrailer(form) ? () => ({ "x-amz-checksum-crc32": sum.toString("base64") }) : undefined;
  const pieces = [body.subarray(0, 65_536), body.subarray(65_536)];
  const encoded: Uint8Array[] = [];
  for await (const piece of encodeAwsChunked(pieces, { mode: form, signing: auth, trailers })) encoded.push(piece);
  return { headers, encoded: Buffer.concat(encoded) };
}

type Spoil = (encoded: string) => string;

async function answerTo(form: Form, sizeBytes: number, spoil: Spoil, announced?: Announced): Promise<string> {
  const { headers, encoded } = await upload(form, pattern(sizeBytes), announced);
  const sent = Buffer.from(spoil(encoded.toString("latin1")), "latin1");
  const head = headText("PUT", announced?.path ?? objectPath, { ...headers, "content-length": String(sent.length) });
  return talk(server.port, `${head}connection: close\r\n\r\n`, sent);
}

/** As an object and as a part, small and large. */
async function refused(form: Form, code: string, spoil: Spoil, announced?: Announced): Promise<void> {
  for (const path of [objectPath, `${objectPath}?partNumber=1&uploadId=${uploadId}`])
    for (const sizeBytes of [100, 300_000]) {
      const heard = await answerTo(form, sizeBytes, spoil, { ...announced, path });
      const status = code === "SignatureDoesNotMatch" ? 403 : code === "MissingContentLength" ? 411 : 400;
      assert.deepEqual([statusesOf(heard), codeOf(heard)], [[status], code], `${sizeBytes} ${path} ${heard}`);
    }
}

const asIs: Spoil = (encoded) => encoded;
const replaced = (from: string | RegExp, to: string): Spoil => {
  return (encoded) => {
    const spoiled = encoded.replace(from, to);
    assert.notEqual(spoiled, encoded, "something was spoiled");
    return spoiled;
  };
};
const flipped = (at: (encoded: string) => number): Spoil => {
  return (encoded) => {
    const index = at(encoded);
    const other = String.fromCharCode(encoded.charCodeAt(index) ^ 1);
    return encoded.slice(0, index) + other + encoded.slice(index + 1);
  };
};
const dataFlipped = flipped((encoded) => encoded.indexOf("\r\n") + 50);
const firstSize = /^[0-9a-f]+/;

test("every form is taken when nothing is wrong with it", async () => {
  for (const form of ["unsigned", "hashed", ...chunkedForms] as const)
    for (const sizeBytes of [0, 100, 300_000]) {
      assert.deepEqual(statusesOf(await answerTo(form, sizeBytes, asIs)), [200], form);
      await server.objects.delete({ bucket, key });
    }
});

test("hashed: a body that was changed, cut or made longer is XAmzContentSHA256Mismatch", async () => {
  for (const spoil of [flipped(() => 50), (body: string) => body.slice(1), (body: string) => `${body}x`, () => ""])
    await refused("hashed", "XAmzContentSHA256Mismatch", spoil);
});

for (const form of chunkedForms) {
  const signed = form !== "streaming-unsigned-trailer";
  test(`${form}: data that was changed`, async () => {
    await refused(form, signed ? "SignatureDoesNotMatch" : "BadDigest", dataFlipped);
  });

  test(`${form}: cut anywhere is IncompleteBody`, async () => {
    for (const keep of [0, 1, 3, 20, 90, 150])
      await refused(form, "IncompleteBody", (encoded) => encoded.slice(0, Math.min(keep, encoded.length - 1)));
    for (const drop of [1, 2, 3, 4]) await refused(form, "IncompleteBody", (encoded) => encoded.slice(0, -drop));
  });

  test(`${form}: bytes behind the last chunk are IncompleteBody`, async () => {
    for (const tail of ["x", "\r\n", "0\r\n\r\n", "\0".repeat(5_000)])
      await refused(form, "IncompleteBody", (encoded) => encoded + tail);
  });

  test(`${form}: first lines of chunks that are none are IncompleteBody`, async () => {
    for (const size of [
      "",
      "-1",
      "+64",
      " 64",
      "0x64",
      "64 ",
      "zz",
      "1e2",
      "f".repeat(12),
      "f".repeat(16),
      "0".repeat(2_000),
    ])
      await refused(form, "IncompleteBody", replaced(firstSize, size));
    await refused(form, "IncompleteBody", replaced("\r\n", "\n"));
    await refused(form, "IncompleteBody", replaced("\r\n", ";a=b\r\n"));
  });

  test(`${form}: a decoded length that is not the body's is IncompleteBody, none at all is MissingContentLength`, async () => {
    for (const decodedLength of ["0", "99", "101", "299999", "300001", "5000000000"])
      await refused(form, "IncompleteBody", asIs, { decodedLength });
    for (const decodedLength of ["-1", "1e2", "abc", "100, 100"])
      await refused(form, "MissingContentLength", asIs, { decodedLength });
  });

  test(`${form}: more than an object may have is EntityTooLarge before anything is read`, async () => {
    await refused(form, "EntityTooLarge", asIs, { decodedLength: "5368709121" });
    await refused(form, "EntityTooLarge", asIs, { decodedLength: "99999999999999999999" });
  });
}

for (const form of ["streaming-signed", "streaming-signed-trailer"] as const) {
  test(`${form}: signatures of chunks that were changed, dropped or swapped`, async () => {
    const changed = (digits: string): Spoil => replaced(/chunk-signature=.{8}/, `chunk-signature=${digits}`);
    await refused(form, "SignatureDoesNotMatch", changed("00000000"));
    await refused(form, "SignatureDoesNotMatch", (encoded) => {
      const last = encoded.lastIndexOf("chunk-signature=") + 16;
      return encoded.slice(0, last) + "0".repeat(64) + encoded.slice(last + 64);
    });
    for (const digits of ["0000000", "gggggggg", "AAAAAAAA"]) await refused(form, "IncompleteBody", changed(digits));
    await refused(form, "IncompleteBody", replaced(/;chunk-signature=.{64}/, ""));
  });
}

for (const form of ["streaming-signed-trailer", "streaming-unsigned-trailer"] as const) {
  const own = /x-amz-checksum-crc32:.*\r\n/;
  test(`${form}: trailers that are not those announced`, async () => {
    const signed = form === "streaming-signed-trailer";
    await refused(
      form,
      signed ? "SignatureDoesNotMatch" : "BadDigest",
      replaced(own, "x-amz-checksum-crc32:AAAAAA==\r\n"),
    );
    await refused(form, signed ? "SignatureDoesNotMatch" : "MalformedTrailerError", replaced(own, ""));
    await refused(
      form,
      signed ? "SignatureDoesNotMatch" : "MalformedTrailerError",
      replaced(own, "$&x-amz-meta-a:b\r\n"),
    );
    await refused(form, "MalformedTrailerError", replaced(own, "$&$&"));
    for (const line of [":AAAAAA==", "no colon", "a b:c", "x-amz-checksum-crc32:\x01", `a:${"b".repeat(4_090)}`])
      await refused(form, "MalformedTrailerError", replaced(own, `${line}\r\n`));
    await refused(form, "IncompleteBody", replaced(own, `a:${"b".repeat(10_000)}\r\n`));
  });

  test(`${form}: a trailer that S3 does not know is InvalidRequest`, async () => {
    for (const trailer of ["x-amz-meta-a", "x-amz-checksum-crc31", "x-amz-checksum-crc32,x-amz-checksum-sha1", ""])
      await refused(form, "InvalidRequest", asIs, { trailer });
  });
}

test("a trailer's signature that was changed, sent twice or is followed by a trailer", async () => {
  const form = "streaming-signed-trailer";
  const line = /x-amz-trailer-signature:.*\r\n/;
  await refused(form, "SignatureDoesNotMatch", replaced(line, `x-amz-trailer-signature:${"0".repeat(64)}\r\n`));
  await refused(form, "SignatureDoesNotMatch", replaced(line, "x-amz-trailer-signature:\r\n"));
  await refused(form, "MalformedTrailerError", replaced(line, "$&$&"));
  await refused(form, "MalformedTrailerError", replaced(line, "$&x-amz-checksum-sha1:AAAA\r\n"));
  await refused(form, "IncompleteBody", replaced(line, ""));
});

test("trailers of a form that has none are MalformedTrailerError", async () => {
  const late = (encoded: string): string => `${encoded.slice(0, -2)}x-amz-checksum-crc32:AAAAAA==\r\n\r\n`;
  await refused("streaming-signed", "MalformedTrailerError", late);
});

test("a client that sends less than it announced, or nothing more, stores nothing", async () => {
  for (const form of ["unsigned", "hashed", ...chunkedForms] as const)
    for (const sizeBytes of [100, 300_000]) {
      const { headers, encoded } = await upload(form, pattern(sizeBytes));
      const head = headText("PUT", objectPath, { ...headers, "content-length": String(encoded.length) });
      const answered = server.events.length;
      const socket = connect(server.port, "127.0.0.1", () => {
        socket.write(`${head}\r\n`);
        socket.end(encoded.subarray(0, -1));
      });
      socket.resume().on("error", () => undefined);
      await new Promise((resolve) => socket.once("close", resolve));
      while (server.events.length === answered) await new Promise((resolve) => setImmediate(resolve));
      const code = server.events.at(-1)?.code;
      assert.ok(code === "IncompleteBody" || code === "RequestTimeout", `${form} ${code}`);
    }
});

test("no length at all is MissingContentLength; one beyond 5 GiB is EntityTooLarge before it travels", async () => {
  const { headers } = await upload("unsigned", Buffer.alloc(0));
  const ask = (more: string): Promise<string> =>
    talk(server.port, `${headText("PUT", objectPath, headers)}${more}connection: close\r\n\r\n`);
  const missing = await ask("");
  assert.deepEqual([statusesOf(missing), codeOf(missing)], [[411], "MissingContentLength"]);
  for (const length of ["5368709121", "9999999999999999"]) {
    const heard = await ask(`content-length: ${length}\r\nexpect: 100-continue\r\n`);
    assert.deepEqual([statusesOf(heard), codeOf(heard)], [[400], "EntityTooLarge"]);
  }
});

test("what nobody would compare or put together is refused: other checksums, a piece of a body", async () => {
  const send = (headers: Record<string, string>) =>
    server.raw({ method: "PUT", path: objectPath, body: Buffer.from("x"), headers });
  for (const name of ["sha512", "md5", "xxhash3", "xxhash64", "xxhash128"]) {
    const answer = await send({ [`x-amz-checksum-${name}`]: "AAAA" });
    assert.deepEqual([answer.status, codeOf(answer.text)], [501, "NotImplemented"], name);
  }
  const unknown = await send({ "x-amz-checksum-crc31": "AAAA" });
  assert.deepEqual([unknown.status, codeOf(unknown.text)], [400, "InvalidRequest"]);
  const piece = await send({ "content-range": "bytes 0-0/2" });
  assert.deepEqual([piece.status, codeOf(piece.text)], [501, "NotImplemented"]);
});
