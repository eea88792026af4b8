/** What answers call a request and the process that answered it: `x-amz-request-id` and `x-amz-id-2`. */
import type { Random } from "../core/random.ts";

export class RequestIds {
  /** Of this process, and start. */
  readonly hostId: string;
  readonly #prefix: string;
  #requests = 0;

  constructor(random: Random) {
    this.hostId = Buffer.from(random.bytes(24)).toString("base64");
    this.#prefix = Buffer.from(random.bytes(4)).toString("hex").toUpperCase();
  }

  /** Unique per process and start. */
  next(): string {
    this.#requests = (this.#requests + 1) % 0x1_0000_0000;
    return this.#prefix + this.#requests.toString(16).toUpperCase().padStart(8, "0");
  }
}
