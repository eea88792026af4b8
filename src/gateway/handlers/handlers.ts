/** One handler for each operation: a missing one does not compile. PostObject is not here: it tells who asks in its body. */
import { cors } from "../documents/cors.ts";
import { bucketEncryption, wantedOf } from "../documents/encryption.ts";
import { lifecycle } from "../documents/lifecycle.ts";
import { bucketLogging } from "../documents/logging.ts";
import { notification } from "../documents/notification.ts";
import { accelerate, ownershipControls, publicAccessBlock, requestPayment } from "../documents/switches.ts";
import { bucketTagging } from "../documents/tagging.ts";
import { website } from "../documents/website.ts";
import type { Handler } from "../exchange.ts";
import type { Operation } from "../operations.ts";
import { getBucketAcl, getObjectAcl, putBucketAcl, putObjectAcl } from "./acls.ts";
import { createBucket, deleteBucket, getBucketLocation, headBucket, listBuckets } from "./buckets.ts";
import { commitObjects } from "./commit.ts";
import * as configuration from "./configuration.ts";
import { copyObject } from "./copy.ts";
import { deleteObject, deleteObjects } from "./delete.ts";
import { deleteDocument, getDocument, putDocument, refuseDottedBucket, refuseSharedBucket } from "./documents.ts";
import { getObject, headObject } from "./get.ts";
import { getBucketLifecycle, putBucketLifecycle } from "./lifecycle.ts";
import { listObjects, listObjectsV2 } from "./list.ts";
import { putBucketLogging } from "./logging.ts";
import {
  abortMultipartUpload,
  completeMultipartUpload,
  createMultipartUpload,
  uploadPart,
  uploadPartCopy,
} from "./multipart.ts";
import { putBucketNotification } from "./notification.ts";
import { deleteBucketPolicy, getBucketPolicy, getBucketPolicyStatus, putBucketPolicy } from "./policies.ts";
import {
  getObjectLegalHold,
  getObjectLockConfiguration,
  getObjectRetention,
  putObjectLegalHold,
  putObjectLockConfiguration,
  putObjectRetention,
} from "./object_lock.ts";
import { putObject } from "./put.ts";
import { renameObject } from "./rename.ts";
import { getObjectTorrent, restoreObject } from "./ended.ts";
import { deleteObjectTagging, getObjectTagging, putObjectTagging } from "./tagging.ts";
import { getObjectAttributes, listMultipartUploads, listParts } from "./uploads.ts";
import { getBucketVersioning, listObjectVersions, putBucketVersioning } from "./versions.ts";

export const handlers: Readonly<Record<Exclude<Operation, "PostObject">, Handler>> = {
  ListBuckets: listBuckets,
  CreateBucket: createBucket,
  HeadBucket: headBucket,
  DeleteBucket: deleteBucket,
  ListObjects: listObjects,
  ListObjectsV2: listObjectsV2,
  ListObjectVersions: listObjectVersions,
  ListMultipartUploads: listMultipartUploads,
  DeleteObjects: deleteObjects,
  CommitObjects: commitObjects,
  GetBucketLocation: getBucketLocation,
  GetBucketVersioning: getBucketVersioning,
  PutBucketVersioning: putBucketVersioning,
  GetBucketAcl: getBucketAcl,
  PutBucketAcl: putBucketAcl,
  GetBucketPolicy: getBucketPolicy,
  PutBucketPolicy: putBucketPolicy,
  DeleteBucketPolicy: deleteBucketPolicy,
  GetBucketPolicyStatus: getBucketPolicyStatus,
  GetBucketCors: getDocument(cors),
  PutBucketCors: putDocument(cors),
  DeleteBucketCors: deleteDocument(cors),
  GetBucketLifecycle: getBucketLifecycle,
  PutBucketLifecycle: putBucketLifecycle,
  DeleteBucketLifecycle: deleteDocument(lifecycle),
  GetBucketEncryption: getDocument(bucketEncryption),
  PutBucketEncryption: putDocument(bucketEncryption, (value, _request, { objects }) =>
    objects.checkEncryption(wantedOf(value)),
  ),
  DeleteBucketEncryption: deleteDocument(bucketEncryption),
  GetBucketTagging: getDocument(bucketTagging),
  PutBucketTagging: putDocument(bucketTagging),
  DeleteBucketTagging: deleteDocument(bucketTagging),
  GetBucketWebsite: getDocument(website),
  PutBucketWebsite: putDocument(website),
  DeleteBucketWebsite: deleteDocument(website),
  GetBucketLogging: getDocument(bucketLogging),
  PutBucketLogging: putBucketLogging,
  GetBucketReplication: configuration.getBucketReplication,
  GetBucketAbac: configuration.getBucketAbac,
  GetBucketMetadataConfiguration: configuration.getBucketMetadataConfiguration,
  ListBucketAnalyticsConfigurations: configuration.listConfigurations("ListBucketAnalyticsConfigurationResult"),
  GetBucketAnalyticsConfiguration: configuration.getNamedConfiguration,
  ListBucketIntelligentTieringConfigurations: configuration.listConfigurations(
    "ListBucketIntelligentTieringConfigurationsOutput",
  ),
  GetBucketIntelligentTieringConfiguration: configuration.getNamedConfiguration,
  ListBucketInventoryConfigurations: configuration.listConfigurations("ListInventoryConfigurationsResult"),
  GetBucketInventoryConfiguration: configuration.getNamedConfiguration,
  ListBucketMetricsConfigurations: configuration.listConfigurations("ListMetricsConfigurationsResult"),
  GetBucketMetricsConfiguration: configuration.getNamedConfiguration,
  GetPublicAccessBlock: getDocument(publicAccessBlock),
  PutPublicAccessBlock: putDocument(publicAccessBlock),
  DeletePublicAccessBlock: deleteDocument(publicAccessBlock),
  GetBucketOwnershipControls: getDocument(ownershipControls),
  PutBucketOwnershipControls: putDocument(ownershipControls, refuseSharedBucket),
  DeleteBucketOwnershipControls: deleteDocument(ownershipControls),
  GetBucketRequestPayment: getDocument(requestPayment),
  PutBucketRequestPayment: putDocument(requestPayment),
  GetBucketAccelerate: getDocument(accelerate),
  PutBucketAccelerate: putDocument(accelerate, refuseDottedBucket),
  GetBucketNotification: getDocument(notification),
  PutBucketNotification: putBucketNotification,
  GetObjectLockConfiguration: getObjectLockConfiguration,
  PutObjectLockConfiguration: putObjectLockConfiguration,
  PutObject: putObject,
  CopyObject: copyObject,
  RenameObject: renameObject,
  GetObject: getObject,
  HeadObject: headObject,
  DeleteObject: deleteObject,
  GetObjectAttributes: getObjectAttributes,
  GetObjectTorrent: getObjectTorrent,
  GetObjectAcl: getObjectAcl,
  PutObjectAcl: putObjectAcl,
  GetObjectTagging: getObjectTagging,
  PutObjectTagging: putObjectTagging,
  DeleteObjectTagging: deleteObjectTagging,
  GetObjectRetention: getObjectRetention,
  PutObjectRetention: putObjectRetention,
  GetObjectLegalHold: getObjectLegalHold,
  PutObjectLegalHold: putObjectLegalHold,
  RestoreObject: restoreObject,
  CreateMultipartUpload: createMultipartUpload,
  UploadPart: uploadPart,
  UploadPartCopy: uploadPartCopy,
  CompleteMultipartUpload: completeMultipartUpload,
  AbortMultipartUpload: abortMultipartUpload,
  ListParts: listParts,
};
