/** What all client commands share: where the server is, who asks, how addresses are written, how results are printed. */
import type { Command } from "commander";
import { HoldfastError } from "../core/errors.ts";
import { S3Client } from "../client/s3_client.ts";

export type ConnectionOptions = {
  readonly url?: string;
  readonly accessKey?: string;
  readonly secretKey?: string;
  readonly region?: string;
  readonly insecure?: boolean;
  readonly json?: boolean;
};

export function withConnection(command: Command): Command {
  return command
    .option("--url <url>", "the server (HOLDFAST_URL; default http://127.0.0.1:9000)")
    .option("--access-key <key>", "the access key (HOLDFAST_ACCESS_KEY)")
    .option(
      "--secret-key <key>",
      "the secret key (HOLDFAST_SECRET_KEY; better there than here, where others may see it)",
    )
    .option("--region <region>", "the region to sign for (HOLDFAST_REGION; default us-east-1)")
    .option("--insecure", "accept any TLS certificate")
    .option("--json", "print JSON");
}

function required(value: string | undefined, what: string, variable: string): string {
  const hint = "The server printed it when it first started.";
  if (!value) throw new HoldfastError("invalid_argument", `No ${what} is given: set ${variable}. ${hint}`);
  // A header takes no others, and a secret of others would only be told to be wrong.
  if (/^[\x21-\x7e]+$/.test(value)) return value;
  throw new HoldfastError("invalid_argument", `The ${what} in ${variable} has characters that no key has. ${hint}`);
}

export type Connection = {
  readonly endpoint: URL;
  readonly accessKey: string;
  readonly secretKey: string;
  readonly region: string;
  readonly insecure: boolean;
};

export function connection(options: ConnectionOptions): Connection {
  const env = process.env;
  const address = options.url ?? env["HOLDFAST_URL"] ?? "http://127.0.0.1:9000";
  if (!/^https?:\/\//.test(address) || !URL.canParse(address)) {
    throw new HoldfastError("invalid_argument", `"${address}" is not an http:// or https:// address.`);
  }
  return {
    endpoint: new URL(address),
    accessKey: required(options.accessKey ?? env["HOLDFAST_ACCESS_KEY"], "access key", "HOLDFAST_ACCESS_KEY"),
    secretKey: required(options.secretKey ?? env["HOLDFAST_SECRET_KEY"], "secret key", "HOLDFAST_SECRET_KEY"),
    region: options.region ?? env["HOLDFAST_REGION"] ?? "us-east-1",
    insecure: options.insecure ?? false,
  };
}

/** Opens a client for the time of `work`. */
export async function withClient<T>(options: ConnectionOptions, work: (client: S3Client) => Promise<T>): Promise<T> {
  const client = new S3Client(connection(options));
  try {
    return await work(client);
  } finally {
    client.close();
  }
}

export type Address = { readonly bucket: string; readonly key: string };

/** The address of an object. Errors: `invalid_argument`, with `hint`, where only a bucket is named. */
export function parseObject(address: string, hint: string): Address {
  const found = parseAddress(address);
  if (found.key !== "") return found;
  throw new HoldfastError("invalid_argument", `"${found.bucket}" is a bucket: ${hint}`);
}

/** `bucket`, `bucket/key` or `s3://bucket/key`. */
export function parseAddress(address: string): Address {
  const plain = address.replace(/^s3:\/\//, "");
  const slash = plain.indexOf("/");
  const bucket = slash < 0 ? plain : plain.slice(0, slash);
  if (bucket === "") throw new HoldfastError("invalid_argument", `"${address}" names no bucket: write bucket/key.`);
  return { bucket, key: slash < 0 ? "" : plain.slice(slash + 1) };
}

/** Control characters of keys and messages as `\\x1b`: a terminal would obey them, and each line is to stay one. */
export function printable(text: string): string {
  return text.replace(
    /[\u0000-\u001f\u007f-\u009f]/g,
    (char) => `\\x${char.charCodeAt(0).toString(16).padStart(2, "0")}`,
  );
}

export function print(line: string): void {
  process.stdout.write(`${printable(line)}\n`);
}

/** A remark beside the result, on standard error. */
export function remark(line: string): void {
  // Where a progress line stands, it is written over.
  process.stderr.write(`${process.stderr.isTTY ? "\r\x1b[K" : ""}holdfast: ${printable(line)}\n`);
}

/** `1 file`, `2 files`. */
export function counted(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? "" : "s"}`;
}

export function printJson(value: unknown): void {
  process.stdout.write(`${JSON.stringify(value)}\n`);
}

/** 1536 → "1.5 KiB". */
export function humanBytes(bytes: number): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${unit === 0 ? value : value.toFixed(1)} ${units[unit]}`;
}
