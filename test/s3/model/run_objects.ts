/** Steps of objects: those that write them, read them and say something of them; and commits of several. */
import assert from "node:assert/strict";
import { readXml } from "../../../src/gateway/xml.ts";
import { commit, type Entry } from "./commits.ts";
import { learn, type Model } from "./model.ts";
import { append, copy, get, put, remove, rename } from "./objects.ts";
import {
  askedHeaders,
  assertDeleted,
  assertRefused,
  broughtKey,
  conditionHeaders,
  deletedText,
  document,
  keyHeaders,
  lockOf,
  proof,
  renamed,
  retentionOf,
  toldSum,
  toldSumHeaders,
  versionAt,
} from "./requests.ts";
import { succeeds, type Handlers, type Run } from "./run.ts";
import { setAcl, setHold, setRetention, setTag } from "./said.ts";
import type { AskedEntry } from "./steps.ts";
import type { ClientKey, Condition, Version } from "./types.ts";

type Writing = "put" | "append" | "copy" | "rename" | "delete" | "remove" | "deleteMany" | "commit";
type Saying = "get" | "tag" | "acl" | "retain" | "hold";

export function objectHandlers(run: Run): Handlers<Writing | Saying> {
  return { ...writing(run), ...deleting(run), ...saying(run) };
}

const bypassing = { "x-amz-bypass-governance-retention": "true" };

export function copiedHeaders(
  bucket: string,
  { from, id, sourceKey }: { from: string; id: string | undefined; sourceKey: ClientKey | undefined },
): Record<string, string> {
  const source = `${bucket}/${encodeURIComponent(from)}${id === undefined ? "" : `?versionId=${id}`}`;
  return { "x-amz-copy-source": source, ...renamed(keyHeaders(sourceKey), "x-amz-copy-source-", "x-amz-") };
}

function writing(run: Run): Handlers<"put" | "append" | "copy" | "rename"> {
  const { model } = run;
  return {
    put: async (each) => {
      const { key, body } = each;
      const sum = toldSum(each.sum, body);
      const said = { ...askedHeaders(model, each), ...proof(body), ...toldSumHeaders(sum) };
      const headers = { ...said, ...conditionHeaders(each.condition, model.current(key)) };
      const outcome = put(model, key, body, { ...each, lock: lockOf(model, each), sum });
      await run.send("put", { method: "PUT", path: run.path(key), headers, body }, outcome);
    },
    append: async ({ key, condition, body, isWrong, sum: asked }) => {
      const current = model.current(key);
      const offset = (current?.bytes.length ?? 0) + (isWrong === 0 ? 1 : 0);
      const sum = toldSum(asked, body);
      const said = { ...conditionHeaders(condition, current), ...toldSumHeaders(sum) };
      const headers = { ...said, "x-amz-write-offset-bytes": String(offset) };
      const outcome = append(model, key, body, { offset, condition, sum });
      await run.send("append", { method: "PUT", path: run.path(key), headers, body }, outcome);
    },
    copy: async (each) => {
      const { key: to, from, note, tag, algorithm } = each;
      const id = run.id(from, each.which);
      const source = versionAt(model, from, id);
      const sourceKey = broughtKey(source?.mode, each.brings);
      const directive = { "x-amz-metadata-directive": "REPLACE", "x-amz-tagging-directive": "REPLACE" };
      const headers = {
        ...askedHeaders(model, each),
        ...conditionHeaders(each.condition, model.current(to)),
        ...copiedHeaders(run.bucket, { from, id, sourceKey }),
        ...renamed(conditionHeaders(each.sourceCondition, source, true), "x-amz-copy-source-"),
        ...(each.replaces && directive),
        ...(algorithm !== undefined && { "x-amz-checksum-algorithm": algorithm.toUpperCase() }),
      };
      const replaced = each.replaces ? { note, tag } : undefined;
      const asked = { ...each, to, id, sourceKey, lock: lockOf(model, each), replaced };
      await run.send("copy", { method: "PUT", path: run.path(to), headers }, copy(model, asked));
    },
    rename: async (each) => {
      const { key: to, from } = each;
      const headers = {
        "x-amz-rename-source": encodeURIComponent(from),
        ...conditionHeaders(each.condition, model.current(to)),
        ...renamed(conditionHeaders(each.sourceCondition, model.current(from), true), "x-amz-rename-source-"),
      };
      const outcome = rename(model, from, to, each);
      await run.send("rename", { method: "PUT", path: `${run.path(to)}?renameObject`, headers }, outcome);
    },
  };
}

function deleting(run: Run): Handlers<"delete" | "remove" | "deleteMany" | "commit"> {
  const { model } = run;
  return {
    delete: async ({ key, condition }) => {
      const headers = conditionHeaders(condition, model.current(key));
      const outcome = remove(model, key, { id: undefined, condition, bypass: false });
      await run.send("delete", { method: "DELETE", path: run.path(key), headers }, outcome);
    },
    remove: async ({ key, which, condition, bypass }) => {
      const id = run.id(key, which, true);
      const said = conditionHeaders(condition, versionAt(model, key, id));
      const headers = { ...said, ...(bypass && bypassing) };
      const outcome = remove(model, key, { id, condition, bypass });
      await run.send("remove", { method: "DELETE", path: run.path(key, { id }), headers }, outcome);
    },
    deleteMany: async ({ entries, bypass }) => {
      const asked = entries.map((each) => ({ ...each, id: run.id(each.key, each.which) }));
      const texts = asked.map((each) => deletedText(model, each));
      const { headers, body } = document(`<Delete>${texts.join("")}</Delete>`);
      const outcomes = asked.map((each) => remove(model, each.key, { ...each, bypass }));
      const all = { ...headers, ...(bypass && bypassing) };
      const sent = { method: "POST", path: `/${run.bucket}?delete`, headers: all, body };
      const { children } = readXml((await run.send("deleteMany", sent, succeeds)).body);
      assert.equal(children.length, outcomes.length);
      for (const [at, outcome] of outcomes.entries()) assertDeleted(children[at]!, asked[at]!, outcome);
    },
    commit: (each) => sendCommit(run, each.entries),
  };
}

type Shown = { readonly key: string; readonly etag?: string; readonly versionId?: string };

async function sendCommit(run: Run, wanted: readonly AskedEntry[]): Promise<void> {
  const { model } = run;
  const entries = wanted.map((each) => entryOf(run, each));
  const body = Buffer.from(JSON.stringify({ entries: entries.map((entry) => spelt(run, entry)) }));
  const outcome = commit(model, entries);
  const sent = { method: "POST", path: `/${run.bucket}?holdfast-commit=`, body };
  const answer = await run.send("commit", sent, "refused" in outcome ? outcome : succeeds);
  if ("refused" in outcome) return assertRefused(answer, outcome.refused, body.toString());
  const shown = (JSON.parse(answer.text) as { entries: Shown[] }).entries;
  assert.deepEqual(
    shown.map(({ key }) => key),
    entries.map(({ key }) => key),
  );
  for (const [at, made] of outcome.made.entries()) {
    const { versionId: id, etag } = shown[at]!;
    if (made !== undefined) learn(made, { id, etag });
  }
}

function entryOf(run: Run, { does, key, which, condition, sourceCondition, ...each }: AskedEntry): Entry {
  const from = each.strict ? each.from : run.aimed(each.from);
  const id = run.id(does === "from" ? from : key, which);
  switch (does) {
    case "put":
      return { ...each, does, key, condition, bytes: each.body };
    case "from":
      return { does, key, condition, from, id, sourceCondition };
    // There are no words for these: to move what is not as said, to delete where nothing is, to check nothing.
    case "rename":
      return { does, key, condition, from, sourceCondition: sourceCondition === "absent" ? "none" : sourceCondition };
    case "delete":
      return { does, key, condition: condition === "absent" ? "none" : condition, id };
    default:
      return { does: "check", key, condition: condition === "none" ? "absent" : condition };
  }
}

/** As a commit's document has it. */
function spelt(run: Run, entry: Entry): object {
  const { model } = run;
  const { key } = entry;
  const id = "id" in entry ? entry.id : undefined;
  const named = entry.does === "delete" ? versionAt(model, key, id) : model.current(key);
  const { ifMatch, ifNoneMatch } = conditionFields(entry.condition, named);
  const versioned = id === undefined ? {} : { versionId: id };
  switch (entry.does) {
    case "put":
      return { put: key, base64: entry.bytes.toString("base64"), headers: describing(entry), ifMatch, ifNoneMatch };
    case "from": {
      const source = conditionFields(entry.sourceCondition, versionAt(model, entry.from, id), true);
      return { put: key, from: { key: entry.from, ...versioned, ...source }, ifMatch, ifNoneMatch };
    }
    case "rename": {
      const source = conditionFields(entry.sourceCondition, model.current(entry.from), true);
      return { rename: entry.from, to: key, ...source, toIfMatch: ifMatch, toIfNoneMatch: ifNoneMatch };
    }
    case "delete":
      return { delete: key, ...versioned, ifMatch };
    case "check":
      return { check: key, ifMatch, ifNoneMatch };
  }
}

type Fields = { readonly ifMatch?: string | undefined; readonly ifNoneMatch?: string | undefined };

function conditionFields(asked: Condition, version: Version | undefined, isRead = false): Fields {
  const headers = conditionHeaders(asked, version, isRead);
  return { ifMatch: headers["if-match"], ifNoneMatch: headers["if-none-match"] };
}

function describing({ note, tag }: { note?: string | undefined; tag?: string | undefined }): object {
  return {
    ...(note !== undefined && { "x-amz-meta-note": note }),
    ...(tag !== undefined && { "x-amz-tagging": `t=${tag}` }),
  };
}

/** A key that everybody may read. */
const publicKey = (model: Model): string | undefined => model.keys.find((key) => model.current(key)?.isPublic);

function saying(run: Run): Handlers<Saying> {
  const { model } = run;
  return {
    get: async ({ which, brings, condition, start, part: wanted, isHead, isAnonymous, strict, ...each }) => {
      const key = (isAnonymous && !strict && publicKey(model)) || each.key;
      const id = run.id(key, which);
      const version = versionAt(model, key, id);
      const clientKey = broughtKey(version?.mode, brings);
      // Which parts an append leaves depends on what else refers to its bytes.
      const part = start === undefined && version?.parts !== "unknown" ? wanted : undefined;
      const headers: Record<string, string> = { ...keyHeaders(clientKey), "x-amz-checksum-mode": "ENABLED" };
      if (start !== undefined) headers["range"] = `bytes=${start}-`;
      const sub = part === undefined ? {} : { sub: `partNumber=${part}` };
      const outcome = get(model, key, { id, clientKey, condition, from: start, part, isAnonymous });
      const method = isHead ? "HEAD" : "GET";
      const all = { ...headers, ...conditionHeaders(condition, version, true) };
      const what = isAnonymous ? "anonymous" : part === undefined ? method.toLowerCase() : "getPart";
      await run.send(what, { method, path: run.path(key, { id, ...sub }), headers: all, isAnonymous }, outcome);
    },
    tag: async ({ key, which, tag }) => {
      const id = run.id(key, which);
      const text = `<Tagging><TagSet><Tag><Key>t</Key><Value>${tag}</Value></Tag></TagSet></Tagging>`;
      const sent = tag === undefined ? { method: "DELETE" } : { method: "PUT", ...document(text) };
      await run.send("tag", { ...sent, path: run.path(key, { id, sub: "tagging" }) }, setTag(model, key, id, tag));
    },
    acl: async ({ key, which, isPublic }) => {
      const id = run.id(key, which);
      const headers = { "x-amz-acl": isPublic ? "public-read" : "private" };
      const sent = { method: "PUT", path: run.path(key, { id, sub: "acl" }), headers };
      await run.send("acl", sent, setAcl(model, key, id, isPublic));
    },
    retain: async ({ key, which, retention: asked, bypass }) => {
      const id = run.id(key, which);
      const retention = retentionOf(model, asked);
      const until = retention && new Date(retention.untilMs).toISOString();
      const inner = retention ? `<Mode>${retention.mode}</Mode><RetainUntilDate>${until}</RetainUntilDate>` : "";
      const { headers, body } = document(`<Retention>${inner}</Retention>`);
      const path = run.path(key, { id, sub: "retention" });
      const sent = { method: "PUT", path, headers: { ...headers, ...(bypass && bypassing) }, body };
      await run.send("retain", sent, setRetention(model, key, { id, retention, bypass }));
    },
    hold: async ({ key, which, on }) => {
      const id = run.id(key, which);
      const sent = document(`<LegalHold><Status>${on ? "ON" : "OFF"}</Status></LegalHold>`);
      const path = run.path(key, { id, sub: "legal-hold" });
      await run.send("hold", { method: "PUT", path, ...sent }, setHold(model, key, id, on));
    },
  };
}
