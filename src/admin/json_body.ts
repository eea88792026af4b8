/** Small JSON request bodies: bounded, one object, no names that nobody reads. */
import type { Readable } from "node:stream";
import { HoldfastError } from "../core/errors.ts";

const bytesMax = 64 * 1024;

function invalid(message: string): HoldfastError {
  return new HoldfastError("invalid_argument", message);
}

/** An empty body is an empty object. Errors: `invalid_argument`, `entity_too_large`, `incomplete_body`. */
export async function readJsonObject(stream: Readable, known: readonly string[]): Promise<Record<string, unknown>> {
  const text = await collect(stream);
  if (text.trim() === "") return {};
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch {
    throw invalid("The body is not JSON.");
  }
  if (typeof parsed !== "object" || parsed === null || Array.isArray(parsed)) {
    throw invalid("The body must be one JSON object.");
  }
  const unknown = Object.keys(parsed).find((name) => !known.includes(name));
  if (unknown !== undefined) throw invalid(`"${unknown}" is not known here.`);
  return parsed as Record<string, unknown>;
}

async function collect(stream: Readable): Promise<string> {
  const pieces: Buffer[] = [];
  let length = 0;
  try {
    for await (const piece of stream.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
      length += piece.length;
      if (length > bytesMax) throw new HoldfastError("entity_too_large", `The body has more than ${bytesMax} bytes.`);
      pieces.push(piece);
    }
  } catch (error) {
    if (error instanceof HoldfastError) throw error;
    throw new HoldfastError("incomplete_body", "The body did not arrive whole.", { cause: error });
  }
  return Buffer.concat(pieces).toString("utf8");
}

export function textField(body: Readonly<Record<string, unknown>>, name: string): string | undefined {
  const value = body[name];
  if (value === undefined || typeof value === "string") return value;
  throw invalid(`"${name}" must be a text.`);
}
