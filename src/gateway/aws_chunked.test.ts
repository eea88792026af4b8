import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import { HoldfastError } from "../core/errors.ts";
import { limits } from "../core/limits.ts";
import { decodeAwsChunked, encodeAwsChunked } from "./aws_chunked.ts";
import type { ChunkedMode, DecodeOptions } from "./aws_chunked.ts";
import { signingKey } from "./canonical.ts";
import { S3Error } from "./errors.ts";

// AWS's published example of a body in signed chunks.
const signing = {
  signingKey: signingKey("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", {
    date: "20130524",
    region: "us-east-1",
    service: "s3",
  }),
  timestamp: "20130524T000000Z",
  scope: "20130524/us-east-1/s3/aws4_request",
  seedSignature: "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9",
};

async function* cut(bytes: Buffer, size: number): AsyncGenerator<Buffer> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

async function gather(pieces: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const all: Uint8Array[] = [];
  for await (const piece of pieces) all.push(piece);
  return Buffer.concat(all);
}

const decode = (text: string | Buffer, options: Partial<DecodeOptions>, size = 7_000): Promise<Buffer> =>
  gather(
    decodeAwsChunked(cut(Buffer.from(text as string, "latin1"), size), {
      mode: "streaming-signed",
      signing,
      decodedLength: 0,
      ...options,
    }),
  );

const a = (count: number): string => "a".repeat(count);
const awsBody = [
  "10000;chunk-signature=ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648",
  a(65_536),
  "400;chunk-signature=0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497",
  a(1_024),
  "0;chunk-signature=b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9",
  "",
  "",
].join("\r\n");

test("AWS's example of signed chunks", async () => {
  for (const size of [1, 100, 70_000]) {
    const decoded = await decode(awsBody, { decodedLength: 66_560 }, size);
    assert.equal(decoded.toString(), a(66_560));
  }
  const encoded = await gather(
    encodeAwsChunked([Buffer.from(a(65_536)), Buffer.from(a(1_024))], { mode: "streaming-signed", signing }),
  );
  assert.equal(encoded.toString(), awsBody);
});

const s3 = (code: string) => (error: unknown) => {
  assert.ok(error instanceof S3Error, String(error));
  assert.equal(error.code, code, error.message);
  return true;
};
const isIncomplete = (error: unknown) =>
  incomplete(error) || (error instanceof S3Error && error.code === "IncompleteBody");
const incomplete = (error: unknown) => error instanceof HoldfastError && error.reason === "incomplete_body";

test("signed chunks that were tampered with, cut or mislabelled", async () => {
  const decodedLength = 66_560;
  await assert.rejects(decode(awsBody.replace("aaa\r\n", "aab\r\n"), { decodedLength }), s3("SignatureDoesNotMatch"));
  await assert.rejects(decode(awsBody.replace("=b6c6", "=b6c7"), { decodedLength }), s3("SignatureDoesNotMatch"));
  await assert.rejects(decode(awsBody.slice(0, -2), { decodedLength }), incomplete);
  await assert.rejects(decode(awsBody.slice(0, 60_000), { decodedLength }), incomplete);
  await assert.rejects(decode("", { decodedLength }), incomplete);
  await assert.rejects(decode(awsBody, { decodedLength: 66_561 }), incomplete);
  await assert.rejects(decode(awsBody, { decodedLength: 66_559 }), s3("IncompleteBody"));
  for (const tail of ["x\r\n", "\r\n", "0"])
    await assert.rejects(decode(`${awsBody}${tail}`, { decodedLength }), (error) => isIncomplete(error));
  await assert.rejects(
    decode(`${awsBody.slice(0, -2)}x-amz-checksum-crc32:AAAAAA==\r\n\r\n`, { decodedLength }),
    s3("MalformedTrailerError"),
  );
  await assert.rejects(decode(awsBody, { decodedLength, signing: undefined }), s3("InvalidRequest"));
  await assert.rejects(decode(awsBody, { decodedLength, mode: "streaming-unsigned-trailer" }), s3("IncompleteBody"));
});

const unsigned = (text: string, decodedLength: number, onTrailers?: DecodeOptions["onTrailers"]): Promise<Buffer> =>
  decode(text, { mode: "streaming-unsigned-trailer", signing: undefined, decodedLength, onTrailers });

test("unsigned chunks with a trailer", async () => {
  const seen: [string, string][] = [];
  const body = "3\r\nabc\r\n0\r\nX-Amz-Checksum-CRC32: NSRBwg==\r\n\r\n";
  assert.equal((await unsigned(body, 3, (trailers) => seen.push(...trailers))).toString(), "abc");
  assert.deepEqual(seen, [["x-amz-checksum-crc32", "NSRBwg=="]]);
  for (const broken of [
    "3\nabc\r\n0\r\n\r\n",
    "3\r\nabcd\r\n0\r\n\r\n",
    "g\r\n",
    "-1\r\n",
    "\r\n",
    "3;x=y\r\n",
    "fffffffffffff\r\n",
    "ffffffffffff\r\nabc",
    " 3\r\nabc",
    "3 \r\nabc",
    "1e1\r\nabc",
    "3\r\nabc\r\n\r\n",
    "0x3\r\n",
  ])
    await assert.rejects(unsigned(broken, 3), s3("IncompleteBody"));
  await assert.rejects(unsigned("1".repeat(limits.awsChunkHeaderBytesMax + 1), 3), s3("IncompleteBody"));
  for (const trailer of [
    "no colon",
    "a:b\r\na:c",
    "a b:c",
    "x-amz-trailer-signature:00",
    `a:${a(limits.trailersBytesMax - 4)}`,
  ])
    await assert.rejects(unsigned(`0\r\n${trailer}\r\n\r\n`, 0), s3("MalformedTrailerError"));
});

test("a signed trailer is verified", async () => {
  const mode = "streaming-signed-trailer";
  const trailers = (): Record<string, string> => ({ "x-amz-checksum-crc32c": "sOO8/Q==" });
  const body = (await gather(encodeAwsChunked([Buffer.from(a(10))], { mode, signing, trailers }))).toString();
  assert.equal((await decode(body, { mode, decodedLength: 10 })).length, 10);
  // As AWS's page spells it: LF behind the trailer, then an empty line.
  const spelled = body.replace("sOO8/Q==\r\n", "sOO8/Q==\n\r\n");
  assert.equal((await decode(spelled, { mode, decodedLength: 10 })).length, 10);
  await assert.rejects(decode(body.replace("sOO8", "sOO9"), { mode, decodedLength: 10 }), s3("SignatureDoesNotMatch"));
  const without = body.replace(/x-amz-trailer-signature:.*\r\n/, "");
  await assert.rejects(decode(without, { mode, decodedLength: 10 }), incomplete);
});

const modes: readonly ChunkedMode[] = ["streaming-signed", "streaming-signed-trailer", "streaming-unsigned-trailer"];

test("what is encoded is decoded, however it is cut", async () => {
  const pieces = fc.array(fc.uint8Array({ maxLength: 50 }), { maxLength: 6 });
  await fc.assert(
    fc.asyncProperty(pieces, fc.constantFrom(...modes), fc.integer({ min: 1, max: 100 }), async (parts, mode, size) => {
      const whole = Buffer.concat(parts);
      const encoded = await gather(encodeAwsChunked(parts, { mode, signing }));
      assert.deepEqual(await decode(encoded, { mode, decodedLength: whole.length }, size), whole);
    }),
  );
});

test("any bytes are decoded or refused, never more than announced", async () => {
  const piece = fc.oneof(
    fc.string({ maxLength: 10 }),
    fc.constantFrom("\r\n", "0\r\n", "3\r\nabc\r\n", "a:b\r\n", ";chunk-signature=", "f".repeat(64), "\n"),
  );
  const bytes = fc.array(piece, { maxLength: 12 }).map((parts) => parts.join(""));
  await fc.assert(
    fc.asyncProperty(bytes, fc.constantFrom(...modes), fc.nat(9), async (text, mode, decodedLength) => {
      try {
        assert.equal((await decode(text, { mode, decodedLength }, 5)).length, decodedLength);
      } catch (error) {
        if (!(error instanceof S3Error || error instanceof HoldfastError)) throw error;
      }
    }),
    { numRuns: 500 },
  );
});
