/** Any sequence of calls leaves what S3's rules say, whichever of a key's rows a version stands in. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { hasReason } from "../core/errors.ts";
import { bodyOf, noMetadata, noVerifier, openTestStore, patternBytes, plainPut } from "./object.fixture.ts";
import type { TestStore } from "./object.fixture.ts";
import { assertAgrees, assertSound, modelBody, VersionsModel, type ModelBody } from "./versions.fixture.ts";

const bucket = "versions";
/** Few, so that a key gets a history. */
const keys = ["a", "a", "a", "a/b", "a\0"];
const bodies = [
  Buffer.alloc(0),
  Buffer.from("small"),
  Buffer.from("other"),
  patternBytes(20_000, 1),
  patternBytes(30_000, 2),
].map(modelBody);

const key = fc.constantFrom(...keys);
const body = fc.constantFrom(...bodies);
/** Which of a key's versions, counted round. */
const which = fc.nat(5);
const condition = fc.constantFrom("none", "none", "if-match", "if-none-match");

const step = fc.oneof(
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("switch"), to: fc.constantFrom("enabled", "suspended") }) },
  { weight: 5, arbitrary: fc.record({ kind: fc.constant("put"), key, body, condition }) },
  { weight: 4, arbitrary: fc.record({ kind: fc.constant("delete"), key, condition }) },
  { weight: 4, arbitrary: fc.record({ kind: fc.constant("deleteVersion"), key, which, condition }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant("copy"), key, from: key, which }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("complete"), key, body }) },
);
type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;
type StepOf<Kind extends string> = Step & { readonly kind: Kind };

const isStep = <Kind extends string>(each: Step, kind: Kind): each is StepOf<Kind> => each.kind === kind;

class Run {
  readonly #t: TestStore;
  readonly #model = new VersionsModel();

  constructor(t: TestStore) {
    this.#t = t;
  }

  async step(each: Step, limit: number): Promise<void> {
    if (isStep(each, "switch")) await this.#switch(each);
    else if (isStep(each, "put")) await this.#put(each);
    else if (isStep(each, "delete")) await this.#delete(each);
    else if (isStep(each, "deleteVersion")) await this.#deleteVersion(each);
    else if (isStep(each, "copy")) await this.#copy(each);
    else if (isStep(each, "complete")) await this.#complete(each);
    await assertAgrees(this.#t, bucket, this.#model, limit);
  }

  async #switch({ to }: StepOf<"switch">): Promise<void> {
    this.#model.versioning = to;
    await this.#t.store.setVersioning(bucket, to);
  }

  /** What the current object makes of a condition. */
  #conditions(name: string, condition: string, wanted: ModelBody): { conditions: object; holds: boolean } {
    const current = this.#model.current(name);
    if (condition === "if-none-match") return { conditions: { ifNoneMatch: "*" }, holds: current === undefined };
    if (condition === "if-match")
      return { conditions: { ifMatch: [wanted.etag] }, holds: current?.etag === wanted.etag };
    return { conditions: {}, holds: true };
  }

  async #put({ key: name, body: wanted, condition: asked }: StepOf<"put">): Promise<void> {
    const { conditions, holds } = this.#conditions(name, asked, wanted);
    const put = this.#t.store.put({ ...plainPut(bucket, name, wanted.bytes), conditions });
    if (!holds) return refused(put);
    this.#model.write(name, (await put).versionId, wanted);
  }

  async #delete({ key: name, condition: asked }: StepOf<"delete">): Promise<void> {
    const { conditions, holds } = this.#conditions(name, asked === "if-none-match" ? "none" : asked, bodies[1]!);
    const deleted = this.#t.store.delete({ bucket, key: Buffer.from(name), conditions });
    if (!holds) return refused(deleted);
    const { versionId, existed, isMarker } = await deleted;
    assert.equal(existed, this.#model.current(name) !== undefined);
    assert.equal(isMarker, this.#model.versioning !== "unversioned");
    if (isMarker) this.#model.write(name, versionId, "marker");
    else this.#model.remove(name);
  }

  async #deleteVersion({ key: name, which: index, condition: asked }: StepOf<"deleteVersion">): Promise<void> {
    const versions = this.#model.of(name);
    const version = versions[index % Math.max(1, versions.length)];
    const wanted = bodies[2]!;
    const conditions = asked === "if-match" ? { ifMatch: [wanted.etag] } : {};
    const found = version === undefined || version.body === "marker" ? undefined : version.body.etag;
    const holds = asked !== "if-match" || found === wanted.etag;
    const versionId = version?.id ?? "null";
    const deleted = this.#t.store.delete({ bucket, key: Buffer.from(name), versionId, conditions });
    if (!holds) return refused(deleted);
    const result = await deleted;
    assert.deepEqual(result, {
      existed: version !== undefined,
      versionId,
      isMarker: version?.body === "marker",
    });
    this.#model.remove(name, versionId);
  }

  async #copy({ key: name, from, which: index }: StepOf<"copy">): Promise<void> {
    const versions = this.#model.of(from);
    const version = index === 5 ? undefined : versions[index % Math.max(1, versions.length)];
    const source = { bucket, key: Buffer.from(from), ...(version && { versionId: version.id }) };
    const copied = this.#t.store.copy({ source, bucket, key: Buffer.from(name), metadata: noMetadata });
    const copy = version === undefined ? this.#model.current(from) : version.body;
    if (copy === undefined || copy === "marker") return refused(copied);
    const { versionId, sourceVersionId } = await copied;
    const sourceId = this.#model.versioning === "unversioned" ? undefined : (version ?? versions[0])?.id;
    assert.equal(sourceVersionId, sourceId);
    this.#model.write(name, versionId, copy);
  }

  async #complete({ key: name, body: { bytes } }: StepOf<"complete">): Promise<void> {
    const { store } = this.#t;
    const upload = await store.createUpload({ bucket, key: Buffer.from(name), metadata: noMetadata });
    const ref = { bucket, key: Buffer.from(name), uploadId: upload.id };
    const part = await store.uploadPart({ ...ref, partNumber: 1, body: bodyOf(bytes), verifier: noVerifier });
    const request = { ...ref, parts: [{ partNumber: 1, etag: part.etag }] };
    const made = await store.completeUpload(request);
    assert.deepEqual(await store.completeUpload(request), made, "sent again it names the same version");
    this.#model.write(name, made.versionId, { bytes, etag: made.etag });
  }
}

async function refused(call: Promise<unknown>): Promise<void> {
  await assert.rejects(call, (error) =>
    hasReason(error, "precondition_failed", "no_such_key", "no_such_version", "invalid_request"),
  );
}

void test("any sequence of writes, deletes and switches leaves the versions that S3's rules say", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(step, { minLength: 5, maxLength: 30, size: "max" }),
      fc.integer({ min: 1, max: 4 }),
      async (steps, limit) => {
        const t = await openTestStore("memory");
        try {
          await t.store.createBucket(bucket, { region: "here" });
          const run = new Run(t);
          for (const each of steps) await run.step(each, limit);
          await assertSound(t);
        } finally {
          await t.close();
        }
      },
    ),
    { numRuns: 120 },
  );
});
