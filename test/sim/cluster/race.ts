/**
 * Clients that change the same few keys through any process of any node at once, with conditions or without. What they were
 * answered has to be explained by one order of all that happened to a key (test/linear/checker.ts). A key is used for a
 * while and then given up for the next, so that histories stay short enough to be searched.
 */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { hasReason } from "../../../src/core/errors.ts";
import type { Random } from "../../../src/core/random.ts";
import type { Objects } from "../../../src/object/object.ts";
import { checkHistory, type Operation, type State } from "../../linear/checker.ts";
import { bodyOf } from "../bodies.ts";
import { isRefusal } from "../crew.ts";
import { freshBody, metadata, verifier } from "../lanes.ts";
import { bucket, type Running } from "../world.ts";

const keysAtOnce = 2;
const operationsPerKey = 24;

export type RaceParts = {
  readonly random: Random;
  any(): Running | undefined;
  /** Rises with everything that happens. */
  readonly nextMoment: () => number;
};

type Call = Operation["call"];
/** With the bytes to put. */
type Chosen = { readonly call: Call; readonly body: Buffer };

function etagOf(bytes: Uint8Array): string {
  return createHash("md5").update(bytes).digest("hex");
}

/** Which version it is; its bytes have to be those, as far as they can be read. */
async function read(objects: Objects, key: Buffer): Promise<State> {
  let got;
  try {
    got = await objects.get({ bucket, key });
  } catch (error) {
    if (hasReason(error, "no_such_key")) return undefined;
    throw error;
  }
  assert(got.outcome === "found", "a read without conditions is found or fails");
  const { etag } = got.info;
  const hash = createHash("md5");
  try {
    for await (const piece of got.body()) hash.update(piece);
  } catch {
    return etag;
  } finally {
    got.release();
  }
  assert.equal(hash.digest("hex"), etag, "the bytes are those of the version");
  return etag;
}

export class Race {
  readonly #parts: RaceParts;
  readonly #histories = new Map<string, Operation[]>();
  readonly #begun = new Map<string, number>();
  readonly #keys: string[] = [];
  answered = 0;

  constructor(parts: RaceParts) {
    this.#parts = parts;
  }

  /** One operation, through a process that is there. */
  async step(): Promise<void> {
    const running = this.#parts.any();
    if (running === undefined) return;
    const { random, nextMoment } = this.#parts;
    const key = this.#key(random.below(keysAtOnce));
    const chosen = this.#choose(key);
    const { call } = chosen;
    const startMs = nextMoment();
    const answer = await this.#ask(running, key, chosen);
    if (answer.kind !== "unknown") this.answered += 1;
    else if (call.kind === "get") return;
    const endMs = answer.kind === "unknown" ? Infinity : nextMoment();
    this.#histories.get(key)!.push({ startMs, endMs, call, answer });
  }

  /** What no order explains. */
  check(): string[] {
    return [...this.#histories].flatMap(([key, history]) => {
      const why = checkHistory(undefined, history);
      return why === undefined ? [] : [`${key}: ${why}`];
    });
  }

  #key(place: number): string {
    const key = this.#keys[place];
    const begun = key === undefined ? operationsPerKey : this.#begun.get(key)!;
    if (key !== undefined && begun < operationsPerKey) {
      this.#begun.set(key, begun + 1);
      return key;
    }
    const next = `race/${this.#histories.size}`;
    this.#histories.set(next, []);
    this.#begun.set(next, 1);
    this.#keys[place] = next;
    return next;
  }

  #choose(key: string): Chosen {
    const { random } = this.#parts;
    const dice = random.below(8);
    const body = Buffer.concat([random.bytes(8), freshBody(random)]);
    if (dice < 3) return { call: { kind: "get" }, body };
    if (dice === 3) return { call: { kind: "delete" }, body };
    const put = { kind: "put", etag: etagOf(body) } as const;
    if (dice === 4) return { call: { ...put, ifNoneMatch: "*" }, body };
    const seen = this.#histories.get(key)!.findLast(({ call }) => call.kind === "put")?.call;
    if (dice === 5 && seen?.kind === "put") return { call: { ...put, ifMatch: seen.etag }, body };
    return { call: put, body };
  }

  async #ask({ objects }: Running, name: string, { call, body }: Chosen): Promise<Operation["answer"]> {
    const key = Buffer.from(name);
    try {
      if (call.kind === "get") return { kind: "value", etag: await read(objects, key) };
      if (call.kind === "delete") await objects.delete({ bucket, key });
      else {
        const { ifMatch, ifNoneMatch } = call;
        const conditions = { ...(ifMatch && { ifMatch: [ifMatch] }), ...(ifNoneMatch && { ifNoneMatch }) };
        await objects.put({ bucket, key, body: bodyOf(body), metadata, verifier, conditions });
      }
      return { kind: "done" };
    } catch (error) {
      if (hasReason(error, "precondition_failed", "no_such_key")) return { kind: "refused" };
      if (isRefusal(error) || hasReason(error, "conditional_conflict", "operation_aborted")) return { kind: "unknown" };
      throw error;
    }
  }
}
