/** Versioning through the AWS SDK: what is kept, what is current, how versions and delete markers are named and told. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import {
  CompleteMultipartUploadCommand,
  CopyObjectCommand,
  CreateMultipartUploadCommand,
  DeleteBucketCommand,
  DeleteObjectCommand,
  DeleteObjectsCommand,
  GetBucketVersioningCommand,
  GetObjectAttributesCommand,
  GetObjectCommand,
  HeadObjectCommand,
  ListObjectsV2Command,
  ListObjectVersionsCommand,
  PutBucketVersioningCommand,
  PutObjectCommand,
  S3ServiceException,
  UploadPartCommand,
  UploadPartCopyCommand,
} from "@aws-sdk/client-s3";
import type { BucketVersioningStatus, PutObjectCommandInput } from "@aws-sdk/client-s3";
import { bytesOf, failsWith, pattern, startTestServer } from "./server.ts";
import type { TestServer } from "./server.ts";

let server: TestServer;
let buckets = 0;
before(async () => void (server = await startTestServer()));
after(() => server.close());

async function set(Bucket: string, Status: BucketVersioningStatus): Promise<void> {
  await server.s3.send(new PutBucketVersioningCommand({ Bucket, VersioningConfiguration: { Status } }));
}

/** A new bucket. */
async function versioned(Status?: BucketVersioningStatus): Promise<string> {
  const Bucket = `versions-${buckets++}`;
  await server.bucket(Bucket);
  if (Status !== undefined) await set(Bucket, Status);
  return Bucket;
}

async function put(Bucket: string, Key: string, Body: string, more: Partial<PutObjectCommandInput> = {}) {
  const { VersionId } = await server.s3.send(new PutObjectCommand({ Bucket, Key, Body, ...more }));
  return VersionId;
}

async function text(Bucket: string, Key: string, VersionId?: string): Promise<string> {
  const { Body } = await server.s3.send(new GetObjectCommand({ Bucket, Key, VersionId }));
  return (await bytesOf(Body)).toString();
}

/** `key id`, with `latest` and `marker` where that is so, in the order of the document. */
async function listed(Bucket: string): Promise<string[]> {
  const { text: xml } = await server.raw({ method: "GET", path: `/${Bucket}?versions` });
  return [...xml.matchAll(/<(Version|DeleteMarker)><Key>(.*?)<.*?<VersionId>(.*?)<.*?<IsLatest>(.*?)</g)].map(
    ([, kind, key, id, isLatest]) =>
      `${key} ${id}${isLatest === "true" ? " latest" : ""}${kind === "DeleteMarker" ? " marker" : ""}`,
  );
}

/** Status and headers of an error, as the SDK does not give them. */
async function refusal(method: "GET" | "HEAD", path: string) {
  const { status, headers, text: body } = await server.raw({ method, path });
  return {
    status,
    code: /<Code>(.*?)</.exec(body)?.[1],
    marker: headers["x-amz-delete-marker"],
    versionId: headers["x-amz-version-id"],
    allow: headers.allow,
    lastModified: headers["last-modified"],
  };
}

void test("versioning is never enabled, then enabled, suspended and enabled again, and never off again", async () => {
  const Bucket = await versioned();
  const status = async () => (await server.s3.send(new GetBucketVersioningCommand({ Bucket }))).Status;
  assert.equal(await status(), undefined);
  for (const next of ["Suspended", "Enabled", "Suspended", "Enabled"] as const) {
    await set(Bucket, next);
    assert.equal(await status(), next);
  }
  const path = `/${Bucket}?versioning`;
  for (const [inner, code] of [
    ["", "IllegalVersioningConfigurationException"],
    ["<Status>Off</Status>", "MalformedXML"],
    ["<Status></Status>", "MalformedXML"],
    ["<Status>Enabled</Status><Status>Suspended</Status>", "MalformedXML"],
    ["<Status>Enabled</Status><MfaDelete>Enabled</MfaDelete>", "NotImplemented"],
    ["<Status>Enabled</Status><MfaDelete>perhaps</MfaDelete>", "MalformedXML"],
  ] as const) {
    const body = Buffer.from(`<VersioningConfiguration>${inner}</VersioningConfiguration>`);
    const answer = await server.raw({ method: "PUT", path, body });
    assert.match(answer.text, new RegExp(`<Code>${code}<`), inner);
  }
  assert.equal(await status(), "Enabled");
  const missing = new PutBucketVersioningCommand({
    Bucket: "versions-missing",
    VersioningConfiguration: { Status: "Enabled" },
  });
  await failsWith(server.s3.send(missing), 404, "NoSuchBucket");
});

void test("every PUT makes a version, and each is read by its id", async () => {
  const Bucket = await versioned("Enabled");
  const bodies = ["one", "", "three".repeat(10_000), "four"];
  const ids = [];
  for (const body of bodies) ids.push(await put(Bucket, "k", body));
  assert.equal(new Set(ids).size, 4);
  for (const [index, id] of ids.entries()) {
    assert.match(id!, /^[\w-]{30}$/);
    assert.equal(await text(Bucket, "k", id), bodies[index]);
    const head = await server.s3.send(new HeadObjectCommand({ Bucket, Key: "k", VersionId: id }));
    assert.deepEqual([head.VersionId, head.ContentLength], [id, bodies[index]!.length]);
  }
  const current = await server.s3.send(new GetObjectCommand({ Bucket, Key: "k" }));
  assert.deepEqual([current.VersionId, (await bytesOf(current.Body)).toString()], [ids[3], "four"]);
  assert.deepEqual(await listed(Bucket), [`k ${ids[3]} latest`, `k ${ids[2]}`, `k ${ids[1]}`, `k ${ids[0]}`]);
});

void test("ranges, conditions and attributes are those of the version", async () => {
  const Bucket = await versioned("Enabled");
  const old = await put(Bucket, "k", "0123456789", { Metadata: { which: "old" } });
  await put(Bucket, "k", "new");
  const named = { Bucket, Key: "k", VersionId: old };
  const ranged = await server.s3.send(new GetObjectCommand({ ...named, Range: "bytes=2-4" }));
  assert.deepEqual(
    [(await bytesOf(ranged.Body)).toString(), ranged.VersionId, ranged.Metadata],
    ["234", old, { which: "old" }],
  );
  const IfMatch = ranged.ETag;
  assert.equal((await server.s3.send(new GetObjectCommand({ ...named, IfMatch }))).ETag, IfMatch);
  await failsWith(server.s3.send(new GetObjectCommand({ Bucket, Key: "k", IfMatch })), 412, "PreconditionFailed");
  const attributes = await server.s3.send(
    new GetObjectAttributesCommand({ ...named, ObjectAttributes: ["ObjectSize", "ETag"] }),
  );
  assert.deepEqual([attributes.ObjectSize, attributes.VersionId], [10, old]);
  const unchanged = await server.raw({
    method: "GET",
    path: `/${Bucket}/k?versionId=${old}`,
    headers: { "if-none-match": IfMatch! },
  });
  assert.deepEqual([unchanged.status, unchanged.headers["x-amz-version-id"]], [304, old]);
});

void test("DELETE makes a marker: the object is gone for readers and listings, its versions are not", async () => {
  const Bucket = await versioned("Enabled");
  const id = await put(Bucket, "k", "kept");
  const deleted = await server.s3.send(new DeleteObjectCommand({ Bucket, Key: "k" }));
  assert.equal(deleted.DeleteMarker, true);
  const marker = deleted.VersionId!;
  const gone = {
    status: 404,
    code: "NoSuchKey",
    marker: "true",
    versionId: marker,
    allow: undefined,
    lastModified: undefined,
  };
  assert.deepEqual(await refusal("GET", `/${Bucket}/k`), gone);
  assert.deepEqual(await refusal("HEAD", `/${Bucket}/k`), { ...gone, code: undefined });
  assert.deepEqual((await server.s3.send(new ListObjectsV2Command({ Bucket }))).KeyCount, 0);
  assert.equal(await text(Bucket, "k", id), "kept");
  assert.deepEqual(await listed(Bucket), [`k ${marker} latest marker`, `k ${id}`]);
});

// AWS sends no such header of a key that is not there; Ceph does, and clients read both as no marker.
void test("HEAD says of a key that is not there that it has no marker, GET says nothing", async () => {
  const Bucket = await versioned("Enabled");
  assert.deepEqual(
    [(await refusal("HEAD", `/${Bucket}/k`)).marker, (await refusal("GET", `/${Bucket}/k`)).marker],
    ["false", undefined],
  );
});

void test("a marker that is named is 405 with what may be done to it", async () => {
  const Bucket = await versioned("Enabled");
  const { VersionId: marker } = await server.s3.send(new DeleteObjectCommand({ Bucket, Key: "never" }));
  for (const method of ["GET", "HEAD"] as const) {
    const { lastModified, ...rest } = await refusal(method, `/${Bucket}/never?versionId=${marker}`);
    const code = method === "GET" ? "MethodNotAllowed" : undefined;
    assert.deepEqual(rest, { status: 405, code, marker: "true", versionId: marker, allow: "DELETE" });
    assert.ok(Date.parse(lastModified!) > 0);
  }
});

void test("removing the marker brings the object back", async () => {
  const Bucket = await versioned("Enabled");
  await put(Bucket, "k", "back");
  const { VersionId } = await server.s3.send(new DeleteObjectCommand({ Bucket, Key: "k" }));
  const removed = await server.s3.send(new DeleteObjectCommand({ Bucket, Key: "k", VersionId }));
  assert.deepEqual([removed.DeleteMarker, removed.VersionId], [true, VersionId]);
  assert.equal(await text(Bucket, "k"), "back");
});

void test("removing the current version makes the one before it current, removing another one changes nothing else", async () => {
  const Bucket = await versioned("Enabled");
  const ids: (string | undefined)[] = [];
  for (const body of ["one", "two".repeat(20_000), "three"]) ids.push(await put(Bucket, "k", body));
  const remove = (VersionId: string | undefined) =>
    server.s3.send(new DeleteObjectCommand({ Bucket, Key: "k", VersionId }));
  const removed = await remove(ids[2]);
  assert.deepEqual([removed.DeleteMarker, removed.VersionId], [undefined, ids[2]]);
  assert.equal(await text(Bucket, "k"), "two".repeat(20_000));
  await failsWith(server.s3.send(new GetObjectCommand({ Bucket, Key: "k", VersionId: ids[2] })), 404, "NoSuchVersion");
  await remove(ids[0]);
  assert.deepEqual(await listed(Bucket), [`k ${ids[1]} latest`]);
  await remove(ids[0]);
  await remove(ids[1]);
  assert.deepEqual(await listed(Bucket), []);
  await failsWith(server.s3.send(new GetObjectCommand({ Bucket, Key: "k" })), 404, "NoSuchKey");
});

void test("a version that is not there is NoSuchVersion, what is no version's id InvalidArgument", async () => {
  const Bucket = await versioned("Enabled");
  const id = await put(Bucket, "k", "x");
  const other = await put(Bucket, "other", "x");
  for (const VersionId of [other, "null", Buffer.alloc(22).toString("base64url")])
    await failsWith(server.s3.send(new GetObjectCommand({ Bucket, Key: "k", VersionId })), 404, "NoSuchVersion");
  for (const VersionId of ["x", `${id}A`, id!.slice(1), "Null", "~".repeat(30)]) {
    await failsWith(server.s3.send(new GetObjectCommand({ Bucket, Key: "k", VersionId })), 400, "InvalidArgument");
    await failsWith(server.s3.send(new DeleteObjectCommand({ Bucket, Key: "k", VersionId })), 400, "InvalidArgument");
  }
  const empty = await server.raw({ method: "GET", path: `/${Bucket}/k?versionId=` });
  assert.match(empty.text, /<Code>InvalidArgument<.*Version id cannot be the empty string/);
  assert.deepEqual(await listed(Bucket), [`k ${id} latest`, `other ${other} latest`]);
});

void test("what was there before versioning was enabled is the null version, and is kept", async () => {
  const Bucket = await versioned();
  assert.equal(await put(Bucket, "k", "before"), undefined);
  assert.equal((await server.s3.send(new HeadObjectCommand({ Bucket, Key: "k" }))).VersionId, undefined);
  await set(Bucket, "Enabled");
  assert.equal((await server.s3.send(new HeadObjectCommand({ Bucket, Key: "k" }))).VersionId, "null");
  const id = await put(Bucket, "k", "after");
  assert.deepEqual(await listed(Bucket), [`k ${id} latest`, "k null"]);
  assert.equal(await text(Bucket, "k", "null"), "before");
});

void test("while it is suspended writes replace the null version, wherever it stands, and keep all others", async () => {
  const Bucket = await versioned();
  await put(Bucket, "k", "null 1");
  await set(Bucket, "Enabled");
  const id = await put(Bucket, "k", "named");
  await set(Bucket, "Suspended");
  assert.equal(await put(Bucket, "k", "null 2"), undefined);
  assert.deepEqual(await listed(Bucket), ["k null latest", `k ${id}`]);
  assert.equal(await put(Bucket, "k", "null 3"), undefined);
  assert.equal(await text(Bucket, "k"), "null 3");
  assert.equal(await text(Bucket, "k", "null"), "null 3");
  assert.equal(await text(Bucket, "k", id), "named");
  const deleted = await server.s3.send(new DeleteObjectCommand({ Bucket, Key: "k" }));
  assert.deepEqual([deleted.DeleteMarker, deleted.VersionId], [true, "null"]);
  assert.deepEqual(await listed(Bucket), ["k null latest marker", `k ${id}`]);
  await set(Bucket, "Enabled");
  const next = await put(Bucket, "k", "again");
  assert.deepEqual(await listed(Bucket), [`k ${next} latest`, "k null marker", `k ${id}`]);
  await server.s3.send(new DeleteObjectCommand({ Bucket, Key: "k", VersionId: "null" }));
  assert.deepEqual(await listed(Bucket), [`k ${next} latest`, `k ${id}`]);
});

void test("conditions of writes judge the current version; a marker is as good as nothing", async () => {
  const Bucket = await versioned("Enabled");
  await put(Bucket, "k", "one", { IfNoneMatch: "*" });
  await failsWith(put(Bucket, "k", "two", { IfNoneMatch: "*" }), 412, "PreconditionFailed");
  const { VersionId: marker } = await server.s3.send(new DeleteObjectCommand({ Bucket, Key: "k" }));
  await failsWith(put(Bucket, "k", "two", { IfMatch: "*" }), 404, "NoSuchKey");
  await failsWith(server.s3.send(new DeleteObjectCommand({ Bucket, Key: "k", IfMatch: "*" })), 404, "NoSuchKey");
  const id = await put(Bucket, "k", "two", { IfNoneMatch: "*" });
  const wrong = '"00000000000000000000000000000000"';
  const conditional = (VersionId: string | undefined, IfMatch: string) =>
    server.s3.send(new DeleteObjectCommand({ Bucket, Key: "k", VersionId, IfMatch }));
  await failsWith(conditional(id, wrong), 412, "PreconditionFailed");
  await failsWith(conditional(marker, "*"), 404, "NoSuchKey");
  assert.equal((await listed(Bucket)).length, 3);
  const { ETag } = await server.s3.send(new HeadObjectCommand({ Bucket, Key: "k" }));
  await conditional(id, ETag!);
  assert.equal((await listed(Bucket)).length, 2);
  const sized = new DeleteObjectCommand({ Bucket, Key: "k", IfMatchSize: 3 });
  await failsWith(server.s3.send(sized), 412, "PreconditionFailed");
  assert.equal((await listed(Bucket)).length, 2, "no marker was made of it");
});

void test("DeleteObjects makes and removes markers and versions, and says which", async () => {
  const Bucket = await versioned("Enabled");
  const id = await put(Bucket, "a", "x");
  const { VersionId: marker } = await server.s3.send(new DeleteObjectCommand({ Bucket, Key: "b" }));
  const Objects = [
    { Key: "a", VersionId: id },
    { Key: "b", VersionId: marker },
    { Key: "c" },
    { Key: "d", VersionId: "x" },
  ];
  const { Deleted, Errors } = await server.s3.send(new DeleteObjectsCommand({ Bucket, Delete: { Objects } }));
  const made = Deleted![2]!.DeleteMarkerVersionId!;
  assert.deepEqual(Deleted, [
    { Key: "a", VersionId: id },
    { Key: "b", VersionId: marker, DeleteMarker: true, DeleteMarkerVersionId: marker },
    { Key: "c", DeleteMarker: true, DeleteMarkerVersionId: made },
  ]);
  assert.deepEqual(
    Errors?.map(({ Key, VersionId, Code }) => [Key, VersionId, Code]),
    [["d", "x", "InvalidArgument"]],
  );
  assert.deepEqual(await listed(Bucket), [`c ${made} latest marker`]);
});

void test("a copy names the version it was made from and the one it made; a marker is no source", async () => {
  const Bucket = await versioned("Enabled");
  const old = await put(Bucket, "from", "old".repeat(10_000), { Metadata: { m: "1" } });
  const newer = await put(Bucket, "from", "new");
  const copy = (Key: string, CopySource: string) => server.s3.send(new CopyObjectCommand({ Bucket, Key, CopySource }));
  const named = await copy("to", `${Bucket}/from?versionId=${old}`);
  assert.equal(named.CopySourceVersionId, old);
  assert.equal(await text(Bucket, "to", named.VersionId), "old".repeat(10_000));
  assert.equal((await copy("to", `${Bucket}/from`)).CopySourceVersionId, newer);
  const { VersionId: marker } = await server.s3.send(new DeleteObjectCommand({ Bucket, Key: "from" }));
  await failsWith(copy("to", `${Bucket}/from`), 404, "NoSuchKey");
  await failsWith(copy("to", `${Bucket}/from?versionId=${marker}`), 400, "InvalidRequest");
  await failsWith(copy("to", `${Bucket}/from?versionId=null`), 404, "NoSuchVersion");
  await failsWith(copy("to", `${Bucket}/from?versionId=x`), 400, "InvalidArgument");
  assert.equal((await listed(Bucket)).length, 5);
});

void test("a copy onto itself restores an old version, where there are versions", async () => {
  const Bucket = await versioned("Enabled");
  const old = await put(Bucket, "k", "old".repeat(10_000), { Metadata: { m: "1" } });
  await put(Bucket, "k", "new");
  await server.s3.send(new DeleteObjectCommand({ Bucket, Key: "k" }));
  const CopySource = `${Bucket}/k?versionId=${old}`;
  const { VersionId } = await server.s3.send(new CopyObjectCommand({ Bucket, Key: "k", CopySource }));
  assert.notEqual(VersionId, old);
  const got = await server.s3.send(new GetObjectCommand({ Bucket, Key: "k" }));
  assert.deepEqual([got.VersionId, got.Metadata], [VersionId, { m: "1" }]);
  assert.equal((await bytesOf(got.Body)).toString(), "old".repeat(10_000));
  await server.s3.send(new DeleteObjectCommand({ Bucket, Key: "k", VersionId: old }));
  assert.equal(await text(Bucket, "k"), "old".repeat(10_000), "the copy lives on");
  await server.s3.send(new CopyObjectCommand({ Bucket, Key: "k", CopySource: `${Bucket}/k` }));
  assert.equal((await listed(Bucket)).length, 4);
});

void test("a completed upload makes a version, and says which; parts are copied from versions", async () => {
  const Bucket = await versioned("Enabled");
  const Key = "k";
  const old = await put(Bucket, Key, "old");
  const source = await put(Bucket, "source", "last part");
  await put(Bucket, "source", "another one");
  const body = pattern(5 * 1024 * 1024);
  const { UploadId } = await server.s3.send(new CreateMultipartUploadCommand({ Bucket, Key }));
  const ref = { Bucket, Key, UploadId };
  const first = await server.s3.send(new UploadPartCommand({ ...ref, PartNumber: 1, Body: body }));
  const CopySource = `${Bucket}/source?versionId=${source}`;
  const second = await server.s3.send(new UploadPartCopyCommand({ ...ref, PartNumber: 2, CopySource }));
  assert.equal(second.CopySourceVersionId, source);
  const Parts = [
    { PartNumber: 1, ETag: first.ETag },
    { PartNumber: 2, ETag: second.CopyPartResult?.ETag },
  ];
  const complete = new CompleteMultipartUploadCommand({ ...ref, MultipartUpload: { Parts } });
  const { VersionId } = await server.s3.send(complete);
  assert.equal((await server.s3.send(complete)).VersionId, VersionId, "sent again it gets the same answer");
  assert.deepEqual((await listed(Bucket)).slice(0, 2), [`k ${VersionId} latest`, `k ${old}`]);
  await put(Bucket, Key, "newer");
  const got = await server.s3.send(new GetObjectCommand({ Bucket, Key, VersionId, PartNumber: 2 }));
  assert.deepEqual([(await bytesOf(got.Body)).toString(), got.PartsCount], ["last part", 2]);
});

void test("a bucket with a version or a marker left is not empty", async () => {
  const Bucket = await versioned("Enabled");
  const id = await put(Bucket, "k", "x");
  const { VersionId: marker } = await server.s3.send(new DeleteObjectCommand({ Bucket, Key: "k" }));
  const remove = () => server.s3.send(new DeleteBucketCommand({ Bucket }));
  await failsWith(remove(), 409, "BucketNotEmpty");
  await server.s3.send(new DeleteObjectCommand({ Bucket, Key: "k", VersionId: id }));
  await failsWith(remove(), 409, "BucketNotEmpty");
  await server.s3.send(new DeleteObjectCommand({ Bucket, Key: "k", VersionId: marker }));
  await remove();
});

void test("ListObjectVersions goes on in the middle of a key, groups by a delimiter and encodes", async () => {
  const Bucket = await versioned();
  await put(Bucket, "a b", "null");
  await set(Bucket, "Enabled");
  for (const key of ["a b", "a b", "f/1", "f/1", "f/2", "g"]) await put(Bucket, key, "x");
  await server.s3.send(new DeleteObjectCommand({ Bucket, Key: "g" }));
  const seen: string[] = [];
  let markers: { KeyMarker?: string | undefined; VersionIdMarker?: string | undefined } = {};
  for (let pages = 0, isTruncated = true; isTruncated; pages++) {
    assert.ok(pages < 20);
    const page = await server.s3.send(new ListObjectVersionsCommand({ Bucket, MaxKeys: 1, ...markers }));
    for (const { Key, VersionId } of [...(page.Versions ?? []), ...(page.DeleteMarkers ?? [])])
      seen.push(`${Key} ${VersionId}`);
    isTruncated = page.IsTruncated === true;
    markers = { KeyMarker: page.NextKeyMarker, VersionIdMarker: page.NextVersionIdMarker };
  }
  const all = (await listed(Bucket)).map((line) => line.replace(/( latest| marker)*$/, ""));
  assert.deepEqual(seen, all);
  const grouped = await server.s3.send(
    new ListObjectVersionsCommand({ Bucket, Delimiter: "/", MaxKeys: 5, EncodingType: "url" }),
  );
  assert.deepEqual(grouped.CommonPrefixes, [{ Prefix: "f/" }]);
  assert.deepEqual(
    grouped.DeleteMarkers?.map(({ Key, IsLatest }) => [Key, IsLatest]),
    [["g", true]],
  );
  assert.equal(grouped.NextKeyMarker, "g");
  const { text: raw } = await server.raw({ method: "GET", path: `/${Bucket}?versions&encoding-type=url&prefix=a%20b` });
  assert.equal(raw.match(/<Key>a%20b<\/Key>/g)?.length, 3);
  const older = new ListObjectVersionsCommand({ Bucket, KeyMarker: "a b", VersionIdMarker: "null", MaxKeys: 1 });
  assert.equal((await server.s3.send(older)).Versions?.[0]?.Key, "f/1");
  for (const [query, code] of [
    ["version-id-marker=null", "InvalidArgument"],
    ["key-marker=k&version-id-marker=x", "InvalidArgument"],
    ["encoding-type=x", "InvalidArgument"],
  ] as const) {
    const answer = await server.raw({ method: "GET", path: `/${Bucket}?versions&${query}` });
    assert.match(answer.text, new RegExp(`<Code>${code}<`), query);
  }
});

void test("a removal that asks to pass by object lock meets no lock", async () => {
  const Bucket = await versioned("Enabled");
  const VersionId = await put(Bucket, "k", "x");
  await server.s3.send(new DeleteObjectCommand({ Bucket, Key: "k", VersionId, BypassGovernanceRetention: true }));
  assert.deepEqual(await listed(Bucket), []);
});

void test("a bucket without versions has null versions only, by which they are read and deleted", async () => {
  const Bucket = await versioned();
  await put(Bucket, "k", "x");
  assert.equal(await text(Bucket, "k", "null"), "x");
  const VersionId = Buffer.alloc(22).toString("base64url");
  await failsWith(server.s3.send(new GetObjectCommand({ Bucket, Key: "k", VersionId })), 404, "NoSuchVersion");
  await server.s3.send(new DeleteObjectCommand({ Bucket, Key: "k", VersionId: "null" }));
  await assert.rejects(text(Bucket, "k"), (error) => error instanceof S3ServiceException && error.name === "NoSuchKey");
});

test("a delete marker is no source of a copy, of an object or of a part", async () => {
  const Bucket = await versioned("Enabled");
  await put(Bucket, "k", "one");
  const { VersionId } = await server.s3.send(new DeleteObjectCommand({ Bucket, Key: "k" }));
  const { UploadId } = await server.s3.send(new CreateMultipartUploadCommand({ Bucket, Key: "m" }));
  for (const [CopySource, status, code] of [
    [`${Bucket}/k`, 404, "NoSuchKey"],
    [`${Bucket}/k?versionId=${VersionId}`, 400, "InvalidRequest"],
  ] as const) {
    await failsWith(server.s3.send(new CopyObjectCommand({ Bucket, Key: "m", CopySource })), status, code);
    const part = { Bucket, Key: "m", UploadId, PartNumber: 1, CopySource };
    await failsWith(server.s3.send(new UploadPartCopyCommand(part)), status, code);
  }
});
