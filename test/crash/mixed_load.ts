/**
 * Mixed load with a memory of what was acknowledged. Each lane owns its keys, so what must be under a key is known
 * exactly: after an acknowledged change one content; after a change whose answer never came, the old or the new one.
 */
import { createHash } from "node:crypto";
import { S3RequestError } from "../../src/client/s3_client.ts";
import type { S3Client } from "../../src/client/s3_client.ts";
import { seededRandom } from "../../src/core/random.ts";
import type { Random } from "../../src/core/random.ts";

/** The SHA-256 of the content, or undefined for "no such key". */
type Content = string | undefined;

const bucket = "crash";
const partBytes = 5 * 1024 * 1024;

const hashOf = (bytes: Buffer): string => createHash("sha256").update(bytes).digest("hex");

export class MixedLoad {
  readonly #random: Random;
  /** Key → every content it may have; one entry when it is known. */
  readonly #expected = new Map<string, Set<Content>>();
  acknowledged = 0;
  unanswered = 0;

  constructor(seed: number) {
    this.#random = seededRandom(seed);
  }

  #body(): Buffer {
    const sizes = [0, 100, 4_096, 20_000, 300_000, 5_000_000];
    const body = Buffer.alloc(sizes[this.#random.below(sizes.length)]! + this.#random.below(50));
    // Half of the bodies compress, half do not.
    if (this.#random.below(2) === 0) body.fill(`line ${this.#random.below(1e9)}\n`);
    else
      for (let offset = 0; offset + 4 <= body.length; offset += 4)
        body.writeUInt32LE(this.#random.below(2 ** 32), offset);
    return body;
  }

  #known(key: string): Set<Content> {
    return this.#expected.get(key) ?? new Set([undefined]);
  }

  /** Works on the lane's keys until `stop` is aborted; errors of a server that was killed are what this is about. */
  async runLane(client: S3Client, lane: number, stop: AbortSignal): Promise<void> {
    while (!stop.aborted) {
      const key = `lane${lane}/key ${this.#random.below(12)}`;
      await this.#step(client, lane, key);
    }
  }

  async #step(client: S3Client, lane: number, key: string): Promise<void> {
    const dice = this.#random.below(10);
    if (dice < 5) {
      const body = this.#body();
      await this.#change(key, hashOf(body), () => client.run({ method: "PUT", bucket, key, body }));
    } else if (dice < 7) {
      await this.#change(key, undefined, () => client.run({ method: "DELETE", bucket, key }));
    } else if (dice < 9) {
      await this.#copy(client, lane, key);
    } else {
      await this.#multipart(client, key);
    }
  }

  async #copy(client: S3Client, lane: number, key: string): Promise<void> {
    const source = `lane${lane}/key ${this.#random.below(12)}`;
    const contents = this.#known(source);
    const [content] = contents;
    if (source === key || contents.size !== 1 || content === undefined) return;
    const headers = { "x-amz-copy-source": encodeURI(`/${bucket}/${source}`) };
    await this.#change(key, content, () => client.run({ method: "PUT", bucket, key, headers }));
  }

  async #multipart(client: S3Client, key: string): Promise<void> {
    const parts = [Buffer.alloc(partBytes, this.#random.below(256)), this.#body()];
    await this.#change(key, hashOf(Buffer.concat(parts)), async () => {
      const uploadId = await client.createUpload(bucket, key);
      const etags: string[] = [];
      for (const [index, body] of parts.entries()) {
        etags.push(await client.uploadPart({ bucket, key, uploadId, partNumber: index + 1 }, body));
      }
      await client.completeUpload({ bucket, key, uploadId }, etags);
    });
  }

  async #change(key: string, content: Content, request: () => Promise<unknown>): Promise<void> {
    const before = this.#known(key);
    this.#expected.set(key, new Set([...before, content]));
    try {
      await request();
      this.#expected.set(key, new Set([content]));
      this.acknowledged += 1;
    } catch (error) {
      if (error instanceof S3RequestError && error.status < 500) throw error;
      this.unanswered += 1;
      // A killed server refuses connections at once; don't spin.
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  async prepare(client: S3Client): Promise<void> {
    await client.run({ method: "PUT", bucket });
  }

  /** Reads every key and every listing entry; returns a sentence for each thing that is wrong. */
  async verify(client: S3Client): Promise<string[]> {
    const wrong: string[] = [];
    const listed = new Set<string>();
    for await (const each of client.list(bucket, "")) listed.add(each.key);
    for (const [key, contents] of this.#expected) {
      const actual = await this.#read(client, key).catch((error: unknown) => `unreadable (${String(error)})`);
      if (!contents.has(actual))
        wrong.push(
          `${key}: is ${actual ?? "absent"}, may be ${[...contents].map((each) => each ?? "absent").join(" or ")}`,
        );
      if (listed.has(key) !== (actual !== undefined)) wrong.push(`${key}: listing and reading disagree`);
      this.#expected.set(key, new Set([actual]));
      listed.delete(key);
    }
    for (const key of listed) wrong.push(`${key}: listed but never written`);
    return wrong;
  }

  async #read(client: S3Client, key: string): Promise<Content> {
    try {
      return hashOf(await client.read(bucket, key));
    } catch (error) {
      if (error instanceof S3RequestError && error.status === 404) return undefined;
      throw error;
    }
  }
}
