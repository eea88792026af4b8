/** `Objects` on a metadata store and a blob store. Every concern has a file of its own; this one only puts them together. */
import { limits } from "../core/limits.ts";
import type { ReadAhead } from "../kv/read_ahead.ts";
import { RowCache } from "../kv/row_cache.ts";
import { decodeBucket } from "../meta/buckets.ts";
import { appendObject } from "./append.ts";
import { BucketIds } from "./bucket_ids.ts";
import {
  bucketInfo,
  bucketUsage,
  createBucket,
  deleteBucket,
  listBuckets,
  setRedundancy,
  setVersioning,
} from "./buckets.ts";
import { commitEntries } from "./commit.ts";
import {
  changeConfiguration,
  configurationsAhead,
  KeptConfigurations,
  knownConfigurations,
  readConfiguration,
  readConfigurations,
} from "./configurations.ts";
import type { ObjectContext, ObjectParts } from "./context.ts";
import { copyObject } from "./copy.ts";
import { deleteObject } from "./delete.ts";
import { newEncryption } from "./encryption.ts";
import { lifecycleWork, type LifecycleWork } from "./expire.ts";
import { describeObject, getObject, headObject } from "./get.ts";
import { objectLayout, objectParts } from "./layout.ts";
import { listObjects } from "./list.ts";
import type { JudgedBuckets } from "./judged_types.ts";
import { listVersions } from "./list_versions.ts";
import type {
  BucketInfo,
  GetOptions,
  GetOutcome,
  HeadOutcome,
  ObjectInfo,
  Objects,
  PutOptions,
  PutResult,
} from "./object.ts";
import { objectLockOf, setLegalHold, setObjectLock, setRetention } from "./object_lock.ts";
import { putObject } from "./put.ts";
import { accountQuota, bucketQuota, setAccountQuota, setBucketQuota } from "./quota_settings.ts";
import { renameObject, renamePrefix } from "./rename.ts";
import { redundanciesIn } from "./storage_class.ts";
import { storeQuotas, storeUsage } from "./store_usage.ts";
import { setAcl, setTags } from "./tagging.ts";
import { Uploads } from "./uploads.ts";

type Arguments<Name extends keyof Objects> = Parameters<Objects[Name]>[0];

export class ObjectStore implements Objects {
  readonly #ctx: ObjectContext;
  readonly #uploads: Uploads;
  /** Made before, by the buckets' names and ids: most requests are of the same few. */
  readonly #judged = new Map<string, Objects>();
  /** For the job that carries lifecycle rules out. */
  readonly lifecycle: LifecycleWork;

  constructor(parts: ObjectParts & Partial<ObjectContext>) {
    const buckets = parts.buckets ?? new RowCache(decodeBucket, limits.bucketRowsKept);
    this.#ctx = { bucketIds: new BucketIds(), configurations: new KeptConfigurations(), buckets, ...parts };
    this.#uploads = new Uploads(this.#ctx, (options) => this.get(options));
    this.lifecycle = lifecycleWork(this.#ctx);
  }

  judgedBy(judged: JudgedBuckets): Objects {
    const name = [...judged].flat().join("/");
    const made = this.#judged.get(name) ?? new ObjectStore({ ...this.#ctx, judged });
    if (this.#judged.size >= limits.bucketRowsKept) this.#judged.clear();
    this.#judged.set(name, made);
    return made;
  }

  createBucket(...[name, options]: Parameters<Objects["createBucket"]>): ReturnType<Objects["createBucket"]> {
    return createBucket(this.#ctx, name, options);
  }

  bucket(name: string): Promise<BucketInfo> {
    return bucketInfo(this.#ctx, name);
  }

  setRedundancy(...[name, asked]: Parameters<Objects["setRedundancy"]>): Promise<BucketInfo> {
    return setRedundancy(this.#ctx, name, asked);
  }

  setVersioning(...[name, versioning]: Parameters<Objects["setVersioning"]>): Promise<BucketInfo> {
    return setVersioning(this.#ctx, name, versioning);
  }

  listBuckets(options: Arguments<"listBuckets">): ReturnType<Objects["listBuckets"]> {
    return listBuckets(this.#ctx, options);
  }

  deleteBucket(name: string): Promise<void> {
    return deleteBucket(this.#ctx, name);
  }

  configuration(...[bucket, kind]: Parameters<Objects["configuration"]>): ReturnType<Objects["configuration"]> {
    return readConfiguration(this.#ctx, bucket, kind);
  }

  configurations(...asked: Parameters<Objects["configurations"]>): ReturnType<Objects["configurations"]> {
    return readConfigurations(this.#ctx, ...asked);
  }

  knownConfigurations(
    ...asked: Parameters<Objects["knownConfigurations"]>
  ): ReturnType<Objects["knownConfigurations"]> {
    return knownConfigurations(this.#ctx, ...asked);
  }

  readAhead(bucket: string): ReadAhead | undefined {
    return configurationsAhead(bucket);
  }

  setConfiguration(change: Arguments<"setConfiguration">): Promise<void> {
    return changeConfiguration(this.#ctx, change);
  }

  async checkEncryption(wanted: Arguments<"checkEncryption">): Promise<void> {
    await newEncryption(this.#ctx, wanted);
  }

  objectLock(bucket: string): ReturnType<Objects["objectLock"]> {
    return objectLockOf(this.#ctx, bucket);
  }

  setObjectLock(...[bucket, retention]: Parameters<Objects["setObjectLock"]>): Promise<void> {
    return setObjectLock(this.#ctx, bucket, retention);
  }

  usage(bucket: string): ReturnType<Objects["usage"]> {
    return bucketUsage(this.#ctx, bucket);
  }

  storeUsage(): ReturnType<Objects["storeUsage"]> {
    return storeUsage(this.#ctx.kv, (bucket) => redundanciesIn(this.#ctx, bucket));
  }

  quota(bucket: string): ReturnType<Objects["quota"]> {
    return bucketQuota(this.#ctx, bucket);
  }

  setQuota(...[bucket, quota]: Parameters<Objects["setQuota"]>): ReturnType<Objects["setQuota"]> {
    return setBucketQuota(this.#ctx, bucket, quota);
  }

  accountQuota(account: string | undefined): ReturnType<Objects["accountQuota"]> {
    return accountQuota(this.#ctx, account);
  }

  setAccountQuota(...[account, quota]: Parameters<Objects["setAccountQuota"]>): ReturnType<Objects["setAccountQuota"]> {
    return setAccountQuota(this.#ctx, account, quota);
  }

  quotas(): ReturnType<Objects["quotas"]> {
    return storeQuotas(this.#ctx.kv);
  }

  put(options: PutOptions): Promise<PutResult> {
    return putObject(this.#ctx, options);
  }

  append(options: Arguments<"append">): Promise<PutResult> {
    return appendObject(this.#ctx, options);
  }

  get(options: GetOptions): Promise<GetOutcome> {
    return getObject(this.#ctx, options);
  }

  head(options: GetOptions): Promise<HeadOutcome> {
    return headObject(this.#ctx, options);
  }

  describe(options: Parameters<Objects["describe"]>[0]): Promise<ObjectInfo> {
    return describeObject(this.#ctx, options);
  }

  delete(options: Arguments<"delete">): ReturnType<Objects["delete"]> {
    return deleteObject(this.#ctx, options);
  }

  copy(options: Arguments<"copy">): ReturnType<Objects["copy"]> {
    return copyObject(this.#ctx, options);
  }

  rename(options: Arguments<"rename">): ReturnType<Objects["rename"]> {
    return renameObject(this.#ctx, options);
  }

  renamePrefix(options: Arguments<"renamePrefix">): ReturnType<Objects["renamePrefix"]> {
    return renamePrefix(this.#ctx, options);
  }

  commit(options: Arguments<"commit">): ReturnType<Objects["commit"]> {
    return commitEntries(this.#ctx, options);
  }

  setTags(options: Arguments<"setTags">): ReturnType<Objects["setTags"]> {
    return setTags(this.#ctx, options);
  }

  setAcl(options: Arguments<"setAcl">): ReturnType<Objects["setAcl"]> {
    return setAcl(this.#ctx, options);
  }

  setRetention(options: Arguments<"setRetention">): Promise<void> {
    return setRetention(this.#ctx, options);
  }

  setLegalHold(options: Arguments<"setLegalHold">): Promise<void> {
    return setLegalHold(this.#ctx, options);
  }

  list(options: Arguments<"list">): ReturnType<Objects["list"]> {
    return listObjects(this.#ctx, options);
  }

  listVersions(options: Arguments<"listVersions">): ReturnType<Objects["listVersions"]> {
    return listVersions(this.#ctx, options);
  }

  objectParts(options: Arguments<"objectParts">): ReturnType<Objects["objectParts"]> {
    return objectParts(this.#ctx, options);
  }

  layout(options: Arguments<"layout">): ReturnType<Objects["layout"]> {
    return objectLayout(this.#ctx, options);
  }

  createUpload(options: Arguments<"createUpload">): ReturnType<Objects["createUpload"]> {
    return this.#uploads.createUpload(options);
  }

  uploadPart(options: Arguments<"uploadPart">): ReturnType<Objects["uploadPart"]> {
    return this.#uploads.uploadPart(options);
  }

  uploadPartCopy(options: Arguments<"uploadPartCopy">): ReturnType<Objects["uploadPartCopy"]> {
    return this.#uploads.uploadPartCopy(options);
  }

  completeUpload(options: Arguments<"completeUpload">): Promise<PutResult> {
    return this.#uploads.completeUpload(options);
  }

  abortUpload(ref: Arguments<"abortUpload">): Promise<void> {
    return this.#uploads.abortUpload(ref);
  }

  listParts(options: Arguments<"listParts">): ReturnType<Objects["listParts"]> {
    return this.#uploads.listParts(options);
  }

  listUploads(options: Arguments<"listUploads">): ReturnType<Objects["listUploads"]> {
    return this.#uploads.listUploads(options);
  }
}
