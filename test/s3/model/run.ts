/** Steps of a client that does everything at once, each sent to a server through HTTP and put to the model (model.ts). */
import assert from "node:assert/strict";
import { childrenOf, childText, readXml } from "../../../src/gateway/xml.ts";
import { sendRaw, startTestServer, type RawAnswer, type TestServer, type TestServerOptions } from "../server.ts";
import { learn, type Model, type ModelClock } from "./model.ts";
import { get } from "./objects.ts";
import { heldBy, noQuota } from "./quotas.ts";
import { assertRefused, document, keyHeaders, toldBy } from "./requests.ts";
import { bucketHandlers } from "./run_bucket.ts";
import { objectHandlers } from "./run_objects.ts";
import { uploadHandlers } from "./run_uploads.ts";
import type { Step } from "./steps.ts";
import { isClients, type Outcome, type Upload } from "./types.ts";

export type Kind = Step["kind"];
export type StepOf<K extends Kind> = Step & { readonly kind: K };
export type Handlers<K extends Kind> = { readonly [Each in K]: (each: StepOf<Each>) => Promise<void> };

export type Sent = {
  readonly method: string;
  readonly path: string;
  readonly headers?: Record<string, string>;
  readonly body?: Buffer;
  readonly isAnonymous?: boolean;
};

export const succeeds: Outcome = { status: 200, headers: {} };

/** A server that has the keys which the steps name. */
export async function startModelServer(clock: ModelClock, options: TestServerOptions = {}): Promise<TestServer> {
  const server = await startTestServer({ hasKeyring: true, objectClock: clock, ...options });
  await server.keyring!.create("blue");
  return server;
}

export class Run {
  readonly model: Model;
  readonly server: TestServer;
  readonly bucket: string;
  /** Requests that did what they were for, and those that were refused, of each kind. */
  readonly done = new Map<string, { did: number; refused: number }>();
  readonly #handlers: Handlers<Kind>;

  constructor(server: TestServer, bucket: string, model: Model) {
    this.server = server;
    this.bucket = bucket;
    this.model = model;
    this.#handlers = { ...objectHandlers(this), ...uploadHandlers(this), ...bucketHandlers(this) };
  }

  /** A bucket in which access control lists count. */
  async begin(): Promise<void> {
    const path = `/${this.bucket}`;
    const lock: Record<string, string> = this.model.hasLock ? { "x-amz-bucket-object-lock-enabled": "true" } : {};
    const headers = { ...lock, "x-amz-object-ownership": "BucketOwnerPreferred" };
    assert.equal((await this.server.raw({ method: "PUT", path, headers })).status, 200);
    const { status } = await this.server.raw({ method: "DELETE", path: `${path}?publicAccessBlock` });
    assert.equal(status, 204);
  }

  async step(each: Step): Promise<void> {
    const handle = this.#handlers[each.kind] as (step: Step) => Promise<void>;
    await handle(this.#aimed(each));
    await this.#assertListed();
    await this.#assertHeld();
  }

  path(name: string, { id, sub }: { id?: string | undefined; sub?: string } = {}): string {
    const query = [sub, id && `versionId=${id}`].filter((part) => part !== undefined);
    return `/${this.bucket}/${encodeURIComponent(name)}${query.length > 0 ? "?" : ""}${query.join("&")}`;
  }

  id(name: string, at: number): string | undefined;
  id(name: string, at: number, isNamed: true): string;
  id(name: string, at: number, isNamed = false): string | undefined {
    if (at > 3 && !isNamed) return undefined;
    const known = this.model.of(name).map(({ id }) => id!);
    const gone = this.model.goneOf(name);
    if (at !== 3 && known.length > 0) return known[at % known.length];
    return gone.length > 0 ? gone[known.length % gone.length] : "null";
  }

  /** Where there is no object of that name some other key that has one, if any has. */
  aimed(name: string): string {
    if (this.model.current(name) !== undefined) return name;
    return this.model.keys.find((known) => this.model.current(known) !== undefined) ?? name;
  }

  /** Where an object is looked for and none is, some key that has one is taken, but for a few requests. */
  #aimed(each: Step): Step {
    if (!("strict" in each) || each.strict) return each;
    return "from" in each ? { ...each, from: this.aimed(each.from) } : { ...each, key: this.aimed(each.key) };
  }

  async send(what: string, { isAnonymous = false, ...sent }: Sent, outcome: Outcome): Promise<RawAnswer> {
    const answer = isAnonymous ? await sendRaw(this.server.port, sent) : await this.server.raw(sent);
    const counts = this.done.get(what) ?? { did: 0, refused: 0 };
    this.done.set(what, counts);
    const said = sent.method === "GET" ? "" : answer.text;
    const shown = `${sent.method} ${sent.path} ${JSON.stringify(sent.headers)}: ${answer.status} ${said}`;
    if ("refused" in outcome) {
      counts.refused += 1;
      assertRefused(answer, outcome.refused, shown);
      return answer;
    }
    counts.did += 1;
    assert.equal(answer.status, outcome.status, shown);
    for (const [name, value] of Object.entries(outcome.headers))
      assert.equal(answer.headers[name], value, `${name} of ${shown}`);
    if (outcome.body !== undefined && sent.method !== "HEAD")
      assert.ok(answer.body.equals(outcome.body), `the bytes of ${shown}`);
    if (outcome.made !== undefined) learn(outcome.made, toldBy(answer));
    return answer;
  }

  /** Sets a document of the bucket, or takes it away. */
  async set(what: string, text: string | undefined): Promise<void> {
    const sent = text === undefined ? { method: "DELETE" } : { method: "PUT", ...document(text) };
    const status = text === undefined ? 204 : 200;
    await this.send(what, { ...sent, path: `/${this.bucket}?${what}` }, { status, headers: {} });
  }

  async #assertListed(): Promise<void> {
    const { model } = this;
    const root = readXml((await this.server.raw({ method: "GET", path: `/${this.bucket}?versions` })).body);
    const listed = root.children.filter(({ name }) => name === "Version" || name === "DeleteMarker");
    const expected = model.keys.flatMap((name) => model.of(name).map((version, at) => ({ name, version, at })));
    const names = ["Key", "IsLatest", "ETag", "Size", "ChecksumAlgorithm", "ChecksumType"];
    const shown = listed.map((each) => [each.name === "DeleteMarker", ...names.map((name) => childText(each, name))]);
    const wanted = expected.map(({ name, version: { isMarker, etag, bytes, checksum }, at }) => {
      const sum = [checksum?.algorithm.toUpperCase(), checksum?.type];
      const facts = isMarker ? Array.from({ length: 4 }, () => undefined) : [`"${etag}"`, String(bytes.length), ...sum];
      return [isMarker, name, String(at === 0), ...facts];
    });
    assert.deepEqual(shown, wanted);
    for (const [at, { version }] of expected.entries()) {
      const id = childText(listed[at]!, "VersionId");
      if (version.id === undefined) learn(version, { id });
      assert.equal(id, version.id);
    }
  }

  /** What quotas are judged by, to the byte. */
  async #assertHeld(): Promise<void> {
    if (this.model.quota === noQuota) return;
    assert.deepEqual((await this.server.objects.quota(this.bucket)).held, heldBy(this.model));
  }

  /** Every version is read once more, and what else there is listed. */
  async end(): Promise<void> {
    const { model } = this;
    for (const name of model.keys)
      for (const { id, mode: of, isMarker } of model.of(name)) {
        const clientKey = isClients(of) ? of : undefined;
        const headers = { ...keyHeaders(clientKey), "x-amz-checksum-mode": "ENABLED" };
        const outcome = get(model, name, { id, clientKey, condition: "none" });
        await this.send("last", { method: "GET", path: this.path(name, { id }), headers }, outcome);
        assert.equal("refused" in outcome, isMarker);
      }
    const objects = readXml((await this.server.raw({ method: "GET", path: `/${this.bucket}?list-type=2` })).body);
    const present = model.keys.filter((name) => model.current(name) !== undefined);
    assert.deepEqual(
      childrenOf(objects, "Contents").map((each) => childText(each, "Key")),
      present,
    );
    const uploads = readXml((await this.server.raw({ method: "GET", path: `/${this.bucket}?uploads` })).body);
    const open = model.uploads.filter(({ state }) => state === "open");
    const ids = childrenOf(uploads, "Upload").map((each) => childText(each, "UploadId"));
    assert.deepEqual(new Set(ids), new Set(open.map(({ id }) => id)));
    assert.equal(ids.length, open.length);
    for (const each of open) await this.#assertParts(each);
  }

  async #assertParts({ key: name, id, parts }: Upload): Promise<void> {
    const { body: bytes } = await this.server.raw({ method: "GET", path: `${this.path(name)}?uploadId=${id}` });
    const names = ["PartNumber", "ETag", "Size"];
    const shown = childrenOf(readXml(bytes), "Part").map((each) => names.map((part) => childText(each, part)));
    assert.deepEqual(
      shown,
      parts.map((part) => [String(part.number), `"${part.etag}"`, String(part.bytes.length)]),
    );
  }
}
