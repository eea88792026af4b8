/** Forms as no browser writes them: each ends, with its files or with an error a client can be told. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { Readable } from "node:stream";
import { setImmediate as turn } from "node:timers/promises";
import { test } from "node:test";
import * as fc from "fast-check";
import type { DoorRequest } from "../core/door.ts";
import { HoldfastError } from "../core/errors.ts";
import { limits } from "../core/limits.ts";
import { bodySource } from "./body.ts";
import { readForm } from "./form.ts";
import { cleanName, contentDisposition } from "./names.ts";

const contentType = "multipart/form-data; boundary=xx";

function formOf(body: string, cutBytes: number, type = contentType): DoorRequest {
  const bytes = Buffer.from(body, "latin1");
  const pieces: Buffer[] = [];
  for (let at = 0; at < bytes.length; at += cutBytes) pieces.push(bytes.subarray(at, at + cutBytes));
  const headers = { "content-type": type };
  const signal = new AbortController().signal;
  const stream = Readable.from(pieces, { objectMode: false });
  return {
    method: "POST",
    segments: [],
    query: new Map(),
    headers,
    connection: {},
    remoteAddress: "",
    signal,
    body: () => stream,
  };
}

type Taken = { readonly name: string | undefined; readonly body: string };

/** What a form held. Each file takes `turns` of the event loop to be stored. */
async function filesOf(request: DoorRequest, turns = 0): Promise<Taken[]> {
  const files: Taken[] = [];
  await readForm(request, async ({ stream, name, cutShort }) => {
    const body = await bodySource({ stream, sizeBytes: undefined, cutShort }).collect(1_000_000);
    for (let count = 0; count < turns; count++) await turn();
    files.push({ name, body: body.toString("latin1") });
  });
  return files;
}

const part = (disposition: string, body: string): string =>
  `--xx\r\nContent-Disposition: form-data; ${disposition}\r\n\r\n${body}\r\n`;
const file = (name: string, body: string): string => part(`name="f"; filename="${name}"`, body);
const isRefused = (error: unknown): boolean => error instanceof HoldfastError && error.kind === "invalid";

test("files come out as they went in, however the form is cut", async () => {
  const form = `${file("a", "1")}${part('name="note"', "text")}${file("b", "--x\r\n--xy")}${file("", "")}--xx--\r\n`;
  for (const cutBytes of [1, 2, 7, 1_000]) {
    const files = await filesOf(formOf(form, cutBytes), 3);
    assert.deepEqual(files, [
      { name: "a", body: "1" },
      { name: "b", body: "--x\r\n--xy" },
    ]);
  }
});

test("a form that ends early is refused wherever it is cut, while a file of it is still being stored", async () => {
  const form = `${file("a", "1234")}${file("", "5678")}${file("c", "9")}--xx--`;
  for (let length = 0; length < form.length; length++)
    for (const turns of [0, 5, 50]) {
      const cut = formOf(form.slice(0, length), turns === 5 ? 50 : 1_000);
      await assert.rejects(filesOf(cut, turns), isRefused, form.slice(0, length));
    }
});

test("a form whose client had left before it was read is refused", async () => {
  const form = formOf(file("a", "1234"), 1_000);
  form.body().destroy();
  await once(form.body(), "close");
  await assert.rejects(filesOf(form), isRefused);
});

test("too many files, headers, boundaries: refused or read over, within bounds", async () => {
  const many = file("a", "1").repeat(limits.formFilesMax + 1);
  await assert.rejects(filesOf(formOf(`${many}--xx--\r\n`, 50_000)), isRefused);
  const notes = part('name="n"', "x").repeat(10_000);
  await assert.rejects(filesOf(formOf(`${notes}${file("a", "1")}--xx--\r\n`, 50_000)), isRefused);
  const flood = `--xx\r\nContent-Disposition: form-data; name="f"; filename="a"\r\n${"X: y\r\n".repeat(20_000)}\r\n1\r\n--xx--\r\n`;
  await filesOf(formOf(flood, 50_000)).then(
    (files) => assert.ok(files.length <= 1),
    (error) => assert.ok(isRefused(error)),
  );
  for (const type of ["multipart/form-data", "multipart/form-data; boundary=", `multipart/form-data; boundary="`])
    await assert.rejects(filesOf(formOf(file("a", "1"), 100, type)), isRefused, type);
});

const piece = fc.oneof(
  fc.string({ maxLength: 8 }),
  fc.constantFrom("--xx", "\r\n", "--xx\r\n", "--xx--", "--xx--\r\n", "\r\n\r\n", "--", "\r", "\0", "\xff"),
  fc.constantFrom('Content-Disposition: form-data; name="f"; filename="a"\r\n\r\n', "Content-Disposition: form-data"),
  fc.constantFrom('; name="', '; filename="', "; filename*=utf-8''%e2%82", "Content-Type: text/plain\r\n", ": \r\n"),
  fc.constantFrom(file("a", "12"), file("", ""), file("", "x"), file("..", "y"), part('name="n"', "z")),
);
const anyForm = fc.array(piece, { maxLength: 10 }).map((pieces) => pieces.join(""));

/** Waited for ever once: a box without a name (".." counts as none), cut off before anybody looks into it. */
const nameless = `Content-Disposition: form-data; name="f"; filename="a"\r\n\r\n\r\n\r\n${file("..", "y\r\n: ")}--x`;

test("any form is read or refused, and ends", async () => {
  await fc.assert(
    fc.asyncProperty(anyForm, fc.integer({ min: 1, max: 60 }), fc.nat(3), async (form, cutBytes, turns) => {
      try {
        const files = await filesOf(formOf(form, cutBytes), turns);
        assert.ok(files.every(({ body }) => form.includes(body)));
      } catch (error) {
        if (!isRefused(error)) throw error;
      }
    }),
    { numRuns: 1_000, examples: [55, 60, 100].map((cutBytes) => [nameless, cutBytes, 2]) },
  );
});

test("any name becomes one that can be stored and sent, or is refused", () => {
  const name = fc.oneof(
    fc.string({ unit: "binary" }),
    fc.string({ unit: fc.constantFrom("/", "\\", ".", "\0", "\ud800", "é", '"', "%", "\n") }),
  );
  fc.assert(
    fc.property(name, (given) => {
      try {
        const cleaned = cleanName(given);
        assert.ok(cleaned.isWellFormed() && !/[/\\\0-\x1f\x7f]/.test(cleaned) && cleaned !== "." && cleaned !== "..");
        assert.match(contentDisposition(cleaned), /^[\x20-\x7e]*$/);
      } catch (error) {
        if (!isRefused(error)) throw error;
      }
    }),
    { numRuns: 1_000 },
  );
});
