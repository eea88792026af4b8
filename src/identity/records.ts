/** The records of accounts, users, groups, roles and managed policies (docs/formats/records.md). */
import { ByteReader, ByteWriter } from "../core/codec.ts";

/** A policy document that belongs to one user or group alone. */
export type InlinePolicy = { readonly name: string; readonly document: string };
export type Tag = { readonly key: string; readonly value: string };

/** `name` as it was given when it was made; `path` begins and ends with a slash. */
type Named = { readonly name: string; readonly path: string; readonly id: string; readonly createdMs: number };

export type AccountRecord = {
  /** 12 digits. */
  readonly account: string;
  /** 64 hex digits. */
  readonly canonicalId: string;
  readonly name: string;
  readonly createdMs: number;
};

export type UserRecord = Named & {
  /** Names of groups, in lower case. */
  readonly groups: readonly string[];
  /** ARNs of managed policies. */
  readonly managed: readonly string[];
  readonly inline: readonly InlinePolicy[];
  /** ARN of the managed policy that bounds what all others allow. */
  readonly boundary: string | undefined;
  readonly accessKeys: readonly string[];
  readonly tags: readonly Tag[];
};

export type GroupRecord = Named & {
  /** How many users are in it. */
  readonly members: number;
  readonly managed: readonly string[];
  readonly inline: readonly InlinePolicy[];
};

/** What a managed policy says, or said, or may say: versions are numbered from 1, and no number is given twice. */
export type PolicyVersion = { readonly number: number; readonly createdMs: number; readonly document: string };

export type PolicyRecord = Named & {
  readonly updatedMs: number;
  /** How many users and groups it is attached to, or is the boundary of. */
  readonly attachments: number;
  readonly description: string;
  /** By their numbers. */
  readonly versions: readonly PolicyVersion[];
  /** The number of the one that counts. */
  readonly defaultVersion: number;
  /** The greatest number that was ever given. */
  readonly lastVersion: number;
};

export type RoleRecord = Named & {
  /** The policy that says who may assume it. */
  readonly trust: string;
  readonly description: string;
  /** How long its sessions may be. */
  readonly sessionSecondsMax: number;
  readonly managed: readonly string[];
  readonly inline: readonly InlinePolicy[];
  readonly boundary: string | undefined;
  readonly tags: readonly Tag[];
};

const version = 1;
/** Of policies. */
const policyVersion = 2;

export function encodeAccount({ account, canonicalId, name, createdMs }: AccountRecord): Buffer {
  return new ByteWriter().u8(version).string(account).hex(canonicalId).string(name).varint(createdMs).finish();
}

export function decodeAccount(value: Uint8Array): AccountRecord {
  const reader = begin(value, "account");
  const record = {
    account: reader.string(),
    canonicalId: reader.hex(32),
    name: reader.string(),
    createdMs: reader.varint(),
  };
  reader.end();
  return record;
}

export function encodeUser(user: UserRecord): Buffer {
  const writer = writeNamed(user);
  writeList(writer, user.groups, (each) => writer.string(each));
  writeList(writer, user.managed, (each) => writer.string(each));
  writeInline(writer, user.inline);
  writer.string(user.boundary ?? "");
  writeList(writer, user.accessKeys, (each) => writer.string(each));
  writeTags(writer, user.tags);
  return writer.finish();
}

export function decodeUser(value: Uint8Array): UserRecord {
  const reader = begin(value, "user");
  const named = readNamed(reader);
  const groups = readList(reader, () => reader.string());
  const managed = readList(reader, () => reader.string());
  const inline = readInline(reader);
  const boundary = readOptional(reader);
  const accessKeys = readList(reader, () => reader.string());
  const tags = readTags(reader);
  reader.end();
  return { ...named, groups, managed, inline, boundary, accessKeys, tags };
}

export function encodeGroup(group: GroupRecord): Buffer {
  const writer = writeNamed(group).varint(group.members);
  writeList(writer, group.managed, (each) => writer.string(each));
  writeInline(writer, group.inline);
  return writer.finish();
}

export function decodeGroup(value: Uint8Array): GroupRecord {
  const reader = begin(value, "group");
  const named = readNamed(reader);
  const members = reader.varint();
  const group = { ...named, members, managed: readList(reader, () => reader.string()), inline: readInline(reader) };
  reader.end();
  return group;
}

export function encodeRole(role: RoleRecord): Buffer {
  const { trust, description, sessionSecondsMax, managed, inline, boundary = "", tags } = role;
  const writer = writeNamed(role).string(trust).string(description).varint(sessionSecondsMax);
  writeList(writer, managed, (each) => writer.string(each));
  writeInline(writer, inline);
  writer.string(boundary);
  writeTags(writer, tags);
  return writer.finish();
}

export function decodeRole(value: Uint8Array): RoleRecord {
  const reader = begin(value, "role");
  const named = readNamed(reader);
  const own = { trust: reader.string(), description: reader.string(), sessionSecondsMax: reader.varint() };
  const managed = readList(reader, () => reader.string());
  const inline = readInline(reader);
  const role = { ...named, ...own, managed, inline, boundary: readOptional(reader), tags: readTags(reader) };
  reader.end();
  return role;
}

/** A policy that has the version it was made with and never had another is format 1; else it is format 2. */
export function encodePolicy(policy: PolicyRecord): Buffer {
  const { updatedMs, attachments, description, versions, defaultVersion, lastVersion } = policy;
  const [only] = versions;
  const isFirst = lastVersion === 1 && only?.createdMs === updatedMs;
  const writer = writeNamed(policy, isFirst ? version : policyVersion);
  writer.varint(updatedMs).varint(attachments).string(description);
  if (isFirst) return writer.string(only.document).finish();
  writer.varint(defaultVersion).varint(lastVersion);
  writeList(writer, versions, (each) => writer.varint(each.number).varint(each.createdMs).string(each.document));
  return writer.finish();
}

export function decodePolicy(value: Uint8Array): PolicyRecord {
  const reader = new ByteReader(value, "policy");
  const format = reader.version(policyVersion);
  const named = readNamed(reader);
  const own = { updatedMs: reader.varint(), attachments: reader.varint(), description: reader.string() };
  const { updatedMs: createdMs } = own;
  const policy =
    format === 1
      ? {
          ...named,
          ...own,
          versions: [{ number: 1, createdMs, document: reader.string() }],
          defaultVersion: 1,
          lastVersion: 1,
        }
      : { ...named, ...own, ...readPolicyVersions(reader) };
  reader.end();
  return policy;
}

function readPolicyVersions(reader: ByteReader): Pick<PolicyRecord, "versions" | "defaultVersion" | "lastVersion"> {
  const numbers = { defaultVersion: reader.varint(), lastVersion: reader.varint() };
  const versions = readList(reader, () => ({
    number: reader.varint(),
    createdMs: reader.varint(),
    document: reader.string(),
  }));
  if (!versions.some(({ number }) => number === numbers.defaultVersion))
    throw reader.corrupt("the version that counts is not there");
  return { ...numbers, versions };
}

/** What the policy says. */
export function policyDocument({ versions, defaultVersion }: PolicyRecord): string {
  return versions.find(({ number }) => number === defaultVersion)!.document;
}

function begin(value: Uint8Array, what: string): ByteReader {
  const reader = new ByteReader(value, what);
  reader.version(version);
  return reader;
}

function writeNamed({ name, path, id, createdMs }: Named, format: number = version): ByteWriter {
  return new ByteWriter().u8(format).string(name).string(path).string(id).varint(createdMs);
}

function readNamed(reader: ByteReader): Named {
  return { name: reader.string(), path: reader.string(), id: reader.string(), createdMs: reader.varint() };
}

export function writeList<T>(writer: ByteWriter, values: readonly T[], write: (value: T) => unknown): void {
  writer.varint(values.length);
  for (const value of values) write(value);
}

export function readList<T>(reader: ByteReader, read: () => T): T[] {
  const values: T[] = [];
  for (let left = reader.varint(); left > 0; left--) values.push(read());
  return values;
}

function writeInline(writer: ByteWriter, policies: readonly InlinePolicy[]): void {
  writeList(writer, policies, ({ name, document }) => writer.string(name).string(document));
}

function readInline(reader: ByteReader): InlinePolicy[] {
  return readList(reader, () => ({ name: reader.string(), document: reader.string() }));
}

export function writeTags(writer: ByteWriter, tags: readonly Tag[]): void {
  writeList(writer, tags, ({ key, value }) => writer.string(key).string(value));
}

export function readTags(reader: ByteReader): Tag[] {
  return readList(reader, () => ({ key: reader.string(), value: reader.string() }));
}

/** Empty where there is none. */
function readOptional(reader: ByteReader): string | undefined {
  const text = reader.string();
  return text === "" ? undefined : text;
}
