/** `Objects` on a metadata store and a blob store. Every concern has a file of its own; this one only puts them together. */
import { BucketIds } from "./bucket_ids.ts";
import { bucketInfo, bucketUsage, createBucket, deleteBucket, listBuckets, setRedundancy } from "./buckets.ts";
import type { ObjectContext, ObjectParts } from "./context.ts";
import { copyObject } from "./copy.ts";
import { deleteObject } from "./delete.ts";
import { getObject, headObject } from "./get.ts";
import { objectLayout, objectParts } from "./layout.ts";
import { listObjects } from "./list.ts";
import type { BucketInfo, GetOptions, GetOutcome, HeadOutcome, Objects, PutOptions, PutResult } from "./object.ts";
import { putObject } from "./put.ts";
import { Uploads } from "./uploads.ts";

type Arguments<Name extends keyof Objects> = Parameters<Objects[Name]>[0];

export class ObjectStore implements Objects {
  readonly #ctx: ObjectContext;
  readonly #uploads: Uploads;

  constructor(parts: ObjectParts) {
    this.#ctx = { ...parts, bucketIds: new BucketIds() };
    this.#uploads = new Uploads(this.#ctx, (options) => this.get(options));
  }

  createBucket(name: string, options: { readonly region: string }): ReturnType<Objects["createBucket"]> {
    return createBucket(this.#ctx, name, options.region);
  }

  bucket(name: string): Promise<BucketInfo> {
    return bucketInfo(this.#ctx, name);
  }

  setRedundancy(...[name, redundancy]: Parameters<Objects["setRedundancy"]>): Promise<BucketInfo> {
    return setRedundancy(this.#ctx, name, redundancy);
  }

  listBuckets(options: Arguments<"listBuckets">): ReturnType<Objects["listBuckets"]> {
    return listBuckets(this.#ctx, options);
  }

  deleteBucket(name: string): Promise<void> {
    return deleteBucket(this.#ctx, name);
  }

  usage(bucket: string): ReturnType<Objects["usage"]> {
    return bucketUsage(this.#ctx, bucket);
  }

  put(options: PutOptions): Promise<PutResult> {
    return putObject(this.#ctx, options);
  }

  get(options: GetOptions): Promise<GetOutcome> {
    return getObject(this.#ctx, options);
  }

  head(options: GetOptions): Promise<HeadOutcome> {
    return headObject(this.#ctx, options);
  }

  delete(options: Arguments<"delete">): ReturnType<Objects["delete"]> {
    return deleteObject(this.#ctx, options);
  }

  copy(options: Arguments<"copy">): Promise<PutResult> {
    return copyObject(this.#ctx, options);
  }

  list(options: Arguments<"list">): ReturnType<Objects["list"]> {
    return listObjects(this.#ctx, options);
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
