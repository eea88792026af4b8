import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { HoldfastError } from "../core/errors.ts";
import { limits } from "../core/limits.ts";
import type { Redundancy } from "../core/redundancy.ts";
import { advertisedUrl, readSettings, settingNames, variableOf, type SettingSources } from "./settings.ts";

const none: SettingSources = { flags: {}, environment: {} };

function refusalOf(sources: Partial<SettingSources>): string {
  try {
    readSettings({ ...none, ...sources });
  } catch (error) {
    assert.ok(error instanceof HoldfastError && error.reason === "invalid_argument");
    return error.message;
  }
  return assert.fail("was accepted");
}

test("defaults", () => {
  const found = readSettings(none);
  assert.deepEqual(found.listen, { host: "127.0.0.1", port: 9000 });
  assert.equal(found.region, "us-east-1");
  assert.equal(found["files-bucket"], "files");
  assert.equal(found["root-secret-key"], undefined);
  assert.ok(found.workers >= 1);
});

test("flags win over variables, variables over the file", () => {
  const file = { path: "c.json", content: JSON.stringify({ region: "file", workers: 3, domain: ["a.org", "b.org"] }) };
  const environment = { HOLDFAST_REGION: "variable", HOLDFAST_FILES_BUCKET: "my-files", PATH: "/bin" };
  const found = readSettings({ flags: { region: "flag" }, environment, file });
  assert.equal(found.region, "flag");
  assert.equal(found.workers, 3);
  assert.equal(found["files-bucket"], "my-files");
  assert.deepEqual(found.domain, ["a.org", "b.org"]);
  assert.equal(readSettings({ ...none, environment, file }).region, "variable");
});

test("addresses", () => {
  const listen = (text: string) => readSettings({ ...none, flags: { listen: text } }).listen;
  assert.deepEqual(listen("[::1]:80"), { host: "::1", port: 80 });
  assert.deepEqual(listen(":0"), { host: "::", port: 0 });
  assert.deepEqual(listen("store.example.org:443"), { host: "store.example.org", port: 443 });
  for (const bad of ["9000", "a:b", "host:65536", "[nope]:1", "a b:1", "::1:80", ""]) {
    assert.match(refusalOf({ flags: { listen: bad } }), /--listen must be HOST:PORT/);
  }
});

test("what is unknown or malformed is named, where it stands", () => {
  assert.match(refusalOf({ environment: { HOLDFAST_WORKER: "2" } }), /HOLDFAST_WORKER is not a setting/);
  assert.match(
    refusalOf({ environment: { HOLDFAST_WORKERS: "0" } }),
    /variable HOLDFAST_WORKERS must be a whole number/,
  );
  // Also when a flag overrules it.
  assert.match(refusalOf({ flags: { workers: "1" }, environment: { HOLDFAST_WORKERS: "x" } }), /HOLDFAST_WORKERS/);
  assert.match(refusalOf({ flags: { "drive-away": "0" } }), /--drive-away must be a whole number of seconds/);
  assert.match(refusalOf({ flags: { "lifecycle-day": "0" } }), /--lifecycle-day must be a whole number of seconds/);
  const file = (content: string) => ({ file: { path: "c.json", content } });
  assert.match(refusalOf(file("{")), /c\.json is not JSON/);
  assert.match(refusalOf(file("[]")), /must hold one JSON object/);
  assert.match(refusalOf(file('{"wrokers": 1}')), /"wrokers" in the config file c\.json is not a setting/);
  assert.match(refusalOf(file('{"region": 7}')), /"region" in the config file c\.json must be a region name/);
  assert.match(refusalOf(file('{"__proto__": 1}')), /"__proto__" .* is not a setting/);
  assert.match(refusalOf({ flags: { drives: ["a", "a"] } }), /names one directory twice/);
  assert.match(refusalOf({ flags: { "files-bucket": "Files" } }), /--files-bucket must be a bucket name/);
});

test("a domain is one of buckets or one of websites", () => {
  const flags = { domain: "s3.example.org", "website-domain": "web.example.org,Sites.example.org" };
  assert.deepEqual(readSettings({ ...none, flags })["website-domain"], ["web.example.org", "Sites.example.org"]);
  const twice = { domain: "s3.example.org", "website-domain": "S3.example.org" };
  assert.match(refusalOf({ flags: twice }), /as domain and as website-domain/);
});

test("what a node of a cluster needs is asked for", () => {
  const metadata = "postgres://u:hush@db/x";
  const cluster = { metadata, "cluster-secret-file": "s", drives: ["a"] };
  assert.match(refusalOf({ flags: { metadata } }), /cluster-secret-file go together/);
  assert.match(refusalOf({ flags: { advertise: "http://h:1" } }), /advertise and metadata go together/);
  assert.match(refusalOf({ flags: { ...cluster, "metadata-copies": "2" } }), /metadata-copies/);
  assert.match(refusalOf({ flags: { ...cluster, listen: ":9000" } }), /set advertise/);
  assert.match(refusalOf({ flags: { ...cluster, advertise: "http://h:1/path" } }), /--advertise must be/);
  assert.match(refusalOf({ flags: { ...cluster, advertise: "ftp://h:1" } }), /--advertise must be/);
  assert.match(refusalOf({ flags: { ...cluster, zone: "a b" } }), /--zone must be/);
  const below = { ...cluster, domain: ["s3.example.org"], advertise: "http://n1.s3.example.org:9000" };
  assert.match(refusalOf({ flags: below }), /bucket of the domain/);
  const within = { ...cluster, "website-domain": ["example.org"], advertise: "http://example.org:9000" };
  assert.match(refusalOf({ flags: within }), /website of the domain/);
  const message = refusalOf({ flags: { metadata: "mysql://u:hush@db/x" } });
  assert.match(message, /--metadata will not do/);
  assert.ok(!message.includes("hush"));
});

test("a node is reached where it listens, unless it says otherwise", () => {
  const flags = { metadata: "etcd://h/x", "cluster-secret-file": "s", listen: "[::1]:9001" };
  assert.equal(advertisedUrl(readSettings({ ...none, flags })), "http://[::1]:9001");
  const tls = { ...flags, "tls-cert": "c", "tls-key": "k" };
  assert.equal(advertisedUrl(readSettings({ ...none, flags: tls })), "https://[::1]:9001");
  const told = readSettings({ ...none, flags: { ...flags, listen: ":9000", advertise: "http://n1:9000/" } });
  assert.equal(advertisedUrl(told), "http://n1:9000");
  // As a cluster's name service makes them.
  const long = `http://holdfast-0.holdfast.${"n".repeat(63)}.svc.cluster.local:9000`;
  assert.equal(advertisedUrl(readSettings({ ...none, flags: { ...flags, advertise: long } })), long);
  const tooLong = `http://${"n".repeat(limits.peerNameCharsMax)}:9000`;
  assert.throws(() => readSettings({ ...none, flags: { ...flags, advertise: tooLong } }), /--advertise must be/);
});

test("a refusal never repeats a secret", () => {
  const message = refusalOf({ ...none, file: { path: "c.json", content: '{"root-secret-key": ["hush-hush"]}' } });
  assert.match(message, /root-secret-key/);
  assert.ok(!message.includes("hush"));
});

test("client variables are no mistake", () => {
  const environment = { HOLDFAST_URL: "x", HOLDFAST_ACCESS_KEY: "x", HOLDFAST_SECRET_KEY: "x", HOLDFAST_CONFIG: "x" };
  assert.doesNotThrow(() => readSettings({ ...none, environment }));
});

test("the reduced redundancy has a drive for each shard and bears no more losses than the other", () => {
  const drives = ["/a", "/b", "/c", "/d", "/e", "/f"];
  const read = (flags: Record<string, string>): Redundancy | undefined =>
    readSettings({ ...none, flags: { drives, ...flags } })["reduced-redundancy"];
  const reduced = (text: string): Record<string, string> => ({ "reduced-redundancy": text });
  assert.equal(read({}), undefined);
  assert.deepEqual(read(reduced("ec:5+1")), { dataShards: 5, parityShards: 1 });
  assert.match(refusalOf({ flags: { drives, ...reduced("ec:6+1") } }), /needs 7 drives/);
  assert.match(refusalOf({ flags: { drives, ...reduced("ec:3+3") } }), /ec:3\+3 bears more losses than ec:4\+2/);
  const one = { redundancy: "replica:1" };
  assert.match(refusalOf({ flags: { drives, ...one, ...reduced("replica:2") } }), /more losses than replica:1/);
});

test("any text as any setting is read or refused with its name", () => {
  fc.assert(
    fc.property(fc.constantFrom(...settingNames), fc.string(), (name, text) => {
      try {
        readSettings({ ...none, environment: { [variableOf(name)]: text } });
      } catch (error) {
        assert.ok(error instanceof HoldfastError, String(error));
        assert.ok(error.message.includes(variableOf(name)) || /go together|names one/.test(error.message));
      }
    }),
  );
});

test("the address of a key service is read, and one that holds a password is refused without showing it", () => {
  const flags = { kms: "vault+https://vault.example:8200/transit?namespace=a", "kms-token-file": "token" };
  const found = readSettings({ ...none, flags: { ...flags, "kms-s3-key": "vault:blue", "kms-cache": "0" } });
  assert.deepEqual(found.kms, { origin: "https://vault.example:8200", mount: "transit", namespace: "a" });
  assert.deepEqual([found["kms-s3-key"], found["kms-cache"]], ["vault:blue", 0]);
  const said = refusalOf({ flags: { ...flags, kms: "vault+https://me:pass-word@vault.example/transit" } });
  assert.match(said, /--kms must be vault\+https:\/\/HOST:PORT\/MOUNT/);
  assert.doesNotMatch(said, /pass-word/);
});
