/**
 * `npm run bench -- --features` (builds first): what versions, policies, access logs, lifecycle and encryption cost, as ratios
 * within one run: the same load on a bucket with the feature and on a plain one, in turns; medians over rounds. One server, as
 * `npm run bench` starts it. Takes about half an hour on a slow machine, with --rounds 3 --seconds 2 about eight minutes. Options:
 * --rounds N, --seconds N (of each measurement).
 *
 * A PUT over an object is no PUT to a new key: a plain bucket throws the old object away and is as large as before, one with versions
 * keeps it. So small objects have a row for each.
 *
 * Where a user asks, the plain bucket is asked by the same user: what a key that is bound by policies costs by itself is a row of
 * its own, against the root key.
 */
import { randomBytes } from "node:crypto";
import { writeFileSync } from "node:fs";
import path from "node:path";
import { askAdmin } from "../src/client/admin_client.ts";
import { runLoad } from "../src/client/load.ts";
import { S3Client } from "../src/client/s3_client.ts";
import { createSigner } from "../src/client/signer.ts";
import { newKeys, startHoldfast, stop, type Keys } from "./launch.ts";
import { median, ratios } from "./statistics.ts";
import { printTable } from "./table.ts";

export type FeaturesOptions = {
  /** Where the drive is made; whoever calls removes it. */
  readonly folder: string;
  readonly workers: number;
  readonly rounds: number;
  /** Of each measurement. */
  readonly seconds: number;
};

/** Who asks: the root key, or a user's, which policies bind. */
type Who = "root" | "user";
type Server = { readonly url: URL; readonly keys: Readonly<Record<Who, Keys>> };

type Feature = {
  readonly name: string;
  readonly sizeBytes: number;
  /** Dresses a bucket that is there and plain. */
  readonly prepare?: (server: Server, bucket: string) => Promise<void>;
  readonly asks?: Who;
  /** Who asks the plain bucket. */
  readonly plainAsks?: Who;
  /** Of each PUT. */
  readonly headers?: Readonly<Record<string, string>>;
  readonly floor: number;
};

const KiB = 1_024;
const MiB = 1_024 * KiB;
const small = 4 * KiB;
const noWorse = 0.95;
const encrypted = { headers: { "x-amz-server-side-encryption": "AES256" }, floor: 0.7 };

const features: readonly Feature[] = [
  { name: "nothing", sizeBytes: small, floor: noWorse },
  { name: "versioning", sizeBytes: small, prepare: versioned, floor: noWorse },
  { name: "access log", sizeBytes: small, prepare: logged, floor: noWorse },
  { name: "lifecycle", sizeBytes: small, prepare: expiring, floor: noWorse },
  { name: "a user's key", sizeBytes: small, asks: "user", floor: noWorse },
  {
    name: "bucket policy of 100 statements, a user's key",
    sizeBytes: small,
    prepare: policed,
    asks: "user",
    plainAsks: "user",
    floor: noWorse,
  },
  { name: "SSE-S3", sizeBytes: small, ...encrypted },
  { name: "SSE-S3", sizeBytes: 64 * MiB, ...encrypted },
];

function clientOf({ url, keys }: Server): S3Client {
  return new S3Client({ endpoint: url, ...keys.root, region: "us-east-1" });
}

async function configure(server: Server, bucket: string, sub: string, document: string): Promise<void> {
  await clientOf(server).run({ method: "PUT", bucket, query: { [sub]: "" }, body: Buffer.from(document) });
}

function versioned(server: Server, bucket: string): Promise<void> {
  const document = "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
  return configure(server, bucket, "versioning", document);
}

async function logged(server: Server, bucket: string): Promise<void> {
  const target = `${bucket}-log`;
  await clientOf(server).run({ method: "PUT", bucket: target, headers: { "x-amz-acl": "log-delivery-write" } });
  const where = `<TargetBucket>${target}</TargetBucket><TargetPrefix>log/</TargetPrefix>`;
  const document = `<BucketLoggingStatus><LoggingEnabled>${where}</LoggingEnabled></BucketLoggingStatus>`;
  await configure(server, bucket, "logging", document);
}

function expiring(server: Server, bucket: string): Promise<void> {
  const what = "<ID>all</ID><Status>Enabled</Status><Filter></Filter><Expiration><Days>30</Days></Expiration>";
  const document = `<LifecycleConfiguration><Rule>${what}</Rule></LifecycleConfiguration>`;
  return configure(server, bucket, "lifecycle", document);
}

/** Each statement is as near to applying as it can be. */
function policed(server: Server, bucket: string): Promise<void> {
  const Statement = Array.from({ length: 100 }, (_, index) => ({
    Effect: "Allow",
    Principal: "*",
    Action: "s3:GetObject",
    Resource: `arn:aws:s3:::${bucket}/team-${index}/*`,
    Condition: { IpAddress: { "aws:SourceIp": `10.${index}.0.0/16` } },
  }));
  return configure(server, bucket, "policy", JSON.stringify({ Version: "2012-10-17", Statement }));
}

/** A user who may do everything, because a policy says so. */
async function makeUser(url: URL, root: Keys): Promise<Keys> {
  const ask = (method: string, place: string, body: object) =>
    askAdmin({ endpoint: url, ...root }, { method, path: `/_/admin/${place}`, body });
  await ask("POST", "users", { name: "bench" });
  const document = { Version: "2012-10-17", Statement: [{ Effect: "Allow", Action: "s3:*", Resource: "*" }] };
  await ask("PUT", "users/bench/inline/all", { document: JSON.stringify(document) });
  const { accessKey, secretKey } = await ask("POST", "keys", { user: "bench" });
  return { accessKey: String(accessKey), secretKey: String(secretKey) };
}

type Load = {
  readonly server: Server;
  readonly bucket: string;
  readonly feature: Feature;
  readonly who: Who;
  readonly isPlain: boolean;
  readonly seconds: number;
};

const bodies: ReadonlyMap<number, Buffer> = new Map(
  [small, 64 * MiB].map((sizeBytes) => [sizeBytes, randomBytes(sizeBytes)]),
);
const objectsOf = (sizeBytes: number): number => (sizeBytes === small ? 5_000 : 8);

/** `again`: of the same few keys, which are there; `new`: of keys that are not. */
type Work = "PUT new" | "PUT again" | "GET again";
const worksOf = (sizeBytes: number): readonly Work[] =>
  sizeBytes === small ? ["PUT again", "PUT new", "GET again"] : ["PUT again", "GET again"];

/** Of the whole run: no key is new twice. */
let newKeysMade = 0;

/** Requests per second. */
async function rate(work: Work, load: Load, requestsMax = Number.MAX_SAFE_INTEGER): Promise<number> {
  const { server, bucket, feature, who, isPlain, seconds } = load;
  const { sizeBytes } = feature;
  const signer = createSigner({ ...server.keys[who], region: "us-east-1", host: server.url.host });
  const method = work === "GET again" ? "GET" : "PUT";
  const own = method === "PUT" && !isPlain ? feature.headers : undefined;
  const result = await runLoad({
    url: server.url,
    connections: sizeBytes === small ? 64 : 4,
    requestsMax,
    durationMsMax: seconds * 1_000,
    next: (index) => {
      const key = work === "PUT new" ? `new-${newKeysMade++}` : index % objectsOf(sizeBytes);
      const target = `/${bucket}/${key}`;
      const headers = signer.sign({ method, path: target, query: "", ...(own && { headers: own }) });
      return { method, target, headers, ...(method === "PUT" && { body: bodies.get(sizeBytes)! }) };
    },
  });
  if (result.errors > 0) throw new Error(`${feature.name}, ${work}: ${result.firstError}`);
  return result.requestsPerSecond;
}

async function rowsOf(server: Server, feature: Feature, index: number, options: FeaturesOptions): Promise<string[][]> {
  const { rounds, seconds } = options;
  const [plain, dressed] = [`plain-${index}`, `dressed-${index}`];
  for (const bucket of [plain, dressed]) await clientOf(server).run({ method: "PUT", bucket });
  await feature.prepare?.(server, dressed);
  const common = { server, feature, seconds };
  const against: Load = { ...common, bucket: plain, who: feature.plainAsks ?? "root", isPlain: true };
  const measured: Load = { ...common, bucket: dressed, who: feature.asks ?? "root", isPlain: false };
  // So that there is everything to GET and to PUT again, and compilers are warm.
  for (const load of [against, measured])
    await rate("PUT again", { ...load, seconds: 60 }, objectsOf(feature.sizeBytes));
  const rows: string[][] = [];
  for (const work of worksOf(feature.sizeBytes)) {
    // What the work does is warm too; the first PUT over each object has happened.
    for (const load of [against, measured]) await rate(work, { ...load, seconds: 60 }, objectsOf(feature.sizeBytes));
    const [with_, without]: [number[], number[]] = [[], []];
    for (let round = 0; round < rounds; round++) {
      without.push(await rate(work, against));
      with_.push(await rate(work, measured));
    }
    rows.push(row(`${titleOf(work, feature.sizeBytes)}, ${feature.name}`, feature, with_, without));
  }
  return rows;
}

function titleOf(work: Work, sizeBytes: number): string {
  if (sizeBytes !== small) return `${work === "GET again" ? "GET" : "PUT"} 64 MiB`;
  return { "PUT new": "PUT 4 KiB, new keys", "PUT again": "PUT 4 KiB, over objects", "GET again": "GET 4 KiB" }[work];
}

function row(name: string, { floor }: Feature, measured: readonly number[], against: readonly number[]): string[] {
  const found = ratios(measured, against);
  const spread = `${found.median.toFixed(2)} (${found.least.toFixed(2)}–${found.most.toFixed(2)})`;
  const perSecond = (rates: readonly number[]): string => median(rates).toFixed(median(rates) < 100 ? 1 : 0);
  return [name, spread, `≥ ${floor}`, perSecond(measured), perSecond(against)];
}

export async function benchFeatures(options: FeaturesOptions): Promise<void> {
  const { folder, workers } = options;
  const root = newKeys();
  const keyFile = path.join(folder, "master.key");
  writeFileSync(keyFile, randomBytes(32), { mode: 0o600 });
  const drives = [path.join(folder, "data")];
  const launched = await startHoldfast({ drives, workers, keys: root, more: ["--encryption-key-file", keyFile] });
  try {
    const url = new URL(launched.line);
    const server: Server = { url, keys: { root, user: await makeUser(url, root) } };
    const rows: string[][] = [["work", "ratio (rounds)", "floor", "with it, per second", "without"]];
    for (const [index, feature] of features.entries()) {
      rows.push(...(await rowsOf(server, feature, index, options)));
      process.stderr.write(`${feature.name}: measured\n`);
    }
    printTable(rows);
  } finally {
    await stop(launched.child);
  }
}
