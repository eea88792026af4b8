/**
 * S3's versioning written plainly: of each key a list of versions, the newest first. What is stored is judged by it, and
 * whether its rows are right by doctor.
 */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { hasReason } from "../core/errors.ts";
import { findingsOf } from "../jobs/jobs.fixture.ts";
import type { TestStore } from "./object.fixture.ts";
import { readAll } from "./object.fixture.ts";
import type { ListVersionsOptions, Versioning } from "./object.ts";

export type ModelBody = { readonly bytes: Buffer; readonly etag: string };
export type ModelVersion = { readonly id: string; readonly body: ModelBody | "marker" };

export function modelBody(bytes: Buffer): ModelBody {
  return { bytes, etag: createHash("md5").update(bytes).digest("hex") };
}

export class VersionsModel {
  versioning: Versioning = "unversioned";
  readonly #keys = new Map<string, ModelVersion[]>();

  of(key: string): readonly ModelVersion[] {
    return this.#keys.get(key) ?? [];
  }

  get keys(): string[] {
    const present = [...this.#keys].filter(([, versions]) => versions.length > 0).map(([key]) => key);
    return present.toSorted((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
  }

  /** The object that is current, if there is one. */
  current(key: string): ModelBody | undefined {
    const [newest] = this.of(key);
    return newest === undefined || newest.body === "marker" ? undefined : newest.body;
  }

  write(key: string, id: string | undefined, body: ModelVersion["body"]): void {
    const named = id ?? "null";
    assert.equal(named === "null", this.versioning !== "enabled", "only where versioning is enabled versions have ids");
    this.#keys.set(key, [{ id: named, body }, ...this.of(key).filter((version) => version.id !== named)]);
  }

  /** Without an id, which only a bucket without versions lets go. */
  remove(key: string, id = "null"): void {
    this.#keys.set(
      key,
      this.of(key).filter((version) => version.id !== id),
    );
  }

  /** What a listing of all prints. */
  listed({ prefix = "", delimiter }: { prefix?: string; delimiter?: string } = {}): string[] {
    const lines: string[] = [];
    for (const key of this.keys.filter((each) => each.startsWith(prefix))) {
      const at = delimiter === undefined ? -1 : key.indexOf(delimiter, prefix.length);
      if (at >= 0) {
        const line = `prefix ${key.slice(0, at + 1)}`;
        if (!lines.includes(line)) lines.push(line);
        continue;
      }
      for (const [index, { id, body }] of this.of(key).entries())
        lines.push(`${key} ${id} ${index === 0} ${body === "marker" ? "marker" : body.etag}`);
    }
    return lines;
  }
}

/** A whole listing, page after page. */
export async function listedVersions(t: TestStore, options: ListVersionsOptions): Promise<string[]> {
  const lines: string[] = [];
  for (let after: Pick<ListVersionsOptions, "afterKey" | "afterVersionId"> = {}; ;) {
    assert.ok(lines.length < 10_000, "the listing ends");
    const page = await t.store.listVersions({ ...options, ...after });
    assert.ok(page.versions.length + page.commonPrefixes.length <= options.limit);
    const versions = page.versions.map(({ key, versionId, isLatest, isMarker, etag }) => ({
      key,
      line: `${key.toString()} ${versionId} ${isLatest} ${isMarker ? "marker" : etag}`,
    }));
    const prefixes = page.commonPrefixes.map((key) => ({ key, line: `prefix ${key.toString()}` }));
    const both = [...versions, ...prefixes].toSorted((a, b) => Buffer.compare(a.key, b.key));
    lines.push(...both.map(({ line }) => line));
    if (page.next === undefined) return lines;
    const { key, versionId } = page.next;
    after = { afterKey: key, ...(versionId === undefined ? {} : { afterVersionId: versionId }) };
  }
}

/** Every version is there as the model says, by its id and as the current one; nothing else is listed or counted. */
export async function assertAgrees(t: TestStore, bucket: string, model: VersionsModel, limit: number): Promise<void> {
  assert.deepEqual(await listedVersions(t, { bucket, limit }), model.listed());
  const folders = { prefix: "a", delimiter: "/" };
  assert.deepEqual(
    await listedVersions(t, { bucket, limit, prefix: Buffer.from("a"), delimiter: Buffer.from("/") }),
    model.listed(folders),
  );
  const { objects } = await t.store.list({ bucket, limit: 1_000 });
  const present = model.keys.filter((key) => model.current(key) !== undefined);
  assert.deepEqual(
    objects.map(({ key }) => key.toString()),
    present,
  );
  for (const key of model.keys) await assertVersions(t, { bucket, key: Buffer.from(key) }, model.of(key));
  const all = model.keys.flatMap((key) => model.of(key));
  const bytes = all.reduce((sum, { body }) => sum + (body === "marker" ? 0 : body.bytes.length), 0);
  assert.deepEqual(await t.store.usage(bucket), {
    objects: present.length,
    versions: all.length - present.length,
    bytes,
  });
}

async function assertVersions(
  t: TestStore,
  address: { bucket: string; key: Buffer },
  versions: readonly ModelVersion[],
): Promise<void> {
  for (const [index, { id, body }] of versions.entries()) {
    const named = { ...address, versionId: id };
    if (body === "marker") {
      await assert.rejects(t.store.get(named), (error) => hasReason(error, "is_delete_marker"));
      if (index === 0) await assert.rejects(t.store.get(address), (error) => hasReason(error, "no_such_key"));
      continue;
    }
    assert.ok((await readAll(await t.store.get(named))).equals(body.bytes), `version ${id} has its bytes`);
    assert.equal((await t.store.head(named)).info.etag, body.etag);
    if (index === 0)
      assert.ok((await readAll(await t.store.get(address))).equals(body.bytes), "the newest one is current");
  }
}

export async function assertSound({ kv, node }: TestStore): Promise<void> {
  assert.deepEqual(await findingsOf({ kv, node }), []);
}
