/**
 * Errors between nodes. What a node's call failed with comes back as that: with its reason, its message and its details,
 * an assertion as an assertion. What failed on the way is `drive_missing`, with a sentence that names the node.
 */
import { AssertionError } from "../core/assert.ts";
import { ByteReader, ByteWriter } from "../core/codec.ts";
import { HoldfastError, type ErrorDetails, type ErrorReason } from "../core/errors.ts";
import { clipped } from "./peer_wire.ts";

const detailsMax = 32;
const [ofStore, ofAssertion] = [1, 2];

/** What is neither of both is a bug over there, of which its log knows more. */
export function encodeError(error: unknown): Buffer {
  const writer = new ByteWriter();
  if (error instanceof AssertionError) return writer.u8(ofAssertion).string(clipped(error.message)).finish();
  if (!(error instanceof HoldfastError)) {
    const message = "Something went wrong inside another node; its log says what.";
    return writer.u8(ofStore).string("internal").string(message).varint(0).finish();
  }
  const details = Object.entries(error.details).slice(0, detailsMax);
  writer.u8(ofStore).string(error.reason).string(clipped(error.message)).varint(details.length);
  for (const [name, value] of details) {
    const isText = typeof value === "string";
    writer
      .string(clipped(name))
      .u8(isText ? 0 : 1)
      .string(clipped(String(value)));
  }
  return writer.finish();
}

/** Errors of newer builds that this one does not know are `unavailable`. */
export function decodeError(bytes: Uint8Array): Error {
  const reader = new ByteReader(bytes, "error");
  const kind = reader.u8();
  if (kind === ofAssertion) {
    const message = reader.string();
    reader.end();
    return new AssertionError(message);
  }
  if (kind !== ofStore) throw reader.corrupt("its kind is not known");
  const [reason, message] = [reader.string(), reader.string()];
  const details = readDetails(reader);
  reader.end();
  const error = new HoldfastError(reason as ErrorReason, message, { details });
  return isKnown(error) ? error : new HoldfastError("unavailable", message, { details });
}

/** A reason that this build does not know has no kind. */
function isKnown(error: HoldfastError): boolean {
  return typeof (error.kind as unknown) === "string";
}

function readDetails(reader: ByteReader): ErrorDetails {
  const count = reader.varint();
  if (count > detailsMax) throw reader.corrupt("there are too many details");
  const entries = Array.from({ length: count }, () => {
    const [name, isNumber, text] = [reader.string(), reader.u8() === 1, reader.string()];
    return [name, isNumber ? Number(text) : text] as const;
  });
  return Object.fromEntries(entries);
}

export type Trouble = {
  /** The peer's name. */
  readonly peer: string;
  /** Goes on after "Node x". */
  readonly why: string;
  /** The call may have been carried out. */
  readonly isOutcomeUnknown: boolean;
  readonly cause?: unknown;
};

export function peerAway({ peer, why, isOutcomeUnknown, cause }: Trouble): HoldfastError {
  const more = isOutcomeUnknown ? "; what was asked of it may have been done" : "";
  const details: ErrorDetails = isOutcomeUnknown ? { outcome: "unknown" } : {};
  return new HoldfastError("drive_missing", `Node ${peer} ${why}${more}.`, { details, cause });
}

/** The shard of an append that failed with it may be on its drive, or may still get there. */
export function isOutcomeUnknown(error: unknown): boolean {
  return error instanceof HoldfastError && error.details["outcome"] === "unknown";
}
