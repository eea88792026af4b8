/**
 * The door below `/_/node`: this process's chunk node for the other nodes of the cluster (docs/formats/node-protocol.md).
 *
 *   POST /_/node/v2/hello   opens a connection: both sides prove that they know the cluster secret.
 *   POST /_/node/v2/CALL    append, copy, read, record, remove, list, verify, discard, status, drives; sealed with the keys of the connection.
 *
 * Promises:
 *  1. Nothing is done, read or kept for who has not proven the secret on the same connection; a call counts once, in its
 *     place, as it was sent. Anything else is 401 before a byte of its body is read, and logged within bounds.
 *  2. Once a call's seal is good its reply is sealed, whatever it is. What the node's call fails with goes back as that.
 *  3. At most peerCallsInFlightMax calls and peerBodyBytesInFlightMax bytes of bodies are under way, fewer of one peer;
 *     more is `slow_down`.
 */
import { AssertionError } from "../core/assert.ts";
import type { Clock } from "../core/clock.ts";
import { errorReply, HttpRefusal, methodNotAllowed, noSuchAddress, type DoorRequest } from "../core/door.ts";
import { HoldfastError } from "../core/errors.ts";
import { giveBack } from "../core/give_back.ts";
import type { Log } from "../core/log.ts";
import type { Random } from "../core/random.ts";
import { driveMissing, type ChunkNode, type RecordBytes } from "./node.ts";
import { encodeError } from "./peer_errors.ts";
import { InFlight } from "./peer_in_flight.ts";
import { RefusalLog } from "./peer_refusals.ts";
import {
  bodyTag,
  BodySeal,
  clientProof,
  clusterKey,
  connectionKeys,
  helloHeader,
  isSame,
  nonceBytes,
  openRequest,
  parseClientHello,
  sealHeader,
  sealReply,
  serverHelloText,
  serverProof,
  type ConnectionKeys,
  type RequestHead,
} from "./peer_seal.ts";
import {
  checkCall,
  decodeRequest,
  encodeDiscarded,
  encodeDrives,
  encodeListed,
  encodeStatus,
  encodeVerified,
  unknownCall,
  type PeerRequest,
} from "./peer_wire.ts";

export type NodeDoorOptions = {
  readonly node: ChunkNode;
  /** Copies to a drive of that node what is read from any drive of the cluster; without it the call is not known. */
  readonly copy?: NonNullable<ChunkNode["copy"]>;
  readonly secret: string;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
};

/** For metrics. */
export type NodeOperation =
  | "Hello"
  | "Append"
  | "Copy"
  | "Read"
  | "Record"
  | "Remove"
  | "List"
  | "Verify"
  | "Discard"
  | "Status"
  | "Drives"
  | "Other";

/** Bytes in pieces that belong to whoever takes them, so that their memory can be given back once it is sent. */
export type PeerReplyBody = {
  readonly lengthBytes: number;
  pieces(): AsyncIterable<Buffer>;
  release(): void;
};

export type PeerReply = {
  readonly status: number;
  readonly headers: readonly string[];
  readonly body: Buffer | PeerReplyBody;
};

export type NodeDoor = {
  operation(request: DoorRequest): NodeOperation;
  /** Rejects with what errorReply turns into an answer, for whoever has proven nothing. */
  handle(request: DoorRequest): Promise<PeerReply>;
};

/** What is known of a connection whose other side knows the secret. */
type Session = {
  readonly from: string;
  readonly keys: ConnectionKeys;
  /** Of the last call that was let in. */
  number: number;
};

const version = "v2";

/** Errors: `invalid_argument` for a secret that is none. */
export function createNodeDoor(options: NodeDoorOptions): NodeDoor {
  const door = new Door(options);
  return { operation: operationOf, handle: (request) => door.handle(request) };
}

const operations: ReadonlyMap<string, NodeOperation> = new Map(
  (
    ["Hello", "Append", "Copy", "Read", "Record", "Remove", "List", "Verify", "Discard", "Status", "Drives"] as const
  ).map((name) => [name.toLowerCase(), name]),
);

function operationOf({ segments }: DoorRequest): NodeOperation {
  return (segments.length === 2 && segments[0] === version && operations.get(segments[1]!)) || "Other";
}

class Door {
  readonly #options: NodeDoorOptions;
  readonly #key: ReturnType<typeof clusterKey>;
  readonly #refusals: RefusalLog;
  readonly #inFlight = new InFlight();
  readonly #sessions = new WeakMap<object, Session>();

  constructor(options: NodeDoorOptions) {
    this.#options = options;
    this.#key = clusterKey(options.secret);
    this.#refusals = new RefusalLog(options.clock, options.log);
  }

  async handle(request: DoorRequest): Promise<PeerReply> {
    const [of, name, ...more] = request.segments;
    if (of === undefined || name === undefined || more.length > 0 || request.query.size > 0) throw noSuchAddress();
    if (of !== version)
      throw new HttpRefusal(404, "unknown_version", `This node speaks version ${version} of the node protocol.`);
    if (request.method !== "POST") throw methodNotAllowed("POST");
    return name === "hello" ? this.#hello(request) : this.#call(name, request);
  }

  #hello(request: DoorRequest): PeerReply {
    const hello = parseClientHello(request.headers[helloHeader]);
    if (hello === undefined) throw refusal("hello_first", "A node introduces itself with a hello of this version.");
    if (!isSame(hello.proof, clientProof(this.#key, hello))) {
      this.#refusals.note(request.remoteAddress, "A node was not let in: it does not know the cluster secret.");
      throw refusal("wrong_secret", "The cluster secret is another one.");
    }
    if (this.#sessions.delete(request.connection)) throw refusal("hello_once", "A connection begins with one hello.");
    const nonce = Buffer.from(this.#options.random.bytes(nonceBytes)).toString("hex");
    const keys = connectionKeys(this.#key, hello, nonce);
    this.#sessions.set(request.connection, { from: hello.from, keys, number: 0 });
    const answer = serverHelloText({ nonce, proof: serverProof(this.#key, hello, nonce) });
    return { status: 200, headers: [helloHeader, answer], body: Buffer.alloc(0) };
  }

  async #call(name: string, request: DoorRequest): Promise<PeerReply> {
    const session = this.#sessions.get(request.connection);
    if (session === undefined) throw refusal("hello_first", "A connection between nodes begins with a hello.");
    const { headers } = request;
    const bodyBytes = lengthOf(headers);
    const head =
      bodyBytes === undefined ? undefined : openRequest(session.keys, headers[sealHeader], { call: name, bodyBytes });
    if (head === undefined || head.number !== session.number + 1) {
      this.#sessions.delete(request.connection);
      const what = "A call of a node was refused: it was changed or repeated on its way.";
      this.#refusals.note(request.remoteAddress, what);
      throw refusal("not_sealed", "The call is not sealed for this place on this connection.");
    }
    session.number = head.number;
    const { status, body, release } = await this.#answer(session, head, request);
    const tag = bodyTag(session.keys, "reply", head.number, [body]);
    const seal = sealReply(session.keys, { number: head.number, status, bodyBytes: body.length, tag });
    return {
      status,
      headers: [sealHeader, seal],
      body: release === undefined && body.length < givenBackBytesMin ? body : givenAway(body, release),
    };
  }

  async #answer(session: Session, head: RequestHead, request: DoorRequest): Promise<Answered> {
    try {
      const call = checkCall(head.call, head.bodyBytes);
      const leave = this.#inFlight.enter(session.from, head.bodyBytes);
      let body: readonly Buffer[] = [];
      try {
        body = await readBody(session.keys, head, request);
        return await this.#run(session.from, decodeRequest(call, head.args, body), request.signal);
      } finally {
        leave();
        for (const piece of body) giveBack(piece);
      }
    } catch (error) {
      const { reply, isOurs } = errorReply(error);
      if (isOurs && !(error instanceof HoldfastError) && !(error instanceof AssertionError))
        this.#options.log.error({ err: error, call: head.call, from: session.from }, "A call of another node failed.");
      return { status: reply.status, body: encodeError(error) };
    }
  }

  /** A shard that is moved whole counts as bytes under way, as one that is appended does. */
  async #run(from: string, request: PeerRequest, signal: AbortSignal): Promise<Answered> {
    const { node, copy } = this.#options;
    if (request.call === "copy") {
      if (copy === undefined) throw unknownCall();
      if (!node.drives.includes(request.drive)) throw driveMissing(request.drive);
      const leave = this.#inFlight.enter(from, request.shard.storedBytes);
      await copy(request.drive, request.shard, signal).finally(leave);
      return { status: 200, body: Buffer.alloc(0) };
    }
    if (request.call !== "record") return { status: 200, body: await run(node, request, signal) };
    if (node.readRecord === undefined) throw unknownCall();
    const leave = this.#inFlight.enter(from, request.storedBytes);
    let record: RecordBytes;
    try {
      record = await node.readRecord(request.drive, request.ref, request.storedBytes, signal);
    } catch (error) {
      leave();
      throw error;
    }
    const release = (): void => {
      record.release();
      leave();
    };
    return { status: 200, body: record.bytes, release };
  }
}

type Answered = {
  readonly status: number;
  readonly body: Buffer;
  /** When the body was sent, or given up. */
  readonly release?: () => void;
};

/** Undefined: a length that is not told before the body. */
function lengthOf({
  "content-length": length,
  "transfer-encoding": coding,
}: DoorRequest["headers"]): number | undefined {
  if (coding !== undefined) return undefined;
  if (length === undefined) return 0;
  return /^[0-9]{1,10}$/.test(length) ? Number(length) : undefined;
}

/** The connection is of no more use to whoever is refused. */
function refusal(code: string, message: string): HttpRefusal {
  return new HttpRefusal(401, code, message, ["www-authenticate", "Holdfast-Node", "connection", "close"]);
}

/** In the pieces in which it came. Errors: `drive_missing` when it is not what was sealed. */
async function readBody(keys: ConnectionKeys, head: RequestHead, request: DoorRequest): Promise<Buffer[]> {
  if (head.bodyBytes === 0 && head.tag === "-") return [];
  const pieces: Buffer[] = [];
  const seal = new BodySeal(keys, "request", head.number);
  for await (const piece of request.body() as AsyncIterable<Buffer>) {
    seal.add(piece);
    pieces.push(piece);
  }
  if (isSame(head.tag, seal.tag())) return pieces;
  throw new HoldfastError("drive_missing", "The bytes of a call were changed on their way between two nodes.");
}

type PlainRequest = Exclude<PeerRequest, { readonly call: "copy" | "record" }>;

async function run(node: ChunkNode, request: PlainRequest, signal: AbortSignal): Promise<Buffer> {
  switch (request.call) {
    case "append":
      await node.append(request.drive, request.shard, signal);
      return Buffer.alloc(0);
    case "read":
      return node.read(request.drive, request.ref, request.range, signal);
    case "remove":
      await node.remove(request.drive, request.shards);
      return Buffer.alloc(0);
    case "list": {
      const { after, limit } = request;
      return encodeListed(await node.list(request.drive, { limit, ...(after && { after }) }));
    }
    case "verify":
      return encodeVerified(await node.verify(request.drive, request.ref));
    case "discard":
      return encodeDiscarded(await node.discard(request.drive, request.ref));
    case "status":
      return encodeStatus(await node.status(request.drive));
    case "drives":
      return encodeDrives(node.drives);
  }
}

/** Smaller replies go out with their heads. */
const givenBackBytesMin = 16 * 1024;

function givenAway(bytes: Buffer, release: () => void = () => undefined): PeerReplyBody {
  async function* pieces(): AsyncGenerator<Buffer> {
    yield bytes;
  }
  return { lengthBytes: bytes.length, pieces, release };
}
