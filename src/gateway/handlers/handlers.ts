/** One handler for each operation: a missing one does not compile. */
import type { Handler } from "../exchange.ts";
import type { Operation } from "../operations.ts";
import { createBucket, deleteBucket, getBucketLocation, headBucket, listBuckets } from "./buckets.ts";
import * as configuration from "./configuration.ts";
import { copyObject } from "./copy.ts";
import { deleteObject, deleteObjects } from "./delete.ts";
import { getObject, headObject } from "./get.ts";
import { listObjects, listObjectsV2, listObjectVersions } from "./list.ts";
import {
  abortMultipartUpload,
  completeMultipartUpload,
  createMultipartUpload,
  uploadPart,
  uploadPartCopy,
} from "./multipart.ts";
import { putObject } from "./put.ts";
import { getObjectAttributes, listMultipartUploads, listParts } from "./uploads.ts";

export const handlers: Readonly<Record<Operation, Handler>> = {
  ListBuckets: listBuckets,
  CreateBucket: createBucket,
  HeadBucket: headBucket,
  DeleteBucket: deleteBucket,
  ListObjects: listObjects,
  ListObjectsV2: listObjectsV2,
  ListObjectVersions: listObjectVersions,
  ListMultipartUploads: listMultipartUploads,
  DeleteObjects: deleteObjects,
  GetBucketLocation: getBucketLocation,
  GetBucketVersioning: configuration.getBucketVersioning,
  GetBucketAcl: configuration.getBucketAcl,
  GetBucketPolicy: configuration.getBucketPolicy,
  GetBucketCors: configuration.getBucketCors,
  GetBucketLifecycle: configuration.getBucketLifecycle,
  GetBucketEncryption: configuration.getBucketEncryption,
  GetBucketTagging: configuration.getBucketTagging,
  GetBucketWebsite: configuration.getBucketWebsite,
  GetBucketReplication: configuration.getBucketReplication,
  GetPublicAccessBlock: configuration.getPublicAccessBlock,
  GetBucketOwnershipControls: configuration.getBucketOwnershipControls,
  GetObjectLockConfiguration: configuration.getObjectLockConfiguration,
  PutObject: putObject,
  CopyObject: copyObject,
  GetObject: getObject,
  HeadObject: headObject,
  DeleteObject: deleteObject,
  GetObjectAttributes: getObjectAttributes,
  GetObjectAcl: configuration.getObjectAcl,
  GetObjectTagging: configuration.getObjectTagging,
  CreateMultipartUpload: createMultipartUpload,
  UploadPart: uploadPart,
  UploadPartCopy: uploadPartCopy,
  CompleteMultipartUpload: completeMultipartUpload,
  AbortMultipartUpload: abortMultipartUpload,
  ListParts: listParts,
};
