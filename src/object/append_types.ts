/** What the doors can ask about appending (append.ts): a part of `Objects`. */
import type { PutOptions, PutResult } from "./object.ts";

export type AppendOptions = Omit<PutOptions, "encryption" | "lock" | "event"> & {
  /** How many bytes the object must have; 0 for a key without an object makes one. */
  readonly offset: number;
};

export type AppendCalls = {
  /**
   * Adds the body to the end of the object, whose earlier bytes are not touched. An object that is there keeps its metadata, tags and list:
   * what the options say of them must be nothing, or the same. `invalid_write_offset`, `too_many_parts`, `invalid_request` where there
   * are versions or encryption, and those of a PUT.
   */
  append(options: AppendOptions): Promise<PutResult>;
};
