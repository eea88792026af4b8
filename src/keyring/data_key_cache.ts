/**
 * Data keys that a service has opened or sealed, kept so that it need not be asked for each read: at most so many, each for so long
 * after it was last asked for at the service, however often it is used. What several requests want at once is asked for once.
 */
import { hash } from "node:crypto";
import type { Clock } from "../core/clock.ts";
import { contextBytes, type EncryptionContext } from "../crypto/crypto.ts";
import type { DataKey } from "../crypto/data_key.ts";

export type SealedName = {
  readonly keyId: string;
  readonly sealed: Uint8Array;
  readonly context: EncryptionContext;
};

export type DataKeyBounds = {
  readonly countMax: number;
  /** 0: none is kept. */
  readonly keptMs: number;
};

export class DataKeyCache {
  readonly #bounds: DataKeyBounds;
  readonly #clock: Clock;
  /** In the order in which they came. */
  readonly #kept = new Map<string, { readonly dataKey: DataKey; readonly untilMs: number }>();
  readonly #asked = new Map<string, Promise<DataKey>>();

  constructor(bounds: DataKeyBounds, clock: Clock) {
    this.#bounds = bounds;
    this.#clock = clock;
  }

  keep(name: SealedName, dataKey: DataKey): void {
    this.#keep(textOf(name), dataKey);
  }

  /** `ask` is called when there is none. */
  async get(name: SealedName, ask: () => Promise<DataKey>): Promise<DataKey> {
    const text = textOf(name);
    const kept = this.#kept.get(text);
    if (kept !== undefined && this.#clock.monotonicMs() < kept.untilMs) return kept.dataKey;
    const asked = this.#asked.get(text);
    if (asked !== undefined) return asked;
    const asking = ask();
    this.#asked.set(text, asking);
    try {
      const dataKey = await asking;
      this.#keep(text, dataKey);
      return dataKey;
    } finally {
      this.#asked.delete(text);
    }
  }

  #keep(text: string, dataKey: DataKey): void {
    const { countMax, keptMs } = this.#bounds;
    if (keptMs === 0) return;
    const nowMs = this.#clock.monotonicMs();
    this.#kept.delete(text);
    this.#kept.set(text, { dataKey, untilMs: nowMs + keptMs });
    // All are kept equally long, so those that are over stand first.
    for (const [oldest, { untilMs }] of this.#kept) {
      if (this.#kept.size <= countMax && nowMs < untilMs) break;
      this.#kept.delete(oldest);
    }
  }
}

/** Longer texts are kept as their digests. */
const textCharsMax = 256;

/** What was sealed, by what, and in what context: whoever has not all of it gets no key that is kept. */
function textOf({ keyId, sealed, context }: SealedName): string {
  const bound = context.size === 0 ? "" : contextBytes(context).toString();
  const text = `${keyId}\0${bound}\0${Buffer.from(sealed.buffer, sealed.byteOffset, sealed.length).toString("latin1")}`;
  return text.length <= textCharsMax ? text : hash("sha256", text, "base64");
}
