/** What a client may ask for: steps that fast-check makes, which model_run.ts sends. */
import fc from "fast-check";
import type { Condition, Mode } from "./model.ts";
import { pattern } from "./server.ts";

/** On both sides of what lies with its metadata. */
const bodies = [Buffer.alloc(0), Buffer.from("small"), Buffer.from("other"), pattern(20_000), pattern(30_000)];

const key = fc.constantFrom<string[]>("a", "a", "a", "a/b", "b");
/** Of a copy or a rename, which shall seldom be onto itself. */
const to = fc.constantFrom<string[]>("a", "a/b", "b");
/** The current version in half of all requests, else one by its id, also of those that are gone. */
const which = fc.nat(7);
const body = fc.constantFrom(...bodies);
const mode = fc.constantFrom<(Mode | undefined)[]>(undefined, undefined, undefined, "s3", "one", "two");
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
const kind = <K extends string>(name: K): fc.Arbitrary<K> => fc.constant(name);

/** How often locks are asked for where there are none. */
const locks = { retention: fc.option(retention, { nil: undefined, freq: 1 }), held };
const common = { key, condition, mode, note, tag: note, ...locks };

/** Of several keys, for nobody says in which order they are deleted. */
const several = fc.uniqueArray(fc.record({ key: to, which, condition: deleting }), {
  minLength: 1,
  selector: ({ key: name }) => name,
});

const written = fc.oneof(
  { weight: 14, arbitrary: fc.record({ kind: kind("put"), ...common, body }) },
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
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({ kind: kind("rename"), strict, key: to, from: key, condition, sourceCondition: condition }),
  },
  { weight: 3, arbitrary: fc.record({ kind: kind("append"), key, condition, body, isWrong: fc.nat(4) }) },
  { weight: 3, arbitrary: fc.record({ kind: kind("delete"), key, condition: deleting }) },
  { weight: 4, arbitrary: fc.record({ kind: kind("remove"), key, which, condition: deleting, bypass }) },
  { weight: 2, arbitrary: fc.record({ kind: kind("deleteMany"), entries: several, bypass }) },
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
      isHead: flag,
    }),
  },
  { weight: 2, arbitrary: fc.record({ kind: kind("tag"), strict, key, which, tag: note }) },
  { weight: 2, arbitrary: fc.record({ kind: kind("retain"), strict, key, which, retention, bypass }) },
  { weight: 1, arbitrary: fc.record({ kind: kind("hold"), strict, key, which, on: flag }) },
);
const uploaded = fc.oneof(
  { weight: 4, arbitrary: fc.record({ kind: kind("begin"), ...common }) },
  { weight: 8, arbitrary: fc.record({ kind: kind("part"), upload, number, body, isWhole: fc.nat(7), brings }) },
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
      fault: fc.constantFrom("none", "none", "none", "few", "etag", "order"),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: kind("abort"), upload }) },
);
const set = fc.oneof(
  { weight: 2, arbitrary: fc.record({ kind: kind("switch"), to: fc.constantFrom("enabled", "suspended") }) },
  { weight: 1, arbitrary: fc.record({ kind: kind("lock"), days: fc.constantFrom(undefined, 1, 2) }) },
  { weight: 1, arbitrary: fc.record({ kind: kind("encrypt"), by: fc.constantFrom("plain", "s3") }) },
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
  { weight: 2, arbitrary: fc.record({ kind: kind("wait"), hours: fc.integer({ min: 1, max: 8 }) }) },
  { weight: 2, arbitrary: fc.record({ kind: kind("midnight"), more: fc.nat(1) }) },
);
export const step = fc.oneof(
  { weight: 33, arbitrary: written },
  { weight: 13, arbitrary: said },
  { weight: 20, arbitrary: uploaded },
  { weight: 6, arbitrary: set },
);
export type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;
