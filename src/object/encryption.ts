/**
 * What encryption means for an object or an upload: which data key its bytes have, who seals that key, what a request must
 * bring to read it, and what its ETag is. Blobs know data keys only, and how they are sealed the crypto room knows.
 *
 * An object of a client's key (SSE-C) is read by whoever brings that key, and by nobody else: the store does not have it.
 */
import { HoldfastError } from "../core/errors.ts";
import type { EncryptionContext, KeyService } from "../crypto/crypto.ts";
import type { CustomerKey } from "../crypto/customer_key.ts";
import { DataKey } from "../crypto/data_key.ts";
import type { EncryptionRecord } from "../meta/extras.ts";
import type { HeadRecord } from "../meta/heads.ts";
import type { ObjectContext } from "./context.ts";
import type { EncryptionInfo, WantedEncryption } from "./object.ts";

/** What the bytes of a new object are encrypted with, and what its head keeps of that. */
export type Encryption = { readonly dataKey: DataKey; readonly record: EncryptionRecord };

const noContext: EncryptionContext = new Map();

function keysOf({ keys }: ObjectContext): KeyService {
  if (keys !== undefined) return keys;
  const message =
    "Server-side encryption needs a master key or a key service, and this server was started without --encryption-key-file and --kms.";
  throw new HoldfastError("encryption_not_set_up", message);
}

/** Errors: `encryption_not_set_up`, `no_such_encryption_key`, `unavailable`. */
export async function newEncryption(
  ctx: ObjectContext,
  wanted: WantedEncryption | undefined,
): Promise<Encryption | undefined> {
  return wanted && sealedFor(ctx, wanted, DataKey.generate(ctx.random));
}

/** The data key as whoever is wanted seals it. */
export async function sealedFor(ctx: ObjectContext, wanted: WantedEncryption, dataKey: DataKey): Promise<Encryption> {
  const { mode } = wanted;
  const common = { mode, hasBucketKey: mode === "kms" && wanted.hasBucketKey, inlineTag: undefined };
  if (mode === "customer") {
    const sealed = wanted.key.seal(dataKey, ctx.random);
    return { dataKey, record: { ...common, keyId: "", sealed, context: noContext } };
  }
  const keys = keysOf(ctx);
  const keyId = mode === "s3" ? keys.defaults.s3 : (wanted.keyId ?? keys.defaults.kms);
  const context = mode === "s3" ? noContext : wanted.context;
  const sealed = await keys.seal(keyId, dataKey, context);
  return { dataKey, record: { ...common, keyId, sealed, context } };
}

/** What a client is told when its request has a key where there is none, has none where there is one, or has another. */
type Refusals = { readonly needsKey: string; readonly needsNone: string; readonly wrongKey: () => HoldfastError };

const ofObject: Refusals = {
  needsKey:
    "The object was stored using a form of Server Side Encryption. The correct parameters must be provided to retrieve the object.",
  needsNone: "The encryption parameters are not applicable to this object.",
  wrongKey: () =>
    new HoldfastError("invalid_request", "The provided encryption parameters did not match the ones used originally."),
};

const ofUpload: Refusals = {
  needsKey:
    "The multipart upload initiate requested encryption. Subsequent part requests must include the appropriate encryption parameters.",
  needsNone:
    "The multipart upload initiate did not request encryption. Please resend the request without sending encryption parameters.",
  wrongKey: () =>
    new HoldfastError(
      "invalid_request",
      "The provided encryption parameters did not match the ones used originally to initiate the multipart upload.",
    ),
};

type Encrypted = { readonly encryption?: EncryptionRecord | undefined };

/**
 * The data key of an object; undefined where it is not encrypted. Errors: `invalid_request`, also for a client's key that is
 * not the one, and those of the key service.
 */
export function openObjectKey(
  ctx: ObjectContext,
  head: Encrypted,
  key: CustomerKey | undefined,
): Promise<DataKey | undefined> {
  return openKey(ctx, head, key, ofObject);
}

/** The same of an upload. */
export function openUploadKey(
  ctx: ObjectContext,
  upload: Encrypted,
  key: CustomerKey | undefined,
): Promise<DataKey | undefined> {
  return openKey(ctx, upload, key, ofUpload);
}

/**
 * What a request says of how its upload is encrypted must be so; the key is the one that the upload was started with, whichever the
 * request names, and the answer says which. Errors: `invalid_argument`.
 */
export function checkStated({ encryption }: Encrypted, stated: WantedEncryption | undefined): void {
  if (stated === undefined || encryption?.mode === stated.mode) return;
  throw new HoldfastError("invalid_argument", "The upload was not started with the encryption that the request names.");
}

async function openKey(
  ctx: ObjectContext,
  { encryption }: Encrypted,
  key: CustomerKey | undefined,
  refusals: Refusals,
): Promise<DataKey | undefined> {
  checkCustomerKey(encryption, key, refusals);
  if (encryption === undefined) return undefined;
  if (key !== undefined) return opened(encryption, key, refusals);
  return keysOf(ctx).open(encryption.keyId, encryption.sealed, encryption.context);
}

/** Whether a client's key is there exactly where there must be one. */
function checkCustomerKey(
  encryption: EncryptionRecord | undefined,
  key: CustomerKey | undefined,
  { needsKey, needsNone }: Refusals,
): void {
  const isCustomers = encryption?.mode === "customer";
  if (isCustomers === (key !== undefined)) return;
  throw new HoldfastError("invalid_request", isCustomers ? needsKey : needsNone);
}

function opened({ sealed }: EncryptionRecord, key: CustomerKey, { wrongKey }: Refusals): DataKey {
  const dataKey = key.open(sealed);
  if (dataKey === undefined) throw wrongKey();
  return dataKey;
}

/** For requests that show what a head says and no bytes: a client's key must be right, the store's own is not asked. */
export function checkObjectKeyOf({ encryption }: Encrypted, key: CustomerKey | undefined): void {
  checkCustomerKey(encryption, key, ofObject);
  if (encryption !== undefined && key !== undefined) opened(encryption, key, ofObject);
}

/** The ETag of bytes with this MD5, which only SSE-S3 shows. */
export function etagOf(md5: Buffer, encryption: Encryption | undefined): string {
  const isShown = encryption === undefined || showsMd5(encryption.record);
  return (isShown ? md5 : encryption.dataKey.tokenFor(md5)).toString("hex");
}

function showsMd5({ mode }: { readonly mode: EncryptionRecord["mode"] }): boolean {
  return mode === "s3";
}

// --- bytes that lie in the metadata ---

const onlyBlock = { chunk: 0, block: 0 };

export type StoredInline = { readonly inline: Uint8Array; readonly encryption: EncryptionRecord | undefined };

export function sealInline(bytes: Uint8Array, encryption: Encryption | undefined): StoredInline {
  if (encryption === undefined) return { inline: bytes, encryption: undefined };
  const { bytes: inline, tag } = encryption.dataKey.ofInline().seal(onlyBlock, bytes);
  return { inline, encryption: { ...encryption.record, inlineTag: tag } };
}

/** Errors: `corrupt_record`. */
export function openInline({ data, encryption }: HeadRecord, stored: Buffer, dataKey: DataKey | undefined): Buffer {
  if (dataKey === undefined || data.kind !== "inline") return stored;
  const tag = encryption?.inlineTag;
  const bytes = tag && dataKey.ofInline().open(onlyBlock, stored, tag);
  if (bytes === undefined) throw new HoldfastError("corrupt_record", "An encrypted body does not open.");
  return bytes;
}

export function encryptionInfo(record: EncryptionRecord | undefined): EncryptionInfo | undefined {
  if (record === undefined) return undefined;
  const { mode, keyId, context, hasBucketKey } = record;
  return mode === "kms" ? { mode, keyId, context, hasBucketKey } : { mode };
}
