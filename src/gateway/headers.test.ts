import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import { HoldfastError } from "../core/errors.ts";
import { limits } from "../core/limits.ts";
import { S3Error } from "./errors.ts";
import {
  copySourceConditions,
  httpDate,
  objectMetadata,
  parseEtag,
  parseEtagList,
  parseHttpDate,
  parseRange,
  readConditions,
  writeConditions,
} from "./headers.ts";

test("dates: the three forms of HTTP and nothing else", () => {
  const ms = Date.UTC(1994, 10, 6, 8, 49, 37);
  for (const text of ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"])
    assert.equal(parseHttpDate(text), ms, text);
  for (const text of [
    "1994-11-06T08:49:37Z",
    "784111777",
    "Sun, 31 Feb 1994 08:49:37 GMT",
    "Sun, 06 Nov 1994 25:00:00 GMT",
    "Sun, 06 Xxx 1994 08:49:37 GMT",
    "",
  ])
    assert.equal(parseHttpDate(text), undefined, text);
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 250_000_000_000 }), (seconds) => {
      assert.equal(parseHttpDate(httpDate(seconds * 1000)), seconds * 1000);
    }),
  );
});

test("any date is a time or none", () => {
  const piece = fc.oneof(
    fc.constantFrom("Sun", "Sunday", ", ", " ", "-", "06", "31", "99", "Nov", "Feb", "1994", "94", "0000", "9999"),
    fc.constantFrom("08:49:37", "24:00:00", "99:99:99", " GMT", " +0000", "T", "Z", "__proto__"),
    fc.string({ maxLength: 3 }),
  );
  const near = fc.tuple(fc.nat(99), fc.constantFrom("Jan", "Feb", "Dec", "Xxx"), fc.nat(9_999), fc.nat(99), fc.nat(99));
  const two = (number: number): string => String(number).padStart(2, "0");
  const text = fc.oneof(
    fc.array(piece, { maxLength: 8 }).map((pieces) => pieces.join("")),
    near.map(([day, month, year, hour, minute]) => {
      return `Mon, ${two(day)} ${month} ${String(year).padStart(4, "0")} ${two(hour)}:${two(minute)}:00 GMT`;
    }),
  );
  fc.assert(
    fc.property(text, (given) => {
      const ms = parseHttpDate(given);
      if (ms === undefined) return;
      assert.ok(Number.isSafeInteger(ms) && Math.abs(ms) < 8.64e15);
      assert.equal(parseHttpDate(httpDate(ms)), ms);
      assert.ok(readConditions({ "if-modified-since": given })?.ifModifiedSinceMs === ms);
    }),
    { numRuns: 2_000 },
  );
});

test("ranges", () => {
  assert.deepEqual(parseRange("bytes=0-9"), { kind: "from", first: 0, last: 9 });
  assert.deepEqual(parseRange("Bytes = 5 -"), { kind: "from", first: 5, last: undefined });
  assert.deepEqual(parseRange("bytes=-0"), { kind: "suffix", length: 0 });
  assert.deepEqual(parseRange(`bytes=-${"9".repeat(400)}`), { kind: "suffix", length: Number.MAX_SAFE_INTEGER });
  for (const text of ["bytes=9-0", "bytes=-", "bytes=0-1,3-4", "items=0-1", "bytes=a-b", "", "bytes=1.5-2"])
    assert.equal(parseRange(text), undefined, text);
  fc.assert(
    fc.property(fc.string({ maxLength: 30 }), (text) => {
      const range = parseRange(text);
      assert.ok(range === undefined || range.kind === "suffix" || (range.last ?? Infinity) >= range.first);
    }),
  );
});

test("no header costs more time than its length", () => {
  // With one reading too many for a blank these took minutes.
  for (const blank of [" ", "\t", ",", '"', "W/", "0", "-", "bytes=", "Mon, "]) {
    const blanks = blank.repeat(40_000 / blank.length);
    for (const text of [blanks, `bytes=${blanks}x`, `bytes=1${blanks}x`, `bytes=1-${blanks}x`, `bytes=-${blanks}x`])
      for (let round = 0; round < 20; round++) {
        parseRange(text);
        parseEtagList(text);
        parseEtag(text);
        parseHttpDate(text);
      }
  }
});

test("ETags and conditions", () => {
  assert.equal(parseEtagList(" * "), "*");
  assert.deepEqual(parseEtagList('"a", b ,W/"c","d,e",,"'), ["a", "b", "d,e"]);
  assert.deepEqual(parseEtagList('W/"c"', true), ["c"]);
  assert.equal(parseEtag(' "abc-2" '), "abc-2");
  assert.equal(parseEtag("abc"), "abc");
  assert.equal(writeConditions({}), undefined);
  assert.deepEqual(writeConditions({ "if-match": '"a"', "if-none-match": 'W/"b"' }), {
    ifMatch: ["a"],
    ifNoneMatch: ["b"],
  });
  assert.equal(readConditions({ "if-modified-since": "nonsense" }), undefined);
  assert.deepEqual(readConditions({ "if-modified-since": httpDate(1000), "if-unmodified-since": httpDate(2000) }), {
    ifModifiedSinceMs: 1000,
    ifUnmodifiedSinceMs: 2000,
  });
  assert.deepEqual(copySourceConditions({ "x-amz-copy-source-if-match": "a", "if-match": "b" }), { ifMatch: ["a"] });
  fc.assert(
    fc.property(fc.string({ maxLength: 60 }), (text) => {
      const list = parseEtagList(text, true);
      assert.ok(list === "*" || list.join("").length <= text.length);
    }),
  );
});

test("metadata is kept as it was sent", () => {
  const metadata = objectMetadata({
    "content-type": "text/plain",
    "content-encoding": "gzip, AWS-Chunked",
    "x-amz-meta-a": "Gr\u00c3\u00bc\u00c3\u009fe",
    "x-amz-meta-__proto__": "x",
    "x-amz-meta-": "nameless",
    "x-amz-storage-class": "STANDARD_IA",
    range: "bytes=0-1",
  });
  assert.deepEqual(metadata.headers, {
    "content-type": "text/plain",
    "content-encoding": "gzip",
    "x-amz-storage-class": "STANDARD_IA",
  });
  assert.deepEqual(Object.entries(metadata.user), [
    ["a", "Gr\u00c3\u00bc\u00c3\u009fe"],
    ["__proto__", "x"],
  ]);
  assert.deepEqual(objectMetadata({ "content-encoding": "aws-chunked" }), { headers: {}, user: {} });
});

test("metadata that is too large or wrong is refused", () => {
  const tooLarge = (error: unknown) => error instanceof HoldfastError && error.reason === "metadata_too_large";
  const max = limits.userMetadataBytesMax;
  objectMetadata({ "x-amz-meta-ab": "x".repeat(max - 2) });
  assert.throws(() => objectMetadata({ "x-amz-meta-ab": "x".repeat(max - 1) }), tooLarge);
  assert.throws(() => objectMetadata({ "cache-control": "x".repeat(limits.contentHeaderBytesMax + 1) }), tooLarge);
  // Clients don't even try to read what a listing says lies in an archive, and there is none.
  for (const wrong of ["GOLD", "GLACIER", "DEEP_ARCHIVE"]) {
    assert.throws(
      () => objectMetadata({ "x-amz-storage-class": wrong }),
      (error) => error instanceof S3Error && error.code === "InvalidStorageClass",
    );
  }
});
