/**
 * The token of temporary credentials: whose they are, their secret, until when and within which policies, sealed with a key
 * that only the store has (AES-256-GCM). Who holds a token can neither read nor change it, and nothing is stored for it.
 *
 *   token = base64url( version u8 = 1 ‖ nonce (12) ‖ sealed record ‖ tag (16) ); the version is authenticated too
 *
 * The sealing key lies in one row, drawn when it is first needed and never changed. As secrets of access keys do, it lies there as
 * it is: whoever reads the metadata store could make tokens, and could read the keys as well.
 */
import { createCipheriv, createDecipheriv } from "node:crypto";
import { ByteReader, ByteWriter } from "../core/codec.ts";
import { HoldfastError } from "../core/errors.ts";
import { limits } from "../core/limits.ts";
import { transact } from "../kv/transact.ts";
import { sessionSealKey } from "../meta/keys.ts";
import type { KeyValue } from "../policy/condition_values.ts";
import { parsePolicy, type Policy } from "../policy/policy.ts";
import type { IdentityContext } from "./context.ts";
import { readList, readTags, writeList, writeTags, type Tag } from "./records.ts";

export type Session = {
  readonly accessKey: string;
  readonly secretKey: string;
  readonly issuedMs: number;
  readonly expiresMs: number;
  /** With the id of the user or role: another one of the same name is not meant. */
  readonly principal:
    | { readonly kind: "account"; readonly account: string }
    | { readonly kind: "user"; readonly account: string; readonly user: string; readonly id: string }
    | { readonly kind: "role"; readonly account: string; readonly role: string; readonly id: string };
  /** What whoever assumed the role called it; empty for others. */
  readonly name: string;
  readonly sourceIdentity: string | undefined;
  /** A document that bounds what the role may do. */
  readonly policy: string | undefined;
  /** ARNs of managed policies that do. */
  readonly managed: readonly string[];
  readonly tags: readonly Tag[];
  /** Condition keys that all its requests have: what is known from an issuer's token. Undefined: it began without one. */
  readonly keys?: ReadonlyMap<string, KeyValue> | undefined;
};

export type OpenedSession = { readonly session: Session; readonly policies: readonly Policy[] };

const version = 1;
/** Of the record, where it has condition keys; others are written as version 1, which nodes that know no other can read. */
const versionWithKeys = 2;
const nonceBytes = 12;
const tagBytes = 16;
const keyBytes = 32;
const kinds = ["account", "user", "role"] as const;

export function encodeSession(session: Session): Buffer {
  const { accessKey, secretKey, issuedMs, expiresMs, principal, name, sourceIdentity = "", policy = "" } = session;
  const writer = new ByteWriter().u8(session.keys === undefined ? version : versionWithKeys);
  writer.string(accessKey).string(secretKey).varint(issuedMs).varint(expiresMs);
  writer.u8(kinds.indexOf(principal.kind)).string(principal.account);
  if (principal.kind === "user") writer.string(principal.user).string(principal.id);
  if (principal.kind === "role") writer.string(principal.role).string(principal.id);
  writer.string(name).string(sourceIdentity).string(policy);
  writeList(writer, session.managed, (arn) => writer.string(arn));
  writeTags(writer, session.tags);
  if (session.keys !== undefined) writeKeys(writer, session.keys);
  return writer.finish();
}

export function decodeSession(value: Uint8Array): Session {
  const reader = new ByteReader(value, "session");
  const has = reader.version(versionWithKeys);
  const credentials = { accessKey: reader.string(), secretKey: reader.string() };
  const times = { issuedMs: reader.varint(), expiresMs: reader.varint() };
  const principal = readPrincipal(reader);
  const name = reader.string();
  const [sourceIdentity, policy] = [reader.string(), reader.string()].map((text) => (text === "" ? undefined : text));
  const managed = readList(reader, () => reader.string());
  const tags = readTags(reader);
  const session: Session = {
    ...credentials,
    ...times,
    principal,
    name,
    sourceIdentity,
    policy,
    managed,
    tags,
    ...(has === versionWithKeys && { keys: readKeys(reader) }),
  };
  reader.end();
  return session;
}

/** A key with several values is another thing than one with a single value. */
function writeKeys(writer: ByteWriter, keys: ReadonlyMap<string, KeyValue>): void {
  writeList(writer, [...keys], ([name, value]) => {
    writer.string(name).u8(typeof value === "string" ? 0 : 1);
    if (typeof value === "string") writer.string(value);
    else writeList(writer, value ?? [], (each) => writer.string(each));
  });
}

function readKeys(reader: ByteReader): ReadonlyMap<string, KeyValue> {
  const entries = readList(reader, (): [string, KeyValue] => {
    const name = reader.string();
    const kind = reader.u8();
    if (kind > 1) throw reader.corrupt("the kind of a condition key's value is not known");
    return [name, kind === 0 ? reader.string() : readList(reader, () => reader.string())];
  });
  return new Map(entries);
}

function readPrincipal(reader: ByteReader): Session["principal"] {
  const kind = kinds[reader.u8()];
  if (kind === undefined) throw reader.corrupt("the kind of its principal is not known");
  const account = reader.string();
  if (kind === "account") return { kind, account };
  const [name, id] = [reader.string(), reader.string()];
  return kind === "user" ? { kind, account, user: name, id } : { kind, account, role: name, id };
}

export class SessionTokens {
  readonly #ctx: IdentityContext;
  #key: Promise<Buffer> | undefined;
  /** By the tokens, the oldest first. */
  readonly #opened = new Map<string, OpenedSession>();

  constructor(ctx: IdentityContext) {
    this.#ctx = ctx;
  }

  /** Errors: `entity_too_large` when its policies and tags are too much for a token. */
  async seal(session: Session): Promise<string> {
    const record = encodeSession(session);
    if (record.length > limits.sessionRecordBytesMax)
      throw new HoldfastError("entity_too_large", "The policies and tags of the session are too large together.");
    const nonce = this.#ctx.random.bytes(nonceBytes);
    const cipher = createCipheriv("aes-256-gcm", await this.#sealingKey(), nonce).setAAD(Buffer.of(version));
    const sealed = [cipher.update(record), cipher.final(), cipher.getAuthTag()];
    return Buffer.concat([Buffer.of(version), nonce, ...sealed]).toString("base64url");
  }

  /** Errors: `invalid_token`, for another key's too; `expired_token`. */
  async open(accessKey: string, token: string): Promise<OpenedSession> {
    const known = this.#opened.get(token);
    const opened = known ?? (await this.#unsealed(token));
    if (opened.session.accessKey !== accessKey) throw invalid();
    if (this.#ctx.clock.nowMs() >= opened.session.expiresMs)
      throw new HoldfastError("expired_token", "The provided token has expired.");
    if (known === undefined) this.#keep(token, opened);
    return opened;
  }

  #keep(token: string, opened: OpenedSession): void {
    this.#opened.set(token, opened);
    if (this.#opened.size > limits.sessionTokensKept) this.#opened.delete(this.#opened.keys().next().value!);
  }

  async #unsealed(token: string): Promise<OpenedSession> {
    if (token.length > limits.sessionTokenCharsMax || !/^[A-Za-z0-9_-]+$/.test(token)) throw invalid();
    const bytes = Buffer.from(token, "base64url");
    if (bytes.length <= 1 + nonceBytes + tagBytes || bytes[0] !== version) throw invalid();
    // Of the last letter not all bits count: only one spelling is taken, so that a token is the same text everywhere.
    if (bytes.toString("base64url") !== token) throw invalid();
    const decipher = createDecipheriv("aes-256-gcm", await this.#sealingKey(), bytes.subarray(1, 1 + nonceBytes), {
      authTagLength: tagBytes,
    });
    decipher.setAAD(bytes.subarray(0, 1)).setAuthTag(bytes.subarray(-tagBytes));
    let record: Buffer;
    try {
      record = Buffer.concat([decipher.update(bytes.subarray(1 + nonceBytes, -tagBytes)), decipher.final()]);
    } catch {
      throw invalid();
    }
    const session = decodeSession(record);
    const { policy } = session;
    return { session, policies: policy === undefined ? [] : [parseSessionPolicy(policy)] };
  }

  #sealingKey(): Promise<Buffer> {
    this.#key ??= sealingKey(this.#ctx).catch((error: unknown) => {
      this.#key = undefined;
      throw error;
    });
    return this.#key;
  }
}

/** Errors: `malformed_policy`. */
export function parseSessionPolicy(document: string): Policy {
  return parsePolicy(document, { use: "identity", bytesMax: limits.inlinePolicyBytesMax });
}

function invalid(): HoldfastError {
  return new HoldfastError("invalid_token", "The provided token is malformed or otherwise invalid.");
}

/** Drawn if there is none yet: two processes that draw at once take the one that was first. */
async function sealingKey({ kv, random }: IdentityContext): Promise<Buffer> {
  return transact(kv, async (tx) => {
    const [row] = await tx.get([sessionSealKey()]);
    if (row !== undefined) return decodeSealingKey(row.value);
    const made = Buffer.from(random.bytes(keyBytes));
    tx.put(sessionSealKey(), encodeSealingKey(made));
    return made;
  });
}

export function encodeSealingKey(key: Uint8Array): Buffer {
  return new ByteWriter().u8(version).raw(key).finish();
}

export function decodeSealingKey(value: Uint8Array): Buffer {
  const reader = new ByteReader(value, "sealing key");
  reader.version(version);
  const key = Buffer.from(reader.raw(keyBytes));
  reader.end();
  return key;
}
