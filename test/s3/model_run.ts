/** Steps of a client that does everything at once, each sent to a server through HTTP and put to the model (model.ts). */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { childrenOf, childText, escapeXml, readXml, type XmlElement } from "../../src/gateway/xml.ts";
import { dayMs, isClients, learn, noEtag } from "./model.ts";
import type { ClientKey, Condition, Lock, Mode, Model, Outcome, Retention, Upload, Version } from "./model.ts";
import type { Step } from "./model_steps.ts";
import { pattern, type RawAnswer, type TestServer } from "./server.ts";

const hourMs = 3_600_000;
/** The smallest part that others may follow. */
const wholePart = pattern(5 * 1024 * 1024);
const secrets = { one: Buffer.alloc(32, 1), two: Buffer.alloc(32, 2) };

type Kind = Step["kind"];
type StepOf<K extends Kind> = Step & { readonly kind: K };
type Handlers = { readonly [K in Kind]: (each: StepOf<K>) => Promise<void> };

type Sent = {
  readonly method: string;
  readonly path: string;
  readonly headers?: Record<string, string>;
  readonly body?: Buffer;
};

export class Run {
  readonly model: Model;
  readonly #server: TestServer;
  readonly #bucket: string;
  /** Requests that did what they were for, and those that were refused, of each kind. */
  readonly done = new Map<string, { did: number; refused: number }>();

  constructor(server: TestServer, bucket: string, model: Model) {
    this.#server = server;
    this.#bucket = bucket;
    this.model = model;
  }

  async begin(): Promise<void> {
    const headers: Record<string, string> = this.model.hasLock ? { "x-amz-bucket-object-lock-enabled": "true" } : {};
    assert.equal((await this.#server.raw({ method: "PUT", path: `/${this.#bucket}`, headers })).status, 200);
  }

  async step(each: Step): Promise<void> {
    const handle = this.#handlers[each.kind] as (step: Step) => Promise<void>;
    await handle(this.#aimed(each));
    await this.#assertListed();
  }

  readonly #handlers: Handlers = {
    put: async (each) => {
      const { model } = this;
      const lock = this.#lock(each);
      const headers = {
        ...this.#asked(each),
        ...this.#condition(each, this.model.current(each.key)),
        ...proof(each.body),
      };
      const outcome = model.put(each.key, each.body, { ...each, lock });
      await this.#send("put", { method: "PUT", path: this.#path(each.key), headers, body: each.body }, outcome);
    },
    append: async ({ key: name, condition: asked, body: added, isWrong }) => {
      const current = this.model.current(name);
      const offset = (current?.bytes.length ?? 0) + (isWrong === 0 ? 1 : 0);
      const headers = { ...this.#condition({ condition: asked }, current), "x-amz-write-offset-bytes": String(offset) };
      const outcome = this.model.append(name, added, { offset, condition: asked });
      await this.#send("append", { method: "PUT", path: this.#path(name), headers, body: added }, outcome);
    },
    copy: async (each) => {
      const { source, id, clientKey } = this.#source(each.from, each.which, each.brings);
      const lock = this.#lock(each);
      const directive = { "x-amz-metadata-directive": "REPLACE", "x-amz-tagging-directive": "REPLACE" };
      const headers = {
        ...this.#asked(each),
        ...this.#condition(each, this.model.current(each.key)),
        ...this.#copied(each.from, id, clientKey),
        ...renamed(this.#condition({ condition: each.sourceCondition }, source, true), "x-amz-copy-source-"),
        ...(each.replaces && directive),
      };
      const { note: own, tag } = each;
      const outcome = this.model.copy({
        ...each,
        to: each.key,
        id,
        sourceKey: clientKey,
        lock,
        replaced: each.replaces ? { note: own, tag } : undefined,
      });
      await this.#send("copy", { method: "PUT", path: this.#path(each.key), headers }, outcome);
    },
    rename: async (each) => {
      const { key: to, from } = each;
      const source = this.model.current(from);
      const headers = {
        "x-amz-rename-source": encodeURIComponent(from),
        ...this.#condition(each, this.model.current(to)),
        ...renamed(this.#condition({ condition: each.sourceCondition }, source, true), "x-amz-rename-source-"),
      };
      await this.#send(
        "rename",
        { method: "PUT", path: `${this.#path(to)}?renameObject`, headers },
        this.model.rename(from, to, each),
      );
    },
    delete: async (each) => {
      const headers = this.#condition(each, this.model.current(each.key));
      const outcome = this.model.delete(each.key, { id: undefined, condition: each.condition, bypass: false });
      await this.#send("delete", { method: "DELETE", path: this.#path(each.key), headers }, outcome);
    },
    remove: async (each) => {
      const id = this.#id(each.key, each.which, true);
      const version = this.model.of(each.key).find((known) => known.id === id);
      const headers: Record<string, string> = this.#condition(each, version?.isMarker === true ? undefined : version);
      if (each.bypass) headers["x-amz-bypass-governance-retention"] = "true";
      const outcome = this.model.delete(each.key, { ...each, id });
      await this.#send("remove", { method: "DELETE", path: this.#path(each.key, { id }), headers }, outcome);
    },
    deleteMany: async ({ entries, bypass: bypasses }) => {
      const asked = entries.map((each) => ({ ...each, id: this.#id(each.key, each.which) }));
      const texts = asked.map((each) => this.#deletedText(each));
      const { headers, body: bytes } = document(`<Delete>${texts.join("")}</Delete>`);
      const all = { ...headers, ...(bypasses && { "x-amz-bypass-governance-retention": "true" }) };
      const outcomes = asked.map((each) => this.model.delete(each.key, { ...each, bypass: bypasses }));
      const sent = { method: "POST", path: `/${this.#bucket}?delete`, headers: all, body: bytes };
      const answer = await this.#send("deleteMany", sent, { status: 200, headers: {} });
      const { children } = readXml(answer.body);
      assert.equal(children.length, outcomes.length);
      for (const [at, outcome] of outcomes.entries()) assertDeleted(children[at]!, asked[at]!, outcome);
    },
    get: async (each) => {
      const { source, id, clientKey } = this.#source(each.key, each.which, each.brings);
      const headers: Record<string, string> = { ...keyHeaders(clientKey), ...this.#condition(each, source, true) };
      if (each.start !== undefined) headers["range"] = `bytes=${each.start}-`;
      const outcome = this.model.get(each.key, { ...each, id, clientKey, from: each.start });
      const method = each.isHead ? "HEAD" : "GET";
      await this.#send(method.toLowerCase(), { method, path: this.#path(each.key, { id }), headers }, outcome);
    },
    tag: async ({ key: name, which: at, tag }) => {
      const id = this.#id(name, at);
      const text = `<Tagging><TagSet><Tag><Key>t</Key><Value>${tag}</Value></Tag></TagSet></Tagging>`;
      const sent = tag === undefined ? { method: "DELETE" } : { method: "PUT", ...document(text) };
      await this.#send(
        "tag",
        { ...sent, path: this.#path(name, { id, sub: "tagging" }) },
        this.model.setTag(name, id, tag),
      );
    },
    retain: async ({ key: name, which: at, retention: asked, bypass: bypasses }) => {
      const id = this.#id(name, at);
      const wanted = this.#retention(asked);
      const until = wanted && new Date(wanted.untilMs).toISOString();
      const inner = wanted ? `<Mode>${wanted.mode}</Mode><RetainUntilDate>${until}</RetainUntilDate>` : "";
      const { headers, body: bytes } = document(`<Retention>${inner}</Retention>`);
      const all = { ...headers, ...(bypasses && { "x-amz-bypass-governance-retention": "true" }) };
      const outcome = this.model.setRetention(name, id, { retention: wanted, bypass: bypasses });
      await this.#send(
        "retain",
        { method: "PUT", path: this.#path(name, { id, sub: "retention" }), headers: all, body: bytes },
        outcome,
      );
    },
    hold: async ({ key: name, which: at, on }) => {
      const id = this.#id(name, at);
      const sent = document(`<LegalHold><Status>${on ? "ON" : "OFF"}</Status></LegalHold>`);
      await this.#send(
        "hold",
        { method: "PUT", path: this.#path(name, { id, sub: "legal-hold" }), ...sent },
        this.model.setHold(name, id, on),
      );
    },
    begin: async (each) => {
      const outcome = this.model.createUpload(each.key, { ...each, lock: this.#lock(each) });
      await this.#send(
        "begin",
        { method: "POST", path: `${this.#path(each.key)}?uploads`, headers: this.#asked(each) },
        outcome,
      );
    },
    part: async ({ upload: at, number: partNumber, body: bytes, isWhole, brings: brought }) => {
      const to = this.#upload(at);
      if (to === undefined) return;
      const clientKey = this.#clientKey(to.mode, brought);
      const sent = isWhole === 0 ? wholePart : bytes;
      const outcome = this.model.uploadPart(to, { number: partNumber, bytes: sent, clientKey });
      await this.#send(
        "part",
        { method: "PUT", path: this.#partPath(to, partNumber), headers: keyHeaders(clientKey), body: sent },
        outcome,
      );
    },
    copyPart: async (each) => {
      const to = this.#upload(each.upload);
      if (to === undefined) return;
      const { source, id, clientKey: sourceKey } = this.#source(each.from, each.which, each.sourceBrings);
      const clientKey = this.#clientKey(to.mode, each.brings);
      const headers: Record<string, string> = { ...keyHeaders(clientKey), ...this.#copied(each.from, id, sourceKey) };
      const last = Math.max(each.first ?? 0, (source?.bytes.length ?? 1) - 1);
      if (each.first !== undefined) headers["x-amz-copy-source-range"] = `bytes=${each.first}-${last}`;
      const outcome = this.model.copyPart(to, { ...each, id, sourceKey, clientKey });
      await this.#send("copyPart", { method: "PUT", path: this.#partPath(to, each.number), headers }, outcome);
    },
    complete: async ({ upload: at, condition: asked, fault }) => {
      const ready = this.model.uploads.findLast(({ state, parts }) => state === "open" && parts.length > 0);
      const to = (at === 0 ? ready : undefined) ?? this.#upload(at);
      if (to === undefined) return;
      const named = this.#named(to, fault);
      const parts = named.map(
        (part) => `<Part><PartNumber>${part.number}</PartNumber><ETag>"${part.etag}"</ETag></Part>`,
      );
      const { headers, body: bytes } = document(`<CompleteMultipartUpload>${parts.join("")}</CompleteMultipartUpload>`);
      const all = { ...headers, ...this.#condition({ condition: asked }, this.model.current(to.key)) };
      const outcome = this.model.complete(to, { named, condition: asked });
      await this.#send(
        "complete",
        { method: "POST", path: `${this.#path(to.key)}?uploadId=${to.id}`, headers: all, body: bytes },
        outcome,
      );
    },
    abort: async ({ upload: at }) => {
      const to = this.#upload(at);
      if (to === undefined) return;
      await this.#send(
        "abort",
        { method: "DELETE", path: `${this.#path(to.key)}?uploadId=${to.id}` },
        this.model.abort(to),
      );
    },
    lock: async ({ days }) => {
      if (this.model.hasLock) this.model.defaultDays = days;
      const rule = `<Rule><DefaultRetention><Mode>GOVERNANCE</Mode><Days>${days}</Days></DefaultRetention></Rule>`;
      const inner = `<ObjectLockEnabled>Enabled</ObjectLockEnabled>${days === undefined ? "" : rule}`;
      const sent = document(`<ObjectLockConfiguration>${inner}</ObjectLockConfiguration>`);
      if (this.model.hasLock)
        await this.#send("lock", { method: "PUT", path: `/${this.#bucket}?object-lock`, ...sent }, done);
    },
    switch: async ({ to }) => {
      const state = to === "enabled" ? to : "suspended";
      const text = `<VersioningConfiguration><Status>${state === "enabled" ? "Enabled" : "Suspended"}</Status></VersioningConfiguration>`;
      await this.#send(
        "switch",
        { method: "PUT", path: `/${this.#bucket}?versioning`, ...document(text) },
        this.model.setVersioning(state),
      );
    },
    encrypt: async ({ by }) => {
      this.model.defaultMode = by === "s3" ? by : "plain";
      const rule = `<Rule><ApplyServerSideEncryptionByDefault><SSEAlgorithm>AES256</SSEAlgorithm></ApplyServerSideEncryptionByDefault></Rule>`;
      const text = `<ServerSideEncryptionConfiguration>${rule}</ServerSideEncryptionConfiguration>`;
      const sent = by === "s3" ? { method: "PUT", ...document(text) } : { method: "DELETE" };
      await this.#send(
        "encrypt",
        { ...sent, path: `/${this.#bucket}?encryption` },
        { status: by === "s3" ? 200 : 204, headers: {} },
      );
    },
    rules: async (each) => {
      const text = rulesText(each);
      this.model.rules = text === undefined ? undefined : each;
      const sent = text === undefined ? { method: "DELETE" } : { method: "PUT", ...document(text) };
      const status = text === undefined ? 204 : 200;
      await this.#send("rules", { ...sent, path: `/${this.#bucket}?lifecycle` }, { status, headers: {} });
    },
    wait: async ({ hours }) => void (this.model.clock.aheadMs += hours * hourMs),
    midnight: async ({ more }) => {
      const { clock } = this.model;
      const nowMs = clock.nowMs();
      clock.aheadMs += (Math.floor(nowMs / dayMs) + 1 + more) * dayMs - nowMs;
      await this.#server.expire();
      this.model.expire();
    },
  };

  // ---- What a request says ----

  #path(name: string, { id, sub }: { id?: string | undefined; sub?: string } = {}): string {
    const query = [sub, id && `versionId=${id}`].filter((part) => part !== undefined);
    return `/${this.#bucket}/${encodeURIComponent(name)}${query.length > 0 ? "?" : ""}${query.join("&")}`;
  }

  #partPath({ key: name, id }: Upload, partNumber: number): string {
    return `${this.#path(name)}?partNumber=${partNumber}&uploadId=${id}`;
  }

  #id(name: string, at: number): string | undefined;
  #id(name: string, at: number, isNamed: true): string;
  #id(name: string, at: number, isNamed = false): string | undefined {
    if (at > 3 && !isNamed) return undefined;
    const known = this.model.of(name).map(({ id }) => id!);
    const gone = this.model.goneOf(name);
    if (at !== 3 && known.length > 0) return known[at % known.length];
    return gone.length > 0 ? gone[known.length % gone.length] : "null";
  }

  /** Where an object is looked for and none is, some key that has one is taken, but for a few requests. */
  #aimed(each: Step): Step {
    if (!("strict" in each) || each.strict) return each;
    const name = "from" in each ? each.from : each.key;
    if (this.model.current(name) !== undefined) return each;
    const other = this.model.keys.find((known) => this.model.current(known) !== undefined) ?? name;
    return "from" in each ? { ...each, from: other } : { ...each, key: other };
  }

  #source(name: string, at: number, brought: string) {
    const id = this.#id(name, at);
    const found =
      id === undefined ? this.model.current(name) : this.model.of(name).find((version) => version.id === id);
    const source = found?.isMarker === true ? undefined : found;
    return { source, id, clientKey: this.#clientKey(source?.mode, brought) };
  }

  #clientKey(of: Mode | undefined, brought: string): ClientKey | undefined {
    if (brought === "none") return undefined;
    if (brought === "wrong") return of === "one" ? "two" : "one";
    return isClients(of) ? of : undefined;
  }

  #upload(at: number): Upload | undefined {
    const { uploads } = this.model;
    return uploads[uploads.length - 1 - at];
  }

  #retention(asked: { mode: string; hours: number } | undefined): Retention | undefined {
    if (asked === undefined) return undefined;
    const named = asked.mode === "COMPLIANCE" ? "COMPLIANCE" : "GOVERNANCE";
    return { mode: named, untilMs: this.model.clock.nowMs() + (asked.hours - 0.5) * hourMs };
  }

  /** Where nothing can be locked it is asked for rarely, for it would be refused. */
  #lock(each: {
    retention: { mode: string; hours: number } | undefined;
    held: boolean | undefined;
    note: string | undefined;
  }): Lock {
    if (!this.model.hasLock && each.note !== "x") return {};
    return { retention: this.#retention(each.retention), held: each.held };
  }

  #asked(each: StepOf<"put" | "copy" | "begin">): Record<string, string> {
    const { retention: kept, held: on } = this.#lock(each);
    const headers: Record<string, string> = isClients(each.mode) ? keyHeaders(each.mode) : {};
    if (each.mode === "s3") headers["x-amz-server-side-encryption"] = "AES256";
    if (each.note !== undefined) headers["x-amz-meta-note"] = each.note;
    if (each.tag !== undefined) headers["x-amz-tagging"] = `t=${each.tag}`;
    if (on !== undefined) headers["x-amz-object-lock-legal-hold"] = on ? "ON" : "OFF";
    if (kept === undefined) return headers;
    headers["x-amz-object-lock-mode"] = kept.mode;
    headers["x-amz-object-lock-retain-until-date"] = new Date(kept.untilMs).toISOString();
    return headers;
  }

  /** `isRead`: what must not match is the version's own ETag. */
  #condition(
    { condition: asked }: { condition: Condition },
    version: Version | undefined,
    isRead = false,
  ): Record<string, string> {
    const etag = `"${version?.etag ?? noEtag}"`;
    if (asked === "none") return {};
    if (asked === "absent") return { "if-none-match": isRead ? etag : "*" };
    return { "if-match": asked === "there" ? etag : `"${noEtag}"` };
  }

  #deletedText({ key: name, id, condition: asked }: { key: string; id: string | undefined; condition: Condition }) {
    const found = id === undefined ? this.model.current(name) : this.model.of(name).find((known) => known.id === id);
    const etag = this.#condition({ condition: asked }, found?.isMarker === true ? undefined : found)["if-match"];
    const version = id === undefined ? "" : `<VersionId>${id}</VersionId>`;
    return `<Object><Key>${name}</Key>${version}${etag === undefined ? "" : `<ETag>${etag}</ETag>`}</Object>`;
  }

  #copied(from: string, id: string | undefined, clientKey: ClientKey | undefined): Record<string, string> {
    const source = `${this.#bucket}/${encodeURIComponent(from)}${id === undefined ? "" : `?versionId=${id}`}`;
    return { "x-amz-copy-source": source, ...renamed(keyHeaders(clientKey), "x-amz-copy-source-", "x-amz-") };
  }

  #named(to: Upload, fault: string): { number: number; etag: string }[] {
    if (typeof to.state === "object" && fault === "none")
      return JSON.parse(to.state.named) as { number: number; etag: string }[];
    const named = to.parts.map((part) => ({ number: part.number, etag: part.etag! }));
    if (named.length === 0) return [{ number: 1, etag: noEtag }];
    if (fault === "few") return named.slice(0, 1);
    if (fault === "etag") return named.map((part) => ({ ...part, etag: noEtag }));
    return fault === "order" ? named.toReversed() : named;
  }

  // ---- What is answered ----

  async #send(what: string, sent: Sent, outcome: Outcome): Promise<RawAnswer> {
    const answer = await this.#server.raw(sent);
    const counts = this.done.get(what) ?? { did: 0, refused: 0 };
    this.done.set(what, counts);
    const shown = `${sent.method} ${sent.path} ${JSON.stringify(sent.headers)}: ${answer.status} ${sent.method === "GET" ? "" : answer.text}`;
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

  async #assertListed(): Promise<void> {
    const { model } = this;
    const root = readXml((await this.#server.raw({ method: "GET", path: `/${this.#bucket}?versions` })).body);
    const listed = root.children.filter(({ name }) => name === "Version" || name === "DeleteMarker");
    const expected = model.keys.flatMap((name) => model.of(name).map((version, at) => ({ name, version, at })));
    const shown = listed.map((each) => {
      const isMarker = each.name === "DeleteMarker";
      return [
        childText(each, "Key"),
        isMarker,
        childText(each, "IsLatest"),
        childText(each, "ETag"),
        childText(each, "Size"),
      ];
    });
    const wanted = expected.map(({ name, version: { isMarker, etag, bytes }, at }) => {
      const facts = isMarker ? [undefined, undefined] : [`"${etag}"`, String(bytes.length)];
      return [name, isMarker, String(at === 0), ...facts];
    });
    assert.deepEqual(shown, wanted);
    for (const [at, { version }] of expected.entries()) {
      const id = childText(listed[at]!, "VersionId");
      if (version.id === undefined) learn(version, { id });
      assert.equal(id, version.id);
    }
  }

  /** Every version is read once more, and what else there is listed. */
  async end(): Promise<void> {
    const { model } = this;
    for (const name of model.keys)
      for (const { id, mode: of, isMarker } of model.of(name)) {
        const clientKey = isClients(of) ? of : undefined;
        const outcome = model.get(name, { id, clientKey, condition: "none", from: undefined });
        await this.#send(
          "last",
          { method: "GET", path: this.#path(name, { id }), headers: keyHeaders(clientKey) },
          outcome,
        );
        assert.equal("refused" in outcome, isMarker);
      }
    const objects = readXml((await this.#server.raw({ method: "GET", path: `/${this.#bucket}?list-type=2` })).body);
    const present = model.keys.filter((name) => model.current(name) !== undefined);
    assert.deepEqual(
      childrenOf(objects, "Contents").map((each) => childText(each, "Key")),
      present,
    );
    const uploads = readXml((await this.#server.raw({ method: "GET", path: `/${this.#bucket}?uploads` })).body);
    const open = model.uploads.filter(({ state }) => state === "open");
    const ids = childrenOf(uploads, "Upload").map((each) => childText(each, "UploadId"));
    assert.deepEqual(new Set(ids), new Set(open.map(({ id }) => id)));
    assert.equal(ids.length, open.length);
    for (const each of open) await this.#assertParts(each);
  }

  async #assertParts({ key: name, id, parts }: Upload): Promise<void> {
    const { body: bytes } = await this.#server.raw({ method: "GET", path: `${this.#path(name)}?uploadId=${id}` });
    const shown = childrenOf(readXml(bytes), "Part").map((each) => [
      childText(each, "PartNumber"),
      childText(each, "ETag"),
      childText(each, "Size"),
    ]);
    assert.deepEqual(
      shown,
      parts.map((part) => [String(part.number), `"${part.etag}"`, String(part.bytes.length)]),
    );
  }
}

const statusOf: Readonly<Record<string, number>> = {
  AccessDenied: 403,
  EntityTooSmall: 400,
  InvalidArgument: 400,
  InvalidBucketState: 409,
  InvalidPart: 400,
  InvalidPartOrder: 400,
  InvalidRange: 416,
  InvalidRequest: 400,
  InvalidWriteOffset: 400,
  MethodNotAllowed: 405,
  NoSuchKey: 404,
  NoSuchUpload: 404,
  NoSuchVersion: 404,
  NotModified: 304,
  PreconditionFailed: 412,
};

const done: Outcome = { status: 200, headers: {} };

/** One key of an answer to DeleteObjects. */
function assertDeleted(
  element: XmlElement,
  { key: name, id }: { key: string; id: string | undefined },
  outcome: Outcome,
): void {
  assert.deepEqual([childText(element, "Key"), childText(element, "VersionId")], [name, id]);
  if ("refused" in outcome) return assert.ok(outcome.refused.includes(childText(element, "Code") ?? "none"));
  assert.equal(element.name, "Deleted");
  assert.equal(childText(element, "DeleteMarker"), outcome.headers["x-amz-delete-marker"]);
  const markerId = childText(element, "DeleteMarkerVersionId");
  if (outcome.made !== undefined) learn(outcome.made, { id: markerId });
  else if (outcome.headers["x-amz-delete-marker"] !== undefined) assert.equal(markerId, id);
}

/** What has no body says it by its status alone. */
function assertRefused({ status, text }: RawAnswer, refused: readonly string[], shown: string): void {
  const codes = refused.filter((code) => statusOf[code] === status);
  const code = text === "" ? codes[0] : /<Code>(\w+)</.exec(text)?.[1];
  assert.ok(code !== undefined && codes.includes(code), `${refused.join(" or ")} was expected of ${shown}`);
}

function toldBy({ headers, text }: RawAnswer): { id: string | undefined; etag: string | undefined } {
  const inBody = /<ETag>(?:&quot;|")([0-9a-f]+(?:-\d+)?)(?:&quot;|")/.exec(text)?.[1];
  const id = headers["x-amz-version-id"] ?? /<UploadId>([^<]+)</.exec(text)?.[1];
  return { id: typeof id === "string" ? id : undefined, etag: headers.etag?.slice(1, -1) ?? inBody };
}

const md5Of = (bytes: Buffer): string => createHash("md5").update(bytes).digest("base64");
const proof = (bytes: Buffer): Record<string, string> => ({ "content-md5": md5Of(bytes) });

function document(text: string): { headers: Record<string, string>; body: Buffer } {
  const bytes = Buffer.from(text);
  return { headers: proof(bytes), body: bytes };
}

function keyHeaders(clientKey: ClientKey | undefined): Record<string, string> {
  if (clientKey === undefined) return {};
  const prefix = "x-amz-server-side-encryption-customer-";
  const secret = secrets[clientKey];
  return {
    [`${prefix}algorithm`]: "AES256",
    [`${prefix}key`]: secret.toString("base64"),
    [`${prefix}key-md5`]: md5Of(secret),
  };
}

function renamed(headers: Record<string, string>, to: string, from = ""): Record<string, string> {
  return Object.fromEntries(Object.entries(headers).map(([name, value]) => [to + name.slice(from.length), value]));
}

/** Undefined where no rule says anything. */
function rulesText({ prefix, expires, noncurrent, markers, aborts }: StepOf<"rules">): string | undefined {
  const expired = "<Expiration><ExpiredObjectDeleteMarker>true</ExpiredObjectDeleteMarker></Expiration>";
  const wanted = [
    expires && "<Expiration><Days>1</Days></Expiration>",
    noncurrent && "<NoncurrentVersionExpiration><NoncurrentDays>1</NoncurrentDays></NoncurrentVersionExpiration>",
    markers && expired,
    aborts &&
      "<AbortIncompleteMultipartUpload><DaysAfterInitiation>1</DaysAfterInitiation></AbortIncompleteMultipartUpload>",
  ].filter((text) => text !== false);
  if (wanted.length === 0) return undefined;
  const filter = `<Filter><Prefix>${escapeXml(prefix)}</Prefix></Filter><Status>Enabled</Status>`;
  const rules = wanted.map((text, at) => `<Rule><ID>${at}</ID>${filter}${text}</Rule>`);
  return `<LifecycleConfiguration>${rules.join("")}</LifecycleConfiguration>`;
}
