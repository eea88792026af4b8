/** Files that are given to a command; `-` is standard input. */
import { readFile } from "node:fs/promises";
import { HoldfastError } from "../core/errors.ts";

export async function textIn(file: string): Promise<string> {
  if (file !== "-") return readFile(file, "utf8");
  const pieces: Buffer[] = [];
  for await (const piece of process.stdin) pieces.push(piece as Buffer);
  return Buffer.concat(pieces).toString("utf8");
}

/** A secret, which stands in the first line of a file and never among the arguments, where others may see it. */
export async function secretIn(file: string): Promise<string> {
  const secret = (await textIn(file)).split(/\r?\n/, 1)[0]!;
  if (secret !== "") return secret;
  const where = file === "-" ? "Standard input" : file;
  throw new HoldfastError("invalid_argument", `${where} has an empty first line: there is no secret in it.`);
}
