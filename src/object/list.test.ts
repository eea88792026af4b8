import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import * as fc from "fast-check";
import { openTestStore, plainPut, kvKinds } from "./object.fixture.ts";
import type { TestStore } from "./object.fixture.ts";
import type { ListOptions } from "./object.ts";

type Page = { readonly items: string[]; readonly prefixes: string[]; readonly next: string | undefined };

/** What the contract says, in the most naive way. */
function model(keys: readonly Buffer[], options: Omit<ListOptions, "bucket">): Page {
  const { prefix = Buffer.alloc(0), delimiter, after: marker, limit } = options;
  const seen = new Map<string, { bytes: Buffer; isPrefix: boolean }>();
  for (const key of keys) {
    if (!key.subarray(0, prefix.length).equals(prefix)) continue;
    const at = delimiter === undefined || delimiter.length === 0 ? -1 : key.indexOf(delimiter, prefix.length);
    const bytes = at < 0 ? key : key.subarray(0, at + delimiter!.length);
    seen.set(`${at >= 0}${bytes.toString("hex")}`, { bytes, isPrefix: at >= 0 });
  }
  const entries = [...seen.values()]
    .filter(({ bytes }) => marker === undefined || Buffer.compare(bytes, marker) > 0)
    .sort((left, right) => Buffer.compare(left.bytes, right.bytes));
  const page = entries.slice(0, limit);
  const hex = (isPrefix: boolean): string[] =>
    page.filter((entry) => entry.isPrefix === isPrefix).map(({ bytes }) => bytes.toString("hex"));
  const next = limit > 0 && entries.length > limit ? page.at(-1)!.bytes.toString("hex") : undefined;
  return { items: hex(false), prefixes: hex(true), next };
}

async function listed(t: TestStore, options: ListOptions): Promise<Page> {
  const result = await t.store.list(options);
  return {
    items: result.objects.map(({ key }) => key.toString("hex")),
    prefixes: result.commonPrefixes.map((prefix) => prefix.toString("hex")),
    next: result.next?.toString("hex"),
  };
}

// Bytes that are awkward as separators, ends and neighbours.
const nastyBytes = fc.constantFrom(0x00, 0x01, 0x2f, 0x30, 0x61, 0x62, 0xfe, 0xff);
const bytes = (minLength: number, maxLength: number): fc.Arbitrary<Buffer> =>
  fc.array(nastyBytes, { minLength, maxLength }).map((list) => Buffer.from(list));
const optional = <T>(arbitrary: fc.Arbitrary<T>): fc.Arbitrary<T | undefined> =>
  fc.option(arbitrary, { nil: undefined });

let stores: TestStore[];
before(async () => {
  stores = await Promise.all(kvKinds.map((kind) => openTestStore(kind)));
});
after(() => Promise.all(stores.map((store) => store.close())));

let buckets = 0;
async function bucketWith(t: TestStore, keys: readonly Buffer[]): Promise<string> {
  const name = `list-${(buckets += 1)}-bucket`;
  await t.store.createBucket(name, { region: "r" });
  await Promise.all(keys.map((key) => t.store.put({ ...plainPut(name, "k", ""), key })));
  return name;
}

test("a page is what the model says, for nasty keys, prefixes, delimiters and markers", async () => {
  const query = fc.record({
    prefix: optional(bytes(0, 3)),
    delimiter: optional(bytes(1, 2)),
    after: optional(bytes(0, 4)),
    limit: fc.nat(6),
  });
  const cases = fc.tuple(
    fc.uniqueArray(bytes(1, 5), { maxLength: 40, selector: (key) => key.toString("hex") }),
    fc.array(query, { minLength: 1, maxLength: 12 }),
  );
  await fc.assert(
    fc.asyncProperty(cases, async ([keys, queries]) => {
      const [t] = stores;
      const bucket = await bucketWith(t!, keys);
      for (const { prefix, delimiter, after: marker, limit } of queries) {
        const options = {
          limit,
          ...(prefix && { prefix }),
          ...(delimiter && { delimiter }),
          ...(marker && { after: marker }),
        };
        assert.deepEqual(await listed(t!, { bucket, ...options }), model(keys, options));
      }
    }),
    { numRuns: 150 },
  );
});

test("pages one after another show everything once, also over many keys below common prefixes", async () => {
  for (const t of stores) {
    const keys: Buffer[] = [];
    for (let folder = 0; folder < 12; folder++) {
      for (let file = 0; file < 150; file++) keys.push(Buffer.from(`d/${folder}/${file}`));
      keys.push(Buffer.from(`d/${folder}`), Buffer.from(`d/${folder}0`));
    }
    const bucket = await bucketWith(t, keys);
    for (const delimiter of [undefined, Buffer.from("/")]) {
      const options = { prefix: Buffer.from("d/"), ...(delimiter && { delimiter }) };
      const whole = model(keys, { ...options, limit: 10_000 });
      const items: string[] = [];
      const prefixes: string[] = [];
      let next: Buffer | undefined;
      do {
        const page = await t.store.list({ bucket, ...options, limit: 7, ...(next && { after: next }) });
        items.push(...page.objects.map(({ key }) => key.toString("hex")));
        prefixes.push(...page.commonPrefixes.map((prefix) => prefix.toString("hex")));
        next = page.next;
      } while (next !== undefined);
      assert.deepEqual({ items, prefixes }, { items: whole.items, prefixes: whole.prefixes });
    }
  }
});

test("a bucket's listing does not reach into its neighbours", async () => {
  const [t] = stores;
  const names = await Promise.all([1, 2, 3].map(() => bucketWith(t!, [Buffer.from([0xff, 0xff]), Buffer.from([0])])));
  for (const bucket of names) assert.equal((await t!.store.list({ bucket, limit: 10 })).objects.length, 2);
});
