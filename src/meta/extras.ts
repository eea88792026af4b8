/**
 * What few objects have: tags, a retention, a legal hold, the key of their bytes, an access control list, which request renamed
 * them. It stands at the end of a head, one coded piece each, so that an
 * object without them pays nothing, and can change while the object stays the same one (stamp, ETag and time of
 * modification do not).
 */
import { assert } from "../core/assert.ts";
import { ByteReader, ByteWriter } from "../core/codec.ts";

export type RetentionRecord = { readonly mode: "GOVERNANCE" | "COMPLIANCE"; readonly untilMs: number };

/** How an object's bytes are encrypted. Without it they are not. */
export type EncryptionRecord = {
  /** Whose key seals the data key: the store's own (SSE-S3), one that was named (SSE-KMS), the client's (SSE-C). */
  readonly mode: "s3" | "kms" | "customer";
  /** Of the key service; empty where it is the client's. */
  readonly keyId: string;
  /** The data key, sealed. */
  readonly sealed: Buffer;
  /** What it was bound to when it was sealed; empty but for `kms`. */
  readonly context: ReadonlyMap<string, string>;
  /** The client asked for S3's bucket keys, and is told so again. */
  readonly hasBucketKey: boolean;
  /** Of the bytes that lie in the metadata; undefined where they don't. */
  readonly inlineTag: Buffer | undefined;
};
/** Of an account, by its canonical id, or of a group of AWS's. */
export type GranteeRecord =
  | { readonly kind: "account"; readonly id: string }
  | { readonly kind: "group"; readonly group: (typeof granteeGroups)[number] };
export type GrantRecord = { readonly grantee: GranteeRecord; readonly permission: (typeof grantPermissions)[number] };
/** `owner`: the canonical id of the account that the object belongs to. */
export type AclRecord = { readonly owner: string; readonly grants: readonly GrantRecord[] };

/** Which request renamed an object to the key it has: hashes of its token, and of all else it asked for. */
export type RenamedRecord = { readonly token: Buffer; readonly request: Buffer };

export type Extras = {
  /** In the order they were given; undefined: none. */
  readonly tags?: ReadonlyMap<string, string> | undefined;
  readonly retention?: RetentionRecord | undefined;
  /** False: it was there and was taken away, which clients are told; it holds nothing. Undefined: there never was one. */
  readonly legalHold?: boolean | undefined;
  readonly encryption?: EncryptionRecord | undefined;
  /** Undefined: the bucket's account owns it and nobody else has been granted anything. */
  readonly acl?: AclRecord | undefined;
  readonly renamed?: RenamedRecord | undefined;
};

/** Written in docs/formats/records.md; a code, once released, never changes its meaning. */
const codes = { tags: 1, retention: 2, legalHold: 3, encryption: 4, acl: 5, renamed: 6 } as const;
const RENAMED_HASH_BYTES = 16;
const modes = ["GOVERNANCE", "COMPLIANCE"] as const;
const encryptionModes = ["s3", "customer", "kms"] as const;
const bucketKeyFlag = 0x01;
const inlineTagFlag = 0x02;
const INLINE_TAG_BYTES = 16;
const granteeGroups = ["AllUsers", "AuthenticatedUsers", "LogDelivery"] as const;
const grantPermissions = ["READ", "WRITE", "READ_ACP", "WRITE_ACP", "FULL_CONTROL"] as const;

export type CodedExtra = { readonly code: number; readonly bytes: Buffer };

export function extrasOf({ tags, retention, legalHold, encryption, acl, renamed }: Extras): CodedExtra[] {
  const extras: CodedExtra[] = [];
  if (tags !== undefined && tags.size > 0) extras.push({ code: codes.tags, bytes: encodeTags(tags) });
  if (retention !== undefined) extras.push({ code: codes.retention, bytes: encodeRetention(retention) });
  if (legalHold !== undefined)
    extras.push({ code: codes.legalHold, bytes: legalHold ? Buffer.alloc(0) : Buffer.of(0) });
  if (encryption !== undefined) extras.push({ code: codes.encryption, bytes: encodeEncryption(encryption) });
  if (acl !== undefined) extras.push({ code: codes.acl, bytes: encodeAcl(acl) });
  if (renamed !== undefined)
    extras.push({ code: codes.renamed, bytes: Buffer.concat([renamed.token, renamed.request]) });
  return extras;
}

function encodeTags(tags: ReadonlyMap<string, string>): Buffer {
  const writer = new ByteWriter().varint(tags.size);
  for (const [name, value] of tags) writer.string(name).string(value);
  return writer.finish();
}

function encodeRetention({ mode, untilMs }: RetentionRecord): Buffer {
  return new ByteWriter().u8(modes.indexOf(mode)).varint(untilMs).finish();
}

function encodeEncryption(encryption: EncryptionRecord): Buffer {
  const { mode, keyId, sealed, context, hasBucketKey, inlineTag } = encryption;
  assert(inlineTag === undefined || inlineTag.length === INLINE_TAG_BYTES, "a tag has 16 bytes");
  const flags = (hasBucketKey ? bucketKeyFlag : 0) | (inlineTag === undefined ? 0 : inlineTagFlag);
  const writer = new ByteWriter().u8(encryptionModes.indexOf(mode)).u8(flags).string(keyId).bytes(sealed);
  writer.varint(context.size);
  for (const [name, value] of context) writer.string(name).string(value);
  if (inlineTag !== undefined) writer.raw(inlineTag);
  return writer.finish();
}

/** A grantee is its group's number from 1 on, or 0 and the account's canonical id. */
function encodeAcl({ owner, grants }: AclRecord): Buffer {
  const writer = new ByteWriter().string(owner).varint(grants.length);
  for (const { grantee, permission } of grants) {
    writer.u8(grantPermissions.indexOf(permission));
    if (grantee.kind === "account") writer.u8(0).string(grantee.id);
    else writer.u8(1 + granteeGroups.indexOf(grantee.group));
  }
  return writer.finish();
}

export function writeExtras(writer: ByteWriter, extras: readonly CodedExtra[]): void {
  writer.varint(extras.length);
  for (const { code, bytes } of extras) writer.u8(code).bytes(bytes);
}

/** Errors: `corrupt_record`, also for a code that is not known: what it protects must not be lost by a rewrite. */
export function readExtras(reader: ByteReader): Extras {
  const extras: { -readonly [Name in keyof Extras]: Extras[Name] } = {};
  for (let left = reader.varint(); left > 0; left--) {
    const code = reader.u8();
    const piece = new ByteReader(reader.bytes(), "head");
    if (code === codes.tags) extras.tags = readTags(piece);
    else if (code === codes.retention) extras.retention = readRetention(piece);
    else if (code === codes.legalHold) extras.legalHold = readLegalHold(piece);
    else if (code === codes.encryption) extras.encryption = readEncryption(piece);
    else if (code === codes.acl) extras.acl = readAcl(piece);
    else if (code === codes.renamed) extras.renamed = readRenamed(piece);
    else throw reader.corrupt("it has a piece that is not known");
    piece.end();
  }
  return extras;
}

function readEncryption(reader: ByteReader): EncryptionRecord {
  const mode = encryptionModes[reader.u8()];
  const flags = reader.u8();
  if (mode === undefined || flags > (bucketKeyFlag | inlineTagFlag))
    throw reader.corrupt("its encryption is of a kind that is not known");
  const keyId = reader.string();
  const sealed = Buffer.from(reader.bytes());
  const context = readTags(reader);
  const inlineTag = (flags & inlineTagFlag) === 0 ? undefined : Buffer.from(reader.raw(INLINE_TAG_BYTES));
  return { mode, keyId, sealed, context, hasBucketKey: (flags & bucketKeyFlag) !== 0, inlineTag };
}

function readTags(reader: ByteReader): Map<string, string> {
  const tags = new Map<string, string>();
  for (let left = reader.varint(); left > 0; left--) tags.set(reader.string(), reader.string());
  return tags;
}

/** Nothing: it is on. A zero: it is off. */
function readLegalHold(reader: ByteReader): boolean {
  if (reader.isAtEnd) return true;
  if (reader.u8() !== 0) throw reader.corrupt("its legal hold is not known");
  return false;
}

function readRetention(reader: ByteReader): RetentionRecord {
  const mode = modes[reader.u8()];
  if (mode === undefined) throw reader.corrupt("its retention has a mode that is not known");
  return { mode, untilMs: reader.varint() };
}

function readAcl(reader: ByteReader): AclRecord {
  const owner = reader.string();
  const grants: GrantRecord[] = [];
  for (let left = reader.varint(); left > 0; left--) {
    const permission = grantPermissions[reader.u8()];
    if (permission === undefined) throw reader.corrupt("it grants a permission that is not known");
    grants.push({ grantee: readGrantee(reader), permission });
  }
  return { owner, grants };
}

function readGrantee(reader: ByteReader): GranteeRecord {
  const code = reader.u8();
  if (code === 0) return { kind: "account", id: reader.string() };
  const group = granteeGroups[code - 1];
  if (group === undefined) throw reader.corrupt("it grants something to a group that is not known");
  return { kind: "group", group };
}

function readRenamed(reader: ByteReader): RenamedRecord {
  return { token: reader.raw(RENAMED_HASH_BYTES), request: reader.raw(RENAMED_HASH_BYTES) };
}
