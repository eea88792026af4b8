/**
 * multipart/form-data (RFC 7578) through busboy: hands out the files one at a time, in order. Fields that are not files
 * are ignored. Everything is bounded; a form that breaks off, in or between files, is an error.
 */
import busboy from "busboy";
import type { Readable } from "node:stream";
import type { DoorRequest } from "../core/door.ts";
import { HoldfastError } from "../core/errors.ts";
import { limits } from "../core/limits.ts";

export type FormFile = {
  readonly stream: Readable;
  readonly name: string | undefined;
  readonly type: string | undefined;
  readonly cutShort: () => HoldfastError | undefined;
};

type Parser = ReturnType<typeof busboy>;

function createParser({ headers }: DoorRequest): Parser {
  try {
    return busboy({
      headers,
      defParamCharset: "utf8",
      limits: {
        fields: 64,
        fieldNameSize: 256,
        fieldSize: 64 * 1024,
        files: limits.formFilesMax,
        parts: limits.formFilesMax + 64,
        fileSize: limits.putBytesMax,
        headerPairs: 32,
      },
    });
  } catch (error) {
    throw malformed(error);
  }
}

function malformed(cause: unknown): HoldfastError {
  const why = cause instanceof Error ? cause.message : String(cause);
  return new HoldfastError("incomplete_body", `The form is malformed or was cut short: ${why}.`, { cause });
}

function tooMany(): HoldfastError {
  return new HoldfastError("entity_too_large", `A form has at most ${limits.formFilesMax} files.`);
}

/** Calls `take` for each file; it must read or give up the stream before it resolves. The first error ends the form. */
export async function readForm(request: DoorRequest, take: (file: FormFile) => Promise<void>): Promise<void> {
  const parser = createParser(request);
  const source = request.body();
  let taken: Promise<void> = Promise.resolve();
  const parsed = new Promise<void>((resolve, reject) => {
    parser.on("file", (_field, stream, { filename, mimeType }) => {
      // Whoever reads the stream gets its error; before that it must not end the process.
      stream.on("error", () => undefined);
      const cutShort = () => (stream.truncated === true ? tooLarge() : undefined);
      taken = taken.then(async () => {
        // A form's file box that was left empty has neither a name nor a byte.
        if ((filename ?? "") === "" && !(await hasBytes(stream))) return void stream.resume();
        await take({ stream, name: filename, type: mimeType, cutShort });
      });
      taken.catch(reject);
    });
    parser.on("filesLimit", () => reject(tooMany())).on("partsLimit", () => reject(tooMany()));
    parser.on("error", (error) => reject(malformed(error)));
    parser.on("close", resolve);
    source.on("error", (error) => parser.destroy(error));
    const closed = (): void => {
      if (!source.readableEnded) parser.destroy(new Error("the connection ended"));
    };
    source.on("close", closed);
    // Whoever left before this was listened for is told of once only, then.
    if (source.destroyed) closed();
  });
  source.pipe(parser);
  try {
    await parsed;
    await taken;
  } catch (error) {
    // The rest of the request stays unread: the server drops it within bounds after the refusal.
    source.unpipe(parser);
    parser.on("error", () => undefined);
    parser.destroy();
    await taken.catch(() => undefined);
    throw error;
  }
}

async function hasBytes(stream: Readable): Promise<boolean> {
  // The form may have broken off while an earlier file was being stored: then nothing will happen here any more.
  if (stream.destroyed) return false;
  await new Promise<unknown>((resolve) => void stream.once("readable", resolve).once("close", resolve));
  return stream.readableLength > 0;
}

function tooLarge(): HoldfastError {
  return new HoldfastError("entity_too_large", `A file has at most ${limits.putBytesMax} bytes here.`);
}
