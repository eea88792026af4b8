/**
 * Rights that change while they are used: what a request may do is what they said between its beginning and its end, whoever changed
 * them and wherever. Two gateways that share nothing but the metadata answer one user's key and session while the user's
 * policies, group, boundary and key and the bucket change through either. Once a change is acknowledged nothing older counts. What the bucket
 * says may be of a later state than what is known of the user, and never of an earlier one.
 */
import assert from "node:assert/strict";
import path from "node:path";
import { test } from "node:test";
import fc from "fast-check";
import { signRequest } from "../../src/gateway/sigv4.ts";
import { EtcdFixture, etcdMissing } from "../../src/kv/etcd.fixture.ts";
import { openEtcdKv } from "../../src/kv/etcd.ts";
import type { Kv } from "../../src/kv/kv.ts";
import { openLmdbKv } from "../../src/kv/lmdb.ts";
import { openMemoryKv } from "../../src/kv/memory.ts";
import { postgresMissing, startPostgres } from "../../src/kv/postgres.fixture.ts";
import { openPostgresKv } from "../../src/kv/postgres.ts";
import { ServerProcess } from "../crash/server_process.ts";
import { temporaryFolder } from "../server/harness.ts";
import { sendRaw, startTestServer, type TestServer } from "./server.ts";

const sayings = ["nothing", "allow", "deny"] as const;
type Saying = (typeof sayings)[number];
const owners = ["nobody", "own", "other"] as const;

/** What counts, as it was acknowledged. */
type State = {
  readonly inline: Saying;
  readonly ofGroup: Saying;
  readonly isMember: boolean;
  readonly managed: Saying;
  readonly isBounded: boolean;
  readonly isOn: boolean;
  readonly bucket: (typeof owners)[number];
  readonly policy: Saying;
};
const first: State = {
  inline: "nothing",
  ofGroup: "nothing",
  isMember: false,
  managed: "nothing",
  isBounded: false,
  isOn: true,
  bucket: "own",
  policy: "nothing",
};

type Asker = "key" | "session";

function statusIn(state: State, asker: Asker): number {
  const { inline, ofGroup, isMember, managed, isBounded, isOn, bucket, policy } = state;
  if (asker === "key" && !isOn) return 403;
  if (bucket === "nobody") return 404;
  const ofUser = [inline, isMember ? ofGroup : "nothing", managed];
  if ([...ofUser, policy].includes("deny")) return 403;
  const isByUser = ofUser.includes("allow") && !isBounded;
  // The bucket's names the user: not the session, which is the user's all the same.
  const isByBucket = policy === "allow";
  return (bucket === "other" ? isByUser && isByBucket : isByUser || isByBucket) ? 200 : 403;
}

const saying = fc.constantFrom(...sayings);
const change = fc.oneof(
  saying.map((inline) => ({ inline })),
  saying.map((ofGroup) => ({ ofGroup })),
  fc.boolean().map((isMember) => ({ isMember })),
  saying.map((managed) => ({ managed })),
  fc.boolean().map((isBounded) => ({ isBounded })),
  fc.boolean().map((isOn) => ({ isOn })),
  fc.constantFrom(...owners).map((bucket) => ({ bucket })),
  { weight: 2, arbitrary: saying.map((policy) => ({ policy })) },
);
type Change = Partial<State>;
const step = fc.record({ changes: fc.array(change, { minLength: 1, maxLength: 4 }), by: fc.nat({ max: 1 }) });

const Bucket = "changing";
const documentOf = (Effect: "Allow" | "Deny", more: object = {}): string => {
  const Statement = { Effect, Action: "s3:ListBucket", Resource: `arn:aws:s3:::${Bucket}`, ...more };
  return JSON.stringify({ Version: "2012-10-17", Statement });
};
const saidBy = (said: Saying, more?: object): string | undefined =>
  said === "nothing" ? undefined : documentOf(said === "allow" ? "Allow" : "Deny", more);

/** Where changes are made, and where requests go. */
type Site = Pick<TestServer, "identity" | "objects" | "port">;
type Credentials = { readonly accessKey: string; readonly secretKey: string; readonly token?: string };

/** One user of its own for each run, and the bucket, which is always the same. */
class World {
  readonly #sites: readonly Site[];
  readonly #user: string;
  readonly #accounts: { readonly own: string; readonly other: string };
  #policyArn = "";
  #boundaryArn = "";
  #askers: Readonly<Record<Asker, Credentials>> | undefined;
  /** Each change makes another one. */
  readonly states: State[] = [first];
  #acknowledged = 0;

  constructor(sites: readonly Site[], user: string, accounts: { readonly own: string; readonly other: string }) {
    this.#sites = sites;
    this.#user = user;
    this.#accounts = accounts;
  }

  async begin(): Promise<void> {
    const { identity, objects } = this.#sites[0]!;
    const { directory } = identity;
    const [account, name] = [this.#accounts.own, this.#user];
    const { id } = await directory.createUser({ account, name });
    await directory.createGroup({ account, name });
    const document = documentOf("Allow", { Resource: "arn:aws:s3:::elsewhere" });
    this.#policyArn = (await directory.createPolicy({ account, name, document })).arn;
    this.#boundaryArn = (await directory.createPolicy({ account, name: `${name}-bound`, document })).arn;
    await directory.attachPolicy({ kind: "user", account, name }, this.#policyArn);
    const principal = { kind: "user", account, user: name, id } as const;
    const { session, token } = await identity.begin({ principal, seconds: 900, secondsMax: 900 });
    const key = await identity.create({ owner: principal });
    this.#askers = { key, session: { ...session, token } };
    await objects.createBucket(Bucket, { region: "us-east-1", account });
  }

  async end(): Promise<void> {
    if (this.#newest.bucket !== "nobody") await this.#sites[0]!.objects.deleteBucket(Bucket);
  }

  get #newest(): State {
    return this.states.at(-1)!;
  }

  async change(by: number, change: Change): Promise<void> {
    const before = this.#newest;
    const after = { ...before, ...change };
    if ("bucket" in change && before.bucket !== "nobody" && before.bucket !== change.bucket) {
      await this.#become({ ...after, bucket: "nobody", policy: "nothing" }, () => this.#removeBucket(by));
      if (after.bucket === "nobody") return;
    }
    if ("policy" in change && before.bucket === "nobody") return;
    const policy = "bucket" in change && before.bucket !== change.bucket ? "nothing" : after.policy;
    await this.#become({ ...after, policy }, () => this.#apply(by, before, after));
  }

  async #become(state: State, work: () => Promise<unknown>): Promise<void> {
    this.states.push(state);
    await work();
    this.#acknowledged = this.states.length - 1;
  }

  #removeBucket(by: number): Promise<void> {
    return this.#sites[by]!.objects.deleteBucket(Bucket);
  }

  async #apply(by: number, before: State, after: State): Promise<void> {
    const { identity, objects } = this.#sites[by]!;
    const { directory } = identity;
    const [account, name] = [this.#accounts.own, this.#user];
    const [user, group] = [{ kind: "user", account, name } as const, { kind: "group", account, name } as const];
    const inline = (holder: typeof user | typeof group, said: Saying): Promise<unknown> => {
      const document = saidBy(said) ?? documentOf("Allow", { Resource: "arn:aws:s3:::elsewhere" });
      return directory.putInlinePolicy(holder, { name: "own", document });
    };
    if (before.inline !== after.inline) await inline(user, after.inline);
    if (before.ofGroup !== after.ofGroup) await inline(group, after.ofGroup);
    const { isMember, isBounded, managed, isOn, bucket } = after;
    if (before.isMember !== isMember) await directory.setMembership(account, { user: name, group: name, isMember });
    if (before.isBounded !== isBounded)
      await directory.setBoundary(account, name, isBounded ? this.#boundaryArn : undefined);
    if (before.managed !== managed) {
      const document = saidBy(managed) ?? documentOf("Allow", { Resource: "arn:aws:s3:::elsewhere" });
      await directory.setPolicyDocument(account, this.#policyArn, document);
    }
    if (before.isOn !== isOn) await identity.switchKey(this.#askers!.key.accessKey, isOn);
    if (before.bucket !== bucket && bucket !== "nobody")
      await objects.createBucket(Bucket, { region: "us-east-1", account: this.#accounts[bucket] });
    else if (before.policy !== after.policy) await this.#setPolicy(by, after.policy);
  }

  async #setPolicy(by: number, said: Saying): Promise<void> {
    const Principal = { AWS: `arn:aws:iam::${this.#accounts.own}:user/${this.#user}` };
    const text = saidBy(said, { Principal });
    const document = text === undefined ? undefined : Buffer.from(text);
    await this.#sites[by]!.objects.setConfiguration({ bucket: Bucket, kind: "policy", document });
  }

  /** The answer must be that of states that there may have been meanwhile. */
  async ask(of: number, asker: Asker): Promise<void> {
    const from = this.#acknowledged;
    const status = await this.#statusAt(this.#sites[of]!.port, this.#askers![asker]);
    const states = this.states.slice(from);
    const possible = states.flatMap((state, at) =>
      states.slice(at).map(({ bucket, policy }) => statusIn({ ...state, bucket, policy }, asker)),
    );
    assert.ok(possible.includes(status), `${asker}: ${status}, ${possible.join()} in ${JSON.stringify(states)}`);
  }

  async #statusAt(port: number, { accessKey, secretKey, token }: Credentials): Promise<number> {
    const path = `/${Bucket}`;
    const { headers } = signRequest({
      accessKey,
      secretKey,
      region: "us-east-1",
      method: "GET",
      rawPath: path,
      headers: { host: `127.0.0.1:${port}`, ...(token !== undefined && { "x-amz-security-token": token }) },
      nowMs: Date.now(),
    });
    return (await sendRaw(port, { method: "GET", path, headers })).status;
  }
}

const askers: readonly Asker[] = ["key", "session"];

async function runAll(sites: readonly [Site, Site], numRuns: number): Promise<void> {
  const { directory } = sites[0].identity;
  const accounts = {
    own: (await directory.ownAccount()).account,
    other: (await directory.createAccount("other")).account,
  };
  let users = 0;
  const steps = fc.array(step, { minLength: 8, maxLength: 16, size: "max" });
  await fc.assert(
    fc.asyncProperty(steps, async (all) => {
      const world = new World(sites, `user-${(users += 1)}`, accounts);
      await world.begin();
      for (const each of all) await take(world, each);
      await world.end();
    }),
    { numRuns, endOnFailure: true },
  );
}

async function runOn(kvs: readonly [Kv, Kv], numRuns: number): Promise<void> {
  const servers = [await startTestServer({ kv: kvs[0] }), await startTestServer({ kv: kvs[1] })] as const;
  try {
    await runAll(servers, numRuns);
  } finally {
    for (const server of servers) await server.close();
  }
}

/** Asked at both while it changes, without a pause, and at once when it has changed. */
async function take(world: World, { changes, by }: { readonly changes: readonly Change[]; readonly by: number }) {
  let isChanging = true;
  const lanes = askers.map(async (asker, at) => {
    for (let turn = at; isChanging; turn++) await world.ask(turn % 2, asker);
  });
  try {
    for (const each of changes) await world.change(by, each);
  } finally {
    isChanging = false;
    await Promise.all(lanes);
  }
  await Promise.all(askers.flatMap((asker) => [0, 1].map((of) => world.ask(of, asker))));
}

/** A store whose reads take some turns before and after they look, so that changes come in between. */
function withTurns(kv: Kv): Kv {
  let count = 0;
  const turns = async (): Promise<void> => {
    for (let left = (count = (count * 5 + 3) % 16); left > 0; left -= 4) await new Promise(setImmediate);
  };
  const get: Kv["get"] = async (keys) => {
    await turns();
    const found = await kv.get(keys);
    await turns();
    return found;
  };
  return { ...kv, name: kv.name, get, scan: kv.scan.bind(kv), commit: kv.commit.bind(kv), close: () => kv.close() };
}

void test("every answer is of its time, in memory", async () => {
  const kv = openMemoryKv();
  await runOn([withTurns(kv), withTurns(kv)], Number(process.env["HOLDFAST_TEST_RUNS"] ?? 12));
});

const fewRuns = Number(process.env["HOLDFAST_TEST_RUNS"] ?? 3);

void test("every answer is of its time, of two workers whose metadata somebody else changes", async (t) => {
  const drive = path.join(temporaryFolder(t), "drive");
  const server = await ServerProcess.start(drive, { workers: 2 });
  try {
    const kv = await openLmdbKv({ path: path.join(drive, "meta/store.mdb") });
    const here = await startTestServer({ kv });
    const { identity, objects } = here;
    await runAll([here, { identity, objects, port: Number(server.url.port) }], fewRuns);
    await here.close();
    await kv.close();
  } finally {
    await server.killAll();
  }
});

void test("every answer is of its time, on PostgreSQL", { skip: postgresMissing() }, async () => {
  const postgres = await startPostgres();
  const open = () => openPostgresKv({ url: `${postgres.url}?schema=rights`, allowNoSync: true });
  try {
    const kvs = [await open(), await open()] as const;
    await runOn(kvs, fewRuns);
    for (const kv of kvs) await kv.close();
  } finally {
    await postgres.dispose();
  }
});

void test("every answer is of its time, on etcd", { skip: etcdMissing ?? false }, async () => {
  const etcd = await EtcdFixture.start();
  const open = () => openEtcdKv({ url: etcd.url("rights") });
  try {
    const kvs = [await open(), await open()] as const;
    await runOn(kvs, fewRuns);
    for (const kv of kvs) await kv.close();
  } finally {
    await etcd.dispose();
  }
});
