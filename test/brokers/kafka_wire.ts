/**
 * As much of Kafka's protocol as a producer speaks: requests and answers in their real bytes.
 *
 * Source: "Kafka protocol guide" of the Apache Kafka documentation; the record batch is its "Record Batch", magic 2.
 */
export class Reader {
  readonly #bytes: Buffer;
  #at = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  #take(count: number): number {
    this.#at += count;
    return this.#at - count;
  }

  int8 = (): number => this.#bytes.readInt8(this.#take(1));
  int16 = (): number => this.#bytes.readInt16BE(this.#take(2));
  int32 = (): number => this.#bytes.readInt32BE(this.#take(4));
  int64 = (): bigint => this.#bytes.readBigInt64BE(this.#take(8));

  raw(length: number): Buffer {
    const start = this.#take(length);
    return this.#bytes.subarray(start, start + length);
  }

  /** Its length is −1 where there is none. */
  string(): string | undefined {
    const length = this.int16();
    return length < 0 ? undefined : this.raw(length).toString();
  }

  bytes(): Buffer {
    return this.raw(Math.max(0, this.int32()));
  }

  array<T>(each: () => T): T[] {
    return Array.from({ length: Math.max(0, this.int32()) }, each);
  }

  /** Zigzag. */
  varint(): number {
    let value = 0n;
    for (let shift = 0n; ; shift += 7n) {
      const byte = this.#bytes.readUInt8(this.#take(1));
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) break;
    }
    return Number((value >> 1n) ^ -(value & 1n));
  }

  varBytes(): Buffer | undefined {
    const length = this.varint();
    return length < 0 ? undefined : this.raw(length);
  }
}

export class Writer {
  readonly #pieces: Buffer[] = [];

  #add(length: number, write: (piece: Buffer) => void): this {
    const piece = Buffer.alloc(length);
    write(piece);
    this.#pieces.push(piece);
    return this;
  }

  int8 = (value: number): this => this.#add(1, (piece) => piece.writeInt8(value));
  int16 = (value: number): this => this.#add(2, (piece) => piece.writeInt16BE(value));
  int32 = (value: number): this => this.#add(4, (piece) => piece.writeInt32BE(value));
  int64 = (value: number): this => this.#add(8, (piece) => piece.writeBigInt64BE(BigInt(value)));

  string(text: string | undefined): this {
    if (text === undefined) return this.int16(-1);
    this.int16(Buffer.byteLength(text));
    this.#pieces.push(Buffer.from(text));
    return this;
  }

  bytes(bytes: Buffer): this {
    this.int32(bytes.length);
    this.#pieces.push(bytes);
    return this;
  }

  array<T>(items: readonly T[], each: (item: T) => void): this {
    this.int32(items.length);
    for (const item of items) each(item);
    return this;
  }

  finish(): Buffer {
    return Buffer.concat(this.#pieces);
  }
}

export type KafkaRecord = {
  readonly key: string | undefined;
  readonly value: string;
  readonly headers: Readonly<Record<string, string>>;
};

export function readRecordBatch(bytes: Buffer): KafkaRecord[] {
  const reader = new Reader(bytes);
  reader.int64(); // base offset
  reader.int32(); // length
  reader.int32(); // leader epoch
  if (reader.int8() !== 2) throw new Error("not a record batch of magic 2");
  reader.int32(); // CRC
  if ((reader.int16() & 7) !== 0) throw new Error("compressed");
  reader.raw(4 + 8 + 8 + 8 + 2 + 4); // last offset, first and last time, producer's id, epoch and sequence
  return reader.array(() => {
    reader.varint();
    reader.int8();
    reader.varint();
    reader.varint();
    const key = reader.varBytes()?.toString();
    const value = reader.varBytes()?.toString() ?? "";
    const headers: Record<string, string> = {};
    for (let left = reader.varint(); left > 0; left--)
      headers[reader.varBytes()!.toString()] = reader.varBytes()?.toString() ?? "";
    return { key, value, headers };
  });
}
