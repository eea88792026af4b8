/** What a client may ask for: steps that fast-check makes, which run.ts sends. */
import fc from "fast-check";
import { pattern } from "../server.ts";
import { algorithms, type Choice } from "./checksums.ts";
import type { Condition, Mode } from "./types.ts";

/** On both sides of what lies with its metadata. */
const bodies = [Buffer.alloc(0), Buffer.from("small"), Buffer.from("other"), pattern(20_000), pattern(30_000)];

const key = fc.constantFrom<string[]>("a", "a", "a", "a/b", "b");
/** Of a copy or a rename, which shall seldom be onto itself. */
const to = fc.constantFrom<string[]>("a", "a/b", "b");
/** The current version in half of all requests, else one by its id, also of those that are gone. */
const which = fc.nat(7);
const body = fc.constantFrom(...bodies);
const unsaid = Array.from({ length: 4 }, () => undefined);
const mode = fc.constantFrom<(Mode | undefined)[]>(...unsaid, "s3", "default", "blue", "one", "two");
/** Most requests shall do something. */
const none = Array.from({ length: 8 }, () => "none" as const);
const condition = fc.constantFrom<Condition[]>(...none, "there", "there", "other", "absent");
const deleting = fc.constantFrom<Condition[]>(...none, "there", "there", "other");
/** Which of a client's keys comes with a request for what is there: mostly the right one. */
const brings = fc.constantFrom(...Array.from({ length: 10 }, () => "right"), "wrong", "none");
const note = fc.option(fc.constantFrom("x", "y"), { freq: 1, nil: undefined });
const start = fc.option(fc.constantFrom(0, 3, 25_000), { freq: 1, nil: undefined });
const retention = fc.option(
  fc.record({ mode: fc.constantFrom("GOVERNANCE", "COMPLIANCE"), hours: fc.integer({ min: 0, max: 40 }) }),
  { freq: 3, nil: undefined },
);
const held = fc.constantFrom(undefined, undefined, undefined, true, false);
const number = fc.integer({ min: 1, max: 3 });
const upload = fc.constantFrom(0, 0, 0, 1, 2);
const bypass = fc.boolean();
const flag = fc.boolean();
/** Whether an object is looked for where there is none; else some other key that has one is taken. */
const strict = fc.nat(7).map((at) => at === 0);
/** What a client says of its bytes: mostly nothing, rarely something wrong. */
const algorithm = fc.constantFrom(...algorithms);
const sum = fc.option(fc.record({ algorithm, isWrong: fc.nat(7).map((at) => at === 0) }), { freq: 1, nil: undefined });
/** Not every algorithm can be of either type. */
const choice = fc.constantFrom<(Choice | undefined)[]>(
  ...Array.from({ length: 8 }, () => undefined),
  ...algorithms.flatMap((each) => [
    { algorithm: each, type: "COMPOSITE" as const },
    { algorithm: each, type: "FULL_OBJECT" as const },
  ]),
);
const isPublic = fc.constantFrom(undefined, undefined, undefined, true);
const isAnonymous = fc.nat(3).map((at) => at === 0);
const kind = <K extends string>(name: K): fc.Arbitrary<K> => fc.constant(name);

/** How often locks are asked for where there are none. */
const locks = { retention: fc.option(retention, { nil: undefined, freq: 1 }), held };
const common = { key, condition, mode, note, tag: note, isPublic, ...locks };

/** Of several keys, for nobody says in which order they are deleted. */
const several = fc.uniqueArray(fc.record({ key: to, which, condition: deleting }), {
  minLength: 1,
  selector: ({ key: name }) => name,
});

/** Several changes at once. What an entry has no use for is left. */
const entry = fc.record({
  does: fc.constantFrom("put", "put", "from", "from", "rename", "delete", "check"),
  key: to,
  from: key,
  strict,
  which: fc.nat(11),
  condition,
  sourceCondition: condition,
  body: fc.constantFrom(...bodies.slice(0, 3)),
  note,
  tag: note,
});
export type AskedEntry = typeof entry extends fc.Arbitrary<infer T> ? T : never;

const written = fc.oneof(
  { weight: 14, arbitrary: fc.record({ kind: kind("put"), ...common, body, sum }) },
  {
    weight: 7,
    arbitrary: fc.record({
      kind: kind("copy"),
      strict,
      ...common,
      key: to,
      from: key,
      which,
      brings,
      sourceCondition: condition,
      replaces: flag,
      algorithm: fc.option(algorithm, { freq: 1, nil: undefined }),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({ kind: kind("rename"), strict, key: to, from: key, condition, sourceCondition: condition }),
  },
  { weight: 3, arbitrary: fc.record({ kind: kind("append"), key, condition, body, sum, isWrong: fc.nat(4) }) },
  { weight: 3, arbitrary: fc.record({ kind: kind("delete"), key, condition: deleting }) },
  { weight: 4, arbitrary: fc.record({ kind: kind("remove"), key, which, condition: deleting, bypass }) },
  { weight: 2, arbitrary: fc.record({ kind: kind("deleteMany"), entries: several, bypass }) },
  {
    weight: 5,
    arbitrary: fc.record({
      kind: kind("commit"),
      entries: fc.uniqueArray(entry, { minLength: 1, maxLength: 3, selector: ({ key: name }) => name }),
    }),
  },
);
const said = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({
      kind: kind("get"),
      strict,
      key,
      which,
      brings,
      condition,
      start,
      part: fc.option(number, { freq: 1, nil: undefined }),
      isHead: flag,
      isAnonymous,
    }),
  },
  { weight: 2, arbitrary: fc.record({ kind: kind("tag"), strict, key, which, tag: note }) },
  { weight: 1, arbitrary: fc.record({ kind: kind("acl"), strict, key, which, isPublic: flag }) },
  { weight: 2, arbitrary: fc.record({ kind: kind("retain"), strict, key, which, retention, bypass }) },
  { weight: 1, arbitrary: fc.record({ kind: kind("hold"), strict, key, which, on: flag }) },
);
const uploaded = fc.oneof(
  { weight: 4, arbitrary: fc.record({ kind: kind("begin"), ...common, choice }) },
  {
    weight: 8,
    arbitrary: fc.record({
      kind: kind("part"),
      upload,
      number,
      body,
      isWhole: fc.nat(2),
      brings,
      sum,
      isUsual: fc.nat(7).map((at) => at > 0),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      kind: kind("copyPart"),
      strict,
      upload,
      number,
      from: key,
      which,
      first: start,
      brings,
      sourceBrings: brings,
    }),
  },
  {
    weight: 5,
    arbitrary: fc.record({
      kind: kind("complete"),
      upload,
      condition,
      fault: fc.constantFrom(...none, ...none, "few", "small", "etag", "order", "unsummed", "sum"),
      brings,
      says: fc.constantFrom("nothing", "nothing", "nothing", "nothing", "right", "right", "right", "wrong"),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: kind("abort"), upload }) },
);
const set = fc.oneof(
  { weight: 2, arbitrary: fc.record({ kind: kind("switch"), to: fc.constantFrom("enabled", "suspended") }) },
  { weight: 1, arbitrary: fc.record({ kind: kind("lock"), days: fc.constantFrom(undefined, 1, 2) }) },
  { weight: 1, arbitrary: fc.record({ kind: kind("encrypt"), by: fc.constantFrom("plain", "s3", "default") }) },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: kind("rules"),
      prefix: fc.constantFrom("", "a", "b"),
      expires: flag,
      noncurrent: flag,
      markers: flag,
      aborts: flag,
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: kind("quota"),
      bytesMax: fc.constantFrom(undefined, undefined, 40_000, 90_000),
      objectsMax: fc.constantFrom(undefined, undefined, 2, 5),
    }),
  },
  { weight: 2, arbitrary: fc.record({ kind: kind("wait"), hours: fc.integer({ min: 1, max: 8 }) }) },
  { weight: 2, arbitrary: fc.record({ kind: kind("midnight"), more: fc.nat(1) }) },
);
export const step = fc.oneof(
  { weight: 38, arbitrary: written },
  { weight: 13, arbitrary: said },
  { weight: 20, arbitrary: uploaded },
  { weight: 8, arbitrary: set },
);
export type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;
