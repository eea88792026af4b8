/** The door as strangers and as peers of strange builds see it. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Readable } from "node:stream";
import fc from "fast-check";
import { systemClock } from "../core/clock.ts";
import { HttpRefusal, type DoorRequest } from "../core/door.ts";
import { hasReason } from "../core/errors.ts";
import { IdSource, type SessionId } from "../core/ids.ts";
import { limits } from "../core/limits.ts";
import { silentLog, type LogFields } from "../core/log.ts";
import { systemRandom } from "../core/random.ts";
import { createMemoryNode } from "./node.memory.ts";
import type { ChunkNode } from "./node.ts";
import { from, secret, withAppend } from "./peer.fixture.ts";
import { createNodeDoor, type NodeDoor, type PeerReply } from "./peer_door.ts";
import { decodeError } from "./peer_errors.ts";
import * as seals from "./peer_seal.ts";
import { encodeArgs } from "./peer_wire.ts";

const ids = new IdSource("00000000000000ee" as SessionId);
const nonce = "ab".repeat(32);

type Given = Partial<Omit<DoorRequest, "body">> & { readonly body?: readonly Uint8Array[] };

function request({ body = [], ...given }: Given): DoorRequest {
  return {
    method: "POST",
    segments: [],
    query: new Map(),
    headers: {},
    remoteAddress: "10.0.0.1",
    connection: {},
    signal: new AbortController().signal,
    ...given,
    body: () => Readable.from(body, { objectMode: true }),
  };
}

function doorOf(node: ChunkNode, log = silentLog): NodeDoor {
  return createNodeDoor({ node, secret, clock: systemClock, random: systemRandom, log });
}

/** Greets as a peer does; what follows is sealed with what this returns. */
async function greeted(door: NodeDoor, connection: object) {
  const key = seals.clusterKey(secret);
  const hello = { from, nonce, proof: seals.clientProof(key, { from, nonce }) };
  const headers = { [seals.helloHeader]: seals.clientHelloText(hello) };
  const reply = await door.handle(request({ segments: ["v2", "hello"], headers, connection }));
  const answer = seals.parseServerHello(reply.headers[1])!;
  assert.equal(answer.proof, seals.serverProof(key, hello, answer.nonce));
  return seals.connectionKeys(key, hello, answer.nonce);
}

type Sent = {
  readonly call: string;
  readonly number: number;
  readonly args?: Uint8Array;
  readonly body?: readonly Uint8Array[];
  readonly sealed?: readonly Uint8Array[];
};

function sealedRequest(keys: seals.ConnectionKeys, connection: object, sent: Sent): DoorRequest {
  const { call, number, args = Buffer.alloc(0), body = [], sealed = body } = sent;
  const bodyBytes = body.reduce((sum, { length }) => sum + length, 0);
  const tag = seals.bodyTag(keys, "request", number, sealed);
  const seal = seals.sealRequest(keys, { number, call, args, bodyBytes, tag });
  const headers = { [seals.sealHeader]: seal, "content-length": String(bodyBytes) };
  return request({ segments: ["v2", call], headers, connection, body });
}

async function bytesOf({ body }: PeerReply): Promise<Buffer> {
  if (Buffer.isBuffer(body)) return body;
  const pieces: Buffer[] = [];
  for await (const piece of body.pieces()) pieces.push(piece);
  return Buffer.concat(pieces);
}

function isRefusal(status: number, code: string): (error: unknown) => boolean {
  return (error) => error instanceof HttpRefusal && error.status === status && error.code === code;
}

test("who has not greeted is told to, whatever is asked", async () => {
  const door = doorOf(createMemoryNode());
  for (const call of ["append", "status", "x"])
    await assert.rejects(door.handle(request({ segments: ["v2", call] })), isRefusal(401, "hello_first"));
  await assert.rejects(door.handle(request({ segments: ["v1", "hello"] })), isRefusal(404, "unknown_version"));
  await assert.rejects(door.handle(request({ segments: ["v2"] })), isRefusal(404, "no_such_address"));
  const get = request({ segments: ["v2", "status"], method: "GET" });
  await assert.rejects(door.handle(get), isRefusal(405, "method_not_allowed"));
});

test("a wrong secret is refused, and logged once for an address", async () => {
  const lines: LogFields[] = [];
  const door = doorOf(createMemoryNode(), { ...silentLog, warn: (fields) => lines.push(fields) });
  const key = seals.clusterKey("another secret of thirty-two characters");
  const hello = { from, nonce, proof: seals.clientProof(key, { from, nonce }) };
  const headers = { [seals.helloHeader]: seals.clientHelloText(hello) };
  for (let index = 0; index < 5; index++) {
    const connection = {};
    const greeting = request({ segments: ["v2", "hello"], headers, connection });
    await assert.rejects(door.handle(greeting), isRefusal(401, "wrong_secret"));
    await assert.rejects(
      door.handle(request({ segments: ["v2", "drives"], connection })),
      isRefusal(401, "hello_first"),
    );
  }
  assert.deepEqual(lines, [{ address: "10.0.0.1" }]);
});

test("a hello of one name does not pass for another's, and a connection has one", async () => {
  const door = doorOf(createMemoryNode());
  const key = seals.clusterKey(secret);
  const proof = seals.clientProof(key, { from, nonce });
  const headers = { [seals.helloHeader]: seals.clientHelloText({ from: "node-x", nonce, proof }) };
  await assert.rejects(door.handle(request({ segments: ["v2", "hello"], headers })), isRefusal(401, "wrong_secret"));
  const connection = {};
  const keys = await greeted(door, connection);
  await assert.rejects(greeted(door, connection), isRefusal(401, "hello_once"));
  const call = sealedRequest(keys, connection, { call: "drives", number: 1 });
  await assert.rejects(door.handle(call), isRefusal(401, "hello_first"));
});

test("a call counts once, in its place, on its connection, as it was sealed", async () => {
  const node = createMemoryNode();
  const door = doorOf(node);
  const drive = node.drives[0]!;
  const shard = { chunk: ids.chunk(), shardIndex: 0, owner: { blob: ids.blob(), chunkIndex: 0 } };
  const body = [Buffer.from("abc")];
  const args = encodeArgs({ call: "append", drive, shard: { ...shard, body } });
  const append = { call: "append", args, body };
  const refused = async (change: (keys: seals.ConnectionKeys, connection: object) => DoorRequest): Promise<void> => {
    const connection = {};
    const keys = await greeted(door, connection);
    await assert.rejects(door.handle(change(keys, connection)), isRefusal(401, "not_sealed"));
    // After that the connection is worth nothing.
    const good = sealedRequest(keys, connection, { ...append, number: 1 });
    await assert.rejects(door.handle(good), isRefusal(401, "hello_first"));
  };
  const other = await greeted(door, {});
  await refused((_, connection) => sealedRequest(other, connection, { ...append, number: 1 }));
  await refused((keys, connection) => sealedRequest(keys, connection, { ...append, number: 2 }));
  await refused((keys, connection) => {
    const sealed = sealedRequest(keys, connection, { ...append, number: 1 });
    return { ...sealed, segments: ["v2", "remove"] };
  });
  await refused((keys, connection) => {
    const sealed = sealedRequest(keys, connection, { ...append, number: 1 });
    return { ...sealed, headers: { ...sealed.headers, "content-length": "4" } };
  });
  await refused((keys, connection) => {
    const sealed = sealedRequest(keys, connection, { ...append, number: 1 });
    return { ...sealed, headers: { ...sealed.headers, "transfer-encoding": "chunked" } };
  });
  assert.deepEqual(await node.list(drive, { limit: 1 }), []);

  const connection = {};
  const keys = await greeted(door, connection);
  assert.equal((await door.handle(sealedRequest(keys, connection, { ...append, number: 1 }))).status, 200);
  await node.remove(drive, [shard]);
  const again = sealedRequest(keys, connection, { ...append, number: 1 });
  await assert.rejects(door.handle(again), isRefusal(401, "not_sealed"));
  assert.deepEqual(await node.list(drive, { limit: 1 }), []);
});

test("a body that is not the sealed one is not appended", async () => {
  const node = createMemoryNode();
  const door = doorOf(node);
  const drive = node.drives[0]!;
  const connection = {};
  const keys = await greeted(door, connection);
  const shard = { chunk: ids.chunk(), shardIndex: 0, owner: { blob: ids.blob(), chunkIndex: 0 } };
  const [body, sealed] = [[Buffer.from("abd")], [Buffer.from("abc")]];
  const args = encodeArgs({ call: "append", drive, shard: { ...shard, body } });
  const reply = await door.handle(sealedRequest(keys, connection, { call: "append", args, body, sealed, number: 1 }));
  assert.ok(hasReason(decodeError(await bytesOf(reply)), "drive_missing"));
  assert.deepEqual(await node.list(drive, { limit: 1 }), []);
});

test("a connection's calls go on after one that failed; an unknown one is told so", async () => {
  const door = doorOf(createMemoryNode());
  const connection = {};
  const keys = await greeted(door, connection);
  const unknown = await door.handle(sealedRequest(keys, connection, { call: "compact", number: 1 }));
  assert.equal(unknown.status, 400);
  const error = decodeError(await bytesOf(unknown));
  assert.ok(hasReason(error, "invalid_request"));
  assert.match(error.message, /does not know the call/);
  const drives = await door.handle(sealedRequest(keys, connection, { call: "drives", number: 2 }));
  assert.equal(drives.status, 200);
});

test("whatever a stranger sends is refused with 401, 404 or 405, and nothing is read", async () => {
  const door = doorOf(createMemoryNode());
  const word = fc.oneof(fc.string(), fc.constantFrom("v2", "hello", "append", "holdfast-hello", "__proto__"));
  const headers = fc.dictionary(
    fc.constantFrom(seals.helloHeader, seals.sealHeader, "content-length", "transfer-encoding"),
    fc.oneof(
      fc.string({ maxLength: 300 }),
      fc.stringMatching(/^[a-z]{1,70} [0-9a-f]{64} [0-9a-f]{64}$/),
      fc.stringMatching(/^[0-9]{1,16} (-|[0-9a-f]{2,40}) (-|[0-9a-f]{32}) [0-9a-f]{64}$/),
    ),
  );
  const segments = fc.oneof(
    fc.array(word, { maxLength: 4 }),
    fc.constant(["v2", "hello"]),
    fc.constant(["v2", "read"]),
  );
  await fc.assert(
    fc.asyncProperty(segments, fc.constantFrom("POST", "GET", "PUT"), headers, async (segments, method, headers) => {
      const stranger = request({ segments, method, headers });
      const unread = { ...stranger, body: () => assert.fail("a stranger's body was read") };
      await assert.rejects(
        door.handle(unread),
        (error) => error instanceof HttpRefusal && [401, 404, 405].includes(error.status),
      );
      assert.equal(typeof door.operation(unread), "string");
    }),
    { numRuns: 1_000 },
  );
});

test("whatever a peer that knows the secret asks gets a sealed reply", async () => {
  const node = createMemoryNode();
  const door = doorOf(node);
  const call = fc.oneof(
    fc.constantFrom("append", "read", "remove", "list", "verify", "discard", "status", "drives"),
    fc.string(),
  );
  const drive = Buffer.from(node.drives[0]!, "hex");
  const args = fc
    .tuple(fc.boolean(), fc.uint8Array({ maxLength: 60 }))
    .map(([isOurs, rest]) => (isOurs ? Buffer.concat([drive, rest]) : Buffer.from(rest)));
  const bodies = fc.array(fc.uint8Array({ minLength: 1, maxLength: 60 }), { maxLength: 2 });
  await fc.assert(
    fc.asyncProperty(fc.array(fc.tuple(call, args, bodies), { minLength: 1, maxLength: 5 }), async (calls) => {
      const connection = {};
      const keys = await greeted(door, connection);
      for (const [index, [call, args, body]] of calls.entries()) {
        const number = index + 1;
        const reply = await door.handle(sealedRequest(keys, connection, { call, args, body, number }));
        const bytes = await bytesOf(reply);
        const expected = { number, status: reply.status, bodyBytes: bytes.length };
        const head = seals.openReply(keys, reply.headers[1], expected)!;
        assert.equal(seals.bodyTag(keys, "reply", number, [bytes]), head.tag);
        if (reply.status !== 200) assert.ok(decodeError(bytes) instanceof Error);
      }
    }),
    { numRuns: 500 },
  );
});

test("bytes under way are bounded, and what is too much is told before its body is read", async () => {
  let letGo = (): void => undefined;
  const gate = new Promise<void>((resolve) => (letGo = resolve));
  const inner = createMemoryNode();
  const node = withAppend(inner, () => gate);
  const door = doorOf(node);
  const body = [Buffer.alloc(limits.chunkBytesMax)];
  const ask = async (): Promise<PeerReply> => {
    const connection = {};
    const keys = await greeted(door, connection);
    const shard = { chunk: ids.chunk(), shardIndex: 0, owner: { blob: ids.blob(), chunkIndex: 0 }, body };
    const args = encodeArgs({ call: "append", drive: inner.drives[0]!, shard });
    return door.handle(sealedRequest(keys, connection, { call: "append", args, body, number: 1 }));
  };
  const fits = limits.peerBodyBytesInFlightMax / limits.chunkBytesMax;
  const underWay = Array.from({ length: fits + 1 }, ask);
  const refused = await Promise.race(underWay);
  assert.ok(hasReason(decodeError(await bytesOf(refused)), "slow_down"));
  letGo();
  const replies = await Promise.all(underWay);
  assert.equal(replies.filter(({ status }) => status === 200).length, fits);
});
