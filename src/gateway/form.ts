/**
 * A browser's form (multipart/form-data, RFC 7578, through busboy) with one file in it: fields first, then the file as a
 * stream. Promises: nothing is read ahead of whoever asks, at most postFieldsBytesMax of fields are held, a form that breaks
 * off anywhere is an error before its file has ended, and there are never two files.
 *
 * The file is the part named `file`, every other part is a field, whether or not it bears a file name: some clients give one to
 * all. Fields behind the file are read over, as AWS does: by then the file is judged.
 *
 * Known gap: a `file` without a file name is text to the parser, and held in memory: at most postTextFileBytesMax, in UTF-8.
 */
import busboy from "busboy";
import type { IncomingHttpHeaders } from "node:http";
import type { Readable } from "node:stream";
import { limits } from "../core/limits.ts";
import { S3Error } from "./errors.ts";

type Parser = ReturnType<typeof busboy>;

/** By their names in lower case. */
export type FormFields = ReadonlyMap<string, string>;

export type FormHead = { readonly fields: FormFields; readonly fileName: string };

/** What the parser puts in the place of bytes that are no UTF-8. */
const replacement = "\ufffd";

function malformed(cause?: unknown): S3Error {
  return new S3Error("MalformedPOSTRequest", "The body of your POST request is not well-formed multipart/form-data.", {
    cause,
  });
}

function createParser(headers: IncomingHttpHeaders): Parser {
  if (!/^multipart\/form-data\b/i.test(headers["content-type"] ?? ""))
    throw new S3Error("PreconditionFailed", "At least one of the pre-conditions you specified did not hold", {
      details: { Condition: "Bucket POST must be of the enclosure-type multipart/form-data" },
    });
  const { postFieldsMax, postTextFileBytesMax, putBytesMax } = limits;
  const bounds = {
    fields: postFieldsMax,
    files: postFieldsMax,
    parts: 2 * postFieldsMax,
    fieldNameSize: 256,
    fieldSize: postTextFileBytesMax + 1,
    // One more than there may be: who reads the file sees that it is too large, and never a part of it for the whole.
    fileSize: putBytesMax + 1,
    headerPairs: 32,
  };
  try {
    return busboy({ headers, defParamCharset: "utf8", limits: bounds });
  } catch (error) {
    throw malformed(error);
  }
}

function wrongFiles(count: number): S3Error {
  return new S3Error("InvalidArgument", "POST requires exactly one file upload per request.", {
    details: { ArgumentName: "file", ArgumentValue: count },
  });
}

function tooManyFields(): S3Error {
  return new S3Error(
    "MaxPostPreDataLengthExceededError",
    "Your POST request fields preceding the upload file were too large.",
    { details: { MaxPostPreDataLengthBytes: limits.postFieldsBytesMax } },
  );
}

function tooLongText(): S3Error {
  return new S3Error(
    "EntityTooLarge",
    "A file that a form brings without a file name exceeds the maximum allowed size",
    {
      details: { MaxSizeAllowed: limits.postTextFileBytesMax },
    },
  );
}

/** Read in this order: `head`, `file` to its end; `close` however it went. */
export class Form {
  readonly #parser: Parser;
  readonly #pieces: AsyncIterator<Uint8Array>;
  readonly #fields = new Map<string, string>();
  #fieldBytes = 0;
  /** Fields that the parser hands out as streams: each is whole before the next part begins, but is only then told. */
  readonly #collecting: Promise<void>[] = [];
  #fileName: string | undefined;
  /** Bytes of the file that the parser has let go and nobody has taken: no more than came in two pieces. */
  #queue: Uint8Array[] = [];
  #ended = false;
  /** Ends the wait for the parser to have dealt with a piece. */
  #settled: () => void = () => undefined;
  #failure: Error | undefined;

  /** `pieces`: the request's body, as it comes. Errors: PreconditionFailed, MalformedPOSTRequest for what is no form. */
  constructor(headers: IncomingHttpHeaders, pieces: AsyncIterable<Uint8Array>) {
    this.#parser = createParser(headers);
    this.#pieces = pieces[Symbol.asyncIterator]();
    this.#parser
      .on("field", (name: string | undefined, value, { valueTruncated }) => {
        if (isFile(name)) this.#takeTextFile(value, valueTruncated);
        else if (this.#fileName === undefined) this.#takeField(name, value);
      })
      .on("file", (name: string | undefined, stream, { filename }: { readonly filename: string | undefined }) => {
        // It fails with the parser, whose error is the one that counts.
        stream.on("error", () => undefined);
        if (isFile(name)) this.#takeFile(filename, stream);
        else if (this.#fileName === undefined) this.#collecting.push(this.#collectField(name, stream));
        else stream.resume();
      })
      .on("error", (error) => this.#fail(malformed(error)))
      .on("close", () => {
        this.#ended = true;
        this.#settled();
      });
    for (const event of ["filesLimit", "fieldsLimit", "partsLimit"] as const)
      this.#parser.on(event, () => this.#fail(tooManyFields()));
  }

  /** All fields before the file. Errors: those of `pieces`; InvalidArgument without a file. */
  async head(): Promise<FormHead> {
    let more = true;
    while (more && this.#fileName === undefined) more = await this.#advance();
    if (this.#failure !== undefined) throw this.#failure;
    if (this.#fileName === undefined) throw wrongFiles(0);
    await Promise.all(this.#collecting);
    if (this.#failure !== undefined) throw this.#failure;
    return { fields: this.#fields, fileName: this.#fileName };
  }

  /** The file's bytes; ends when all of the form has come. Errors: as `head`. */
  async *file(): AsyncGenerator<Uint8Array, void, undefined> {
    let more = true;
    while (more) {
      more = await this.#advance();
      const taken = this.#queue;
      this.#queue = [];
      yield* taken;
    }
  }

  /** What was not read is left to the connection. */
  async close(): Promise<void> {
    this.#parser.on("error", () => undefined).destroy();
    await this.#pieces.return?.();
  }

  /** Gives the parser one more piece; false when there are no more and the form is whole. */
  async #advance(): Promise<boolean> {
    if (this.#failure !== undefined) throw this.#failure;
    if (this.#ended) return false;
    const next = await this.#pieces.next();
    // The parser may have come to an end meanwhile, and tells it only once.
    if (this.#failure !== undefined) throw this.#failure;
    if (this.#ended) return false;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#settled = resolve;
    if (next.done === true) this.#finish();
    else this.#parser.write(next.value, () => resolve());
    await promise;
    if (this.#failure !== undefined) throw this.#failure;
    return true;
  }

  /**
   * The parser waits for the end of every part that it has begun. All there is has come, and whoever reads parts here takes them as
   * they come, without leaving the turn: a part that has no end by then (one behind the end of the form, in the same piece) gets none.
   */
  #finish(): void {
    this.#parser.end();
    const refuse = (): void => (this.#ended ? undefined : this.#fail(malformed()));
    setImmediate(() => setImmediate(refuse));
  }

  #fail(error: Error): void {
    this.#failure ??= error;
    // What was found wrong may never be taken from the parser, which waits for that.
    this.#settled();
  }

  #takeField(name: string | undefined, value: string): void {
    if (name === undefined) return;
    this.#fieldBytes += name.length + Buffer.byteLength(value);
    if (this.#fieldBytes > limits.postFieldsBytesMax) return this.#fail(tooManyFields());
    const lower = name.toLowerCase();
    // A field that is there twice would mean one thing to who judges it and perhaps another to who uses it.
    if (value.includes(replacement) || this.#fields.has(lower)) return this.#fail(malformed());
    this.#fields.set(lower, value);
  }

  async #collectField(name: string | undefined, stream: Readable): Promise<void> {
    const pieces: Buffer[] = [];
    let bytes = 0;
    stream.on("data", (piece: Buffer) => {
      bytes += piece.length;
      if (bytes > limits.postFieldsBytesMax) this.#fail(tooManyFields());
      else pieces.push(piece);
    });
    await new Promise((resolve) => stream.once("close", resolve));
    this.#takeField(name, Buffer.concat(pieces).toString());
  }

  #takeFile(name: string | undefined, stream: Readable): void {
    if (this.#fileName !== undefined) return this.#fail(wrongFiles(2));
    this.#fileName = name ?? "";
    stream.on("data", (piece: Uint8Array) => void this.#queue.push(piece));
  }

  #takeTextFile(text: string, isTruncated: boolean): void {
    if (this.#fileName !== undefined) return this.#fail(wrongFiles(2));
    if (isTruncated) return this.#fail(tooLongText());
    // What its bytes were cannot be told any more.
    if (text.includes(replacement)) return this.#fail(malformed());
    this.#fileName = "";
    this.#queue.push(Buffer.from(text));
  }
}

function isFile(name: string | undefined): boolean {
  return name?.toLowerCase() === "file";
}
