/**
 * Clients: each lane changes keys of its own, one change after the other, and so knows what may stand there: the content that
 * was acknowledged last, or one of those whose fate is unknown. Reads are begun here and end much later.
 */
import { createHash } from "node:crypto";
import { setImmediate as turn } from "node:timers/promises";
import { hasReason } from "../../src/core/errors.ts";
import { seededRandom, type Random } from "../../src/core/random.ts";
import type { Objects } from "../../src/object/object.ts";
import { bodyOf } from "./bodies.ts";
import { isRefusal } from "./crew.ts";
import { bucket, type Running } from "./world.ts";

const keysPerLane = 4;
const sizes = [0, 40, 3_000, 20_000, 60_000, 100_000, 130_000];

/** A hash; undefined where nothing stands. */
export type Content = string | undefined;
export type Expected = Map<string, Set<Content>>;

/** Bytes that don't compress; a body is a stretch of them behind eight bytes of its own. */
const noise = Buffer.from(seededRandom(1).bytes(256 * 1024));

export function freshBody(random: Random): Buffer {
  const length = sizes[random.below(sizes.length)]!;
  return Buffer.concat([random.bytes(8), noise.subarray(random.below(1024)).subarray(0, length)]).subarray(0, length);
}

export const hashOf = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");
export const metadata = { headers: {}, user: {} };
const classes = [metadata, { headers: { "x-amz-storage-class": "REDUCED_REDUNDANCY" }, user: {} }] as const;

/** Of either storage class: each is stored in its own way. */
function anyClass(random: Random): (typeof classes)[number] {
  return classes[random.below(classes.length)]!;
}

export const verifier = { digests: [], verify: () => undefined };

/** What the lanes share. */
export type Lanes = {
  readonly random: Random;
  /** A process that takes requests, if there is one right now. */
  any(): Running | undefined;
  readonly expected: Expected;
  readonly wrong: string[];
  readonly counts: { acknowledged: number; reads: number };
  /** Whether a commit that was given up may still be carried out. */
  mayLinger(): boolean;
  /** To be called when a read begins; the result says, when it has failed, whether it should have succeeded. */
  expectRead(running: Running): () => Promise<boolean>;
};

/** Where all that a read needs is on the machine, and what was not carried out at once never is. */
export const settledAtOnce: Pick<Lanes, "mayLinger" | "expectRead"> = {
  mayLinger: () => false,
  expectRead: (running) => async () => running.power.on && !running.isSilent,
};

/** It is so now, or may become what else was possible. */
function settle({ expected, mayLinger }: Pick<Lanes, "expected" | "mayLinger">, name: string, content: Content): void {
  expected.set(name, new Set(mayLinger() ? [content, ...(expected.get(name) ?? [])] : [content]));
}

export async function step(lanes: Lanes, lane: number, reads: Promise<void>[]): Promise<void> {
  const { expected, counts, random } = lanes;
  const running = lanes.any();
  if (!running) return turn();
  const { objects } = running;
  const name = `lane${lane}/${random.below(keysPerLane)}`;
  const key = Buffer.from(name);
  const dice = random.below(11);
  const change = async (content: Content, work: () => Promise<unknown>): Promise<void> => {
    expected.set(name, new Set([...(expected.get(name) ?? [undefined]), content]));
    try {
      await work();
      settle(lanes, name, content);
      counts.acknowledged += 1;
    } catch (error) {
      if (!isRefusal(error)) throw error;
      // A drive that failed answers at once: let the others go on.
      await running.power.before().catch(() => undefined);
    }
  };
  if (dice < 5) {
    const body = freshBody(random);
    const put = { bucket, key, body: bodyOf(body), metadata: anyClass(random), verifier };
    await change(hashOf(body), () => objects.put(put));
  } else if (dice < 7) {
    await change(undefined, () => objects.delete({ bucket, key }));
  } else if (dice < 9) {
    const read = await beginRead(lanes, running, name);
    if (read) reads.push(read());
  } else if (dice < 10) {
    const from = `lane${lane}/${random.below(keysPerLane)}`;
    const contents = expected.get(from);
    const [content] = contents ?? [];
    if (from === name || contents?.size !== 1 || content === undefined) return;
    const source = { bucket, key: Buffer.from(from) };
    const copy = { source, bucket, key, metadata: random.below(2) === 0 ? undefined : anyClass(random) };
    await change(content, () => objects.copy(copy));
  } else {
    const body = freshBody(random);
    await change(hashOf(body), () => upload(objects, key, body, random));
  }
}

/** Two parts at most, one of which becomes the object: any but the last would have to be larger than bodies are here. */
async function upload(objects: Objects, key: Buffer, body: Buffer, random: Random): Promise<void> {
  const { id: uploadId } = await objects.createUpload({ bucket, key, metadata: anyClass(random) });
  const ref = { bucket, key, uploadId, verifier };
  if (random.below(2) === 0) await objects.uploadPart({ ...ref, partNumber: 7, body: bodyOf(freshBody(random)) });
  const part = await objects.uploadPart({ ...ref, partNumber: 3, body: bodyOf(body) });
  await objects.completeUpload({ bucket, key, uploadId, parts: [{ partNumber: 3, etag: part.etag }] });
}

/** A GET whose version is decided here and whose body is read much later, whatever happens to the key meanwhile. */
async function beginRead(lanes: Lanes, running: Running, name: string): Promise<(() => Promise<void>) | undefined> {
  const { wrong, counts, random } = lanes;
  const isFault = lanes.expectRead(running);
  const contents = lanes.expected.get(name) ?? new Set([undefined]);
  const found = await openContent(running, name).catch(async (error: unknown) => {
    if (await isFault()) wrong.push(`${name} cannot be opened: ${String(error)}`);
  });
  if (!found) return undefined;
  const turns = random.below(200);
  return async () => {
    for (let left = turns; left > 0 && running.power.on; left--) await turn();
    try {
      const content = await found();
      counts.reads += 1;
      if (!contents.has(content)) wrong.push(`${name} was read as ${content ?? "absent"}`);
    } catch (error) {
      if (await isFault()) wrong.push(`${name} broke off in the middle of a read: ${String(error)}`);
    }
  };
}

/** Decides the version; the result reads its bytes. */
export async function openContent(running: Running, name: string): Promise<() => Promise<Content>> {
  try {
    const got = await running.objects.get({ bucket, key: Buffer.from(name) });
    if (got.outcome !== "found") throw new Error("a read without conditions is found or fails");
    return async () => {
      const hash = createHash("sha256");
      try {
        for await (const piece of got.body()) hash.update(piece);
      } finally {
        got.release();
      }
      return hash.digest("hex");
    };
  } catch (error) {
    if (hasReason(error, "no_such_key")) return async () => undefined;
    throw error;
  }
}

/** Reads every key; from then on what was read is what stands there. */
export async function verifyAll(lanes: Pick<Lanes, "expected" | "mayLinger">, running: Running): Promise<string[]> {
  const { expected } = lanes;
  const wrong: string[] = [];
  for (const [name, contents] of expected) {
    try {
      const actual = await (await openContent(running, name))();
      if (!contents.has(actual))
        wrong.push(
          `${name} is ${actual ?? "absent"} and should be ${[...contents].map((each) => each ?? "absent").join(" or ")}`,
        );
      settle(lanes, name, actual);
    } catch (error) {
      if (!running.power.on) return wrong;
      wrong.push(`${name} cannot be read: ${String(error)}`);
    }
  }
  return wrong;
}
