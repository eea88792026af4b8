/** A form is read the same however it comes in pieces, and whatever else comes is refused and never hangs. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { HoldfastError } from "../core/errors.ts";
import { S3Error } from "./errors.ts";
import { Form } from "./form.ts";

const boundary = "bound";
const headers = { "content-type": `multipart/form-data; boundary=${boundary}` };

function formOf(file: Buffer): Buffer {
  const part = (disposition: string, value: Buffer | string): Buffer[] => [
    Buffer.from(`--${boundary}\r\nContent-Disposition: form-data; ${disposition}\r\n\r\n`),
    Buffer.from(value),
    Buffer.from("\r\n"),
  ];
  return Buffer.concat([
    ...part('name="key"', "a key: größe"),
    ...part('name="As-File"; filename="x"', "value"),
    ...part('name="file"; filename="cat.jpg"', file),
    ...part('name="late"', "never read"),
    Buffer.from(`--${boundary}--\r\n`),
  ]);
}

async function* cut(bytes: Buffer, at: readonly number[]): AsyncGenerator<Uint8Array> {
  const ends = [...new Set([...at, bytes.length])].filter((end) => end <= bytes.length).toSorted((a, b) => a - b);
  let from = 0;
  for (const end of ends) {
    if (end > from) yield Buffer.from(bytes.subarray(from, end));
    from = end;
  }
}

async function read(pieces: AsyncIterable<Uint8Array>): Promise<{ fields: unknown; fileName: string; file: Buffer }> {
  const form = new Form(headers, pieces);
  try {
    const { fields, fileName } = await form.head();
    const seen = Object.fromEntries(fields);
    const file: Uint8Array[] = [];
    for await (const piece of form.file()) file.push(piece);
    return { fields: seen, fileName, file: Buffer.concat(file) };
  } finally {
    await form.close();
  }
}

/** Bytes in which beginnings of the boundary are likely. */
const tricky = fc
  .array(fc.constantFrom("\r", "\n", "\r\n", "-", "--", boundary, "\r\n--", "\r\n--boun", "x", "\0", "\xff"), {
    maxLength: 40,
  })
  .map((pieces) => Buffer.from(pieces.join(""), "latin1"))
  .filter((bytes) => !bytes.includes(`\r\n--${boundary}`));

test("a form is read the same in whatever pieces it comes", async () => {
  await fc.assert(
    fc.asyncProperty(tricky, fc.array(fc.nat({ max: 600 }), { maxLength: 30 }), async (file, at) => {
      // What stands at the beginning of the file stands behind a line break.
      fc.pre(!file.subarray(0, boundary.length + 2).equals(Buffer.from(`--${boundary}`)));
      const form = await read(cut(formOf(file), at));
      assert.deepEqual(form.fields, { key: "a key: größe", "as-file": "value" });
      assert.equal(form.fileName, "cat.jpg");
      assert.ok(form.file.equals(file));
    }),
    { numRuns: 300 },
  );
});

test("a form that was spoiled or cut is refused or read, and nothing worse", async () => {
  const right = formOf(Buffer.from("the file"));
  const change = fc.record({
    at: fc.nat({ max: right.length }),
    taken: fc.nat({ max: 60 }),
    put: fc.oneof(
      fc.constantFrom("", "\r\n", "--", `--${boundary}`, `\r\n--${boundary}\r\n`, `\r\n--${boundary}--`, '"', ";"),
      fc.string({ unit: "binary", maxLength: 8 }),
    ),
  });
  await fc.assert(
    fc.asyncProperty(
      fc.array(change, { maxLength: 3 }),
      fc.nat({ max: right.length + 40 }),
      async (changes, length) => {
        let spoiled = right;
        for (const { at, taken, put } of changes)
          spoiled = Buffer.concat([spoiled.subarray(0, at), Buffer.from(put), spoiled.subarray(at + taken)]);
        try {
          await read(cut(spoiled.subarray(0, length), [length >> 1]));
        } catch (error) {
          assert.ok(error instanceof S3Error && error.status === 400, String(error));
        }
      },
    ),
    { numRuns: 1_000 },
  );
});

test("an error of the body is the form's, wherever it comes", async () => {
  const right = formOf(Buffer.alloc(1_000, "x"));
  for (const length of [0, 50, 200, 400, right.length]) {
    const broken = async function* (): AsyncGenerator<Uint8Array> {
      yield* cut(right.subarray(0, length), [100, 300]);
      throw new HoldfastError("incomplete_body", "The client left.");
    };
    await assert.rejects(read(broken()), { reason: "incomplete_body" });
  }
});

test("a second file is refused though nobody takes it, however much of it comes at once", async () => {
  const head = `--${boundary}\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n`;
  const form = Buffer.concat([Buffer.from(`${head}one\r\n${head}`), Buffer.alloc(1_000_000, "x")]);
  await assert.rejects(read(cut(form, [])), { code: "InvalidArgument" });
});

test("a part that begins behind the form's end, in the same piece, is read or refused, and never waited for", async () => {
  const form = formOf(Buffer.from("the file"));
  const spoiled = Buffer.concat([Buffer.from(`--${boundary}--x\r\n`), form]);
  const waited = new Promise((resolve) => setTimeout(resolve, 300_000, "it hangs").unref());
  let refused = 0;
  for (let at = 1; at < spoiled.length; at++) {
    const outcome = await Promise.race([read(cut(spoiled, [at])), waited]).catch((error: unknown) => error);
    assert.notEqual(outcome, "it hangs", `cut at ${at}`);
    if (!(outcome instanceof Error)) continue;
    assert.ok(outcome instanceof S3Error && outcome.status === 400, String(outcome));
    refused += 1;
  }
  assert.ok(refused > 0);
});

test("nothing is read ahead: a file that nobody reads leaves its body unread", async () => {
  let given = 0;
  const endless = async function* (): AsyncGenerator<Uint8Array> {
    const right = formOf(Buffer.alloc(0));
    yield right.subarray(0, right.indexOf("cat.jpg") + 12);
    for (;;) {
      given += 1;
      yield Buffer.alloc(1_000);
    }
  };
  const form = new Form(headers, endless());
  assert.equal((await form.head()).fileName, "cat.jpg");
  // The parser keeps back what may be the beginning of a boundary: the line break before the file.
  assert.ok(given <= 1, `${given}`);
  const file = form.file();
  for (let pieces = 0; pieces < 5; pieces++) await file.next();
  assert.ok(given <= 7, `${given}`);
  await file.return();
  await form.close();
});
