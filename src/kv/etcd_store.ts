/**
 * What of a cluster belongs to one store (docs/formats/metadata-etcd.md): rows below `name/r/`, and beside them three keys
 * of the store's own. Transactions in, results out; what went wrong comes as an error or as one of few values.
 */
import { HoldfastError } from "../core/errors.ts";
import { limits } from "../core/limits.ts";
import { tooLargeText, tooManyOperationsText } from "./etcd_answers.ts";
import type { Sent } from "./etcd_batches.ts";
import type { EtcdCluster, Reply, Request } from "./etcd_cluster.ts";
import { malformed, readRange, readTxn, WireReader, writeOperation, writeRange, writeTxn } from "./etcd_wire.ts";
import type { Operation, RangeRequest, Row, TxnRequest, TxnResult, WireWriter } from "./etcd_wire.ts";
import { absent } from "./kv.ts";

const formatVersion = "1";
const noBytes = Buffer.alloc(0);
/** A gRPC server of etcd takes this much more than its `--max-request-bytes`. */
const grpcOverheadBytes = 512 * 1024;
const alarmNoSpace = 1;

export class EtcdStore {
  readonly #cluster: EtcdCluster;
  readonly #rows: Buffer;
  readonly #formatKey: Buffer;
  readonly #markKey: Buffer;
  readonly compactedKey: Buffer;

  constructor(cluster: EtcdCluster, name: string) {
    this.#cluster = cluster;
    this.#rows = Buffer.from(`${name}/r/`);
    this.#formatKey = Buffer.from(`${name}/format`);
    this.#markKey = Buffer.from(`${name}/mark`);
    this.compactedKey = Buffer.from(`${name}/compacted`);
  }

  get prefixBytes(): number {
    return this.#rows.length;
  }

  /** Makes the store when it is new. Errors: `unavailable`; `corrupt_record` when it is not a store this build knows. */
  async open(): Promise<void> {
    await this.#assertLimits();
    const read: TxnRequest = { compares: [], success: [rangeOf(this.#formatKey)], failure: [] };
    const create: TxnRequest = {
      compares: [{ key: this.#formatKey, version: absent }],
      success: [{ kind: "put", key: this.#formatKey, value: Buffer.from(formatVersion) }],
      failure: read.success,
    };
    const found = formatOf(await this.#ownRead(read)) ?? formatOf(await this.#ownWrite(create));
    if (found === undefined || found === formatVersion) return;
    const shown = JSON.stringify(found.slice(0, 20));
    throw new HoldfastError(
      "corrupt_record",
      `The metadata store has format version ${shown}; this build knows ${formatVersion}.`,
    );
  }

  /** Undefined: a revision asked for is no longer kept. */
  async read(operations: readonly Operation[]): Promise<TxnResult | undefined> {
    const txn: TxnRequest = { compares: [], success: operations, failure: [] };
    const reply = await this.#cluster.read({ method: "KV/Txn", write: (writer) => writeTxn(writer, this.#rows, txn) });
    if (reply.kind === "compacted") return undefined;
    return readTxn(new WireReader(this.#answered(reply)), this.#rows.length);
  }

  async range(range: RangeRequest): Promise<Row[]> {
    const write = (writer: WireWriter): void => writeRange(writer, this.#rows, range);
    const reply = await this.#cluster.read({ method: "KV/Range", write });
    return readRange(new WireReader(this.#answered(reply)), this.#rows.length);
  }

  /**
   * A batch. etcd (up to 3.6) holds only a transaction's own puts against its quota, not those of transactions inside it: a
   * batch that makes the database larger therefore puts a mark as well, and is refused when there is no room.
   */
  async send(operations: readonly Operation[], grows: boolean): Promise<Sent> {
    const write = (writer: WireWriter): void => {
      writeTxn(writer, this.#rows, { compares: [], success: operations, failure: [] });
      if (grows) writeOperation(writer, noBytes, 2, { kind: "put", key: this.#markKey, value: noBytes });
    };
    const reply = await this.#cluster.write({ method: "KV/Txn", write });
    if (reply.kind === "full") return { kind: "full" };
    if (reply.kind !== "answered") return { kind: "failed", error: this.#errorOf(reply) };
    const { revision, results } = readTxn(new WireReader(reply.message), this.#rows.length);
    return { kind: "done", result: { revision, results: grows ? results.slice(1) : results } };
  }

  /** Whether a member raises the alarm that the database is full. */
  async isFull(): Promise<boolean> {
    const reply = await this.#cluster.read({ method: "Maintenance/Alarm", write: () => undefined });
    // Without the right to ask, the next commit finds out.
    return reply.kind === "answered" && alarmsOf(new WireReader(reply.message)).includes(alarmNoSpace);
  }

  /** A transaction on the store's own keys. */
  ownTxn(txn: TxnRequest): Promise<Reply> {
    return this.#cluster.write({ method: "KV/Txn", write: (writer) => writeTxn(writer, noBytes, txn) });
  }

  /** Gives up the states before that revision. */
  compact(revision: number): Promise<Reply> {
    return this.#cluster.write({ method: "KV/Compact", write: (writer) => writer.varint(1, revision) });
  }

  async #ownRead(txn: TxnRequest): Promise<TxnResult> {
    const reply = await this.#cluster.read({ method: "KV/Txn", write: (writer) => writeTxn(writer, noBytes, txn) });
    return readTxn(new WireReader(this.#answered(reply)), 0);
  }

  async #ownWrite(txn: TxnRequest): Promise<TxnResult> {
    return readTxn(new WireReader(this.#answered(await this.ownTxn(txn))), 0);
  }

  /** A read that is as large, and has as many operations, as a write may be; it reaches no disk. */
  async #assertLimits(): Promise<void> {
    const write = (writer: WireWriter): void => this.#writeLargest(writer);
    const request: Request = { method: "KV/Txn", write };
    // First whichever member answers, so that a cluster that is away is told from one that is set up otherwise.
    const first = await this.#cluster.read(request);
    if (first.kind !== "answered" && first.kind !== "refused") this.#answered(first);
    const refusal = await this.#cluster.refusalOfAny(request);
    if (refusal === undefined && first.kind === "answered") return;
    const text = refusal?.text ?? (first.kind === "refused" ? first.text : "");
    if (text !== tooManyOperationsText && !text.startsWith(tooLargeText)) throw this.#cluster.refusedError(text);
    const flags = `--max-txn-ops=${limits.etcdTxnOperations} --max-request-bytes=${limits.etcdRequestBytes}`;
    const where = refusal === undefined ? "etcd" : `etcd at ${refusal.endpoint}`;
    throw new HoldfastError(
      "unavailable",
      `The metadata store's ${where} takes too little at once. Start it with ${flags}.`,
    );
  }

  /** To within some bytes as much as a gRPC server of etcd takes with the flags that are asked for. */
  #writeLargest(writer: WireWriter): void {
    const reads = Array.from({ length: limits.etcdTxnOperations }, () => rangeOf(this.#formatKey, true));
    writeTxn(writer, noBytes, { compares: [], success: [], failure: reads });
    const paddingBytes =
      limits.etcdRequestBytes + grpcOverheadBytes - writer.bytesWritten - this.#formatKey.length - 32;
    writer.message(1, () => {
      writer.bytes(7, Buffer.alloc(paddingBytes));
      writer.bytes(3, this.#formatKey);
      // Target VALUE: the row's value is not this one, so the failure's operations are run.
      writer.varint(2, 3);
    });
  }

  #answered(reply: Reply): Buffer {
    if (reply.kind === "answered") return reply.message;
    throw this.#errorOf(reply);
  }

  #errorOf(reply: Exclude<Reply, { kind: "answered" }>): HoldfastError {
    if (reply.kind === "refused") return this.#cluster.refusedError(reply.text);
    if (reply.kind === "full") return new HoldfastError("drive_full", "The metadata store's etcd database is full.");
    if (reply.kind === "compacted") return malformed();
    const known = reply.carriedOut === "no" ? reply.text : `${reply.text}; whether it wrote is not known`;
    return this.#cluster.awayError(known);
  }
}

function rangeOf(key: Buffer, keysOnly = false): Operation {
  return { kind: "range", range: { key, keysOnly } };
}

function formatOf({ results }: TxnResult): string | undefined {
  const [first] = results;
  return first?.kind === "rows" ? first.rows[0]?.value.toString() : undefined;
}

function alarmsOf(reader: WireReader): number[] {
  const alarms: number[] = [];
  for (let field = reader.field(); field !== 0; field = reader.field()) {
    if (field === 2) alarms.push(alarmOf(reader.message()));
    else reader.skip();
  }
  return alarms;
}

function alarmOf(member: WireReader): number {
  let alarm = 0;
  for (let field = member.field(); field !== 0; field = member.field()) {
    if (field === 2) alarm = member.varint();
    else member.skip();
  }
  return alarm;
}
