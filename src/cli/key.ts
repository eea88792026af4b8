import type { Command } from "commander";
import { HoldfastError } from "../core/errors.ts";
import { connection, print, printJson, withConnection } from "./connection.ts";
import type { ConnectionOptions } from "./connection.ts";

type ListedKey = { readonly accessKey: string; readonly description?: string; readonly createdAt?: string };
type MadeKey = ListedKey & { readonly secretKey: string };

export function register(program: Command): void {
  const key = program.command("key").description("make, list and remove access keys (asks with the root key)");
  withConnection(key.command("create"))
    .option("--description <text>", "what it is for")
    .action(async (options: ConnectionOptions & { description?: string }) => {
      const made = (await admin(options, "POST", "", { description: options.description ?? "" })) as MadeKey;
      if (options.json) printJson(made);
      else print(`access key  ${made.accessKey}\nsecret key  ${made.secretKey}\nThe secret is shown only now.`);
    });
  withConnection(key.command("list")).action(async (options: ConnectionOptions) => {
    const { keys } = (await admin(options, "GET", "")) as { keys: ListedKey[] };
    for (const each of keys) {
      if (options.json) printJson(each);
      else print(`${each.createdAt ?? ""}  ${each.accessKey}  ${each.description ?? ""}`);
    }
  });
  withConnection(key.command("remove"))
    .argument("<access-key>")
    .action(async (accessKey: string, options: ConnectionOptions) => {
      await admin(options, "DELETE", `/${encodeURIComponent(accessKey)}`);
      if (options.json) printJson({ accessKey });
      else print(`access key ${accessKey} removed`);
    });
}

async function admin(options: ConnectionOptions, method: string, rest: string, body?: unknown): Promise<unknown> {
  const { endpoint, accessKey, secretKey } = connection(options);
  const response = await fetch(new URL(`/_/admin/keys${rest}`, endpoint), {
    method,
    headers: {
      authorization: `Basic ${Buffer.from(`${accessKey}:${secretKey}`).toString("base64")}`,
      ...(body !== undefined && { "content-type": "application/json" }),
    },
    ...(body !== undefined && { body: JSON.stringify(body) }),
  }).catch((error: unknown) => {
    throw new HoldfastError("unavailable", `${endpoint.host} does not answer.`, { cause: error });
  });
  const text = await response.text();
  const answer = (text === "" ? {} : JSON.parse(text)) as { error?: { message?: string } };
  if (response.ok) return answer;
  throw new HoldfastError(
    "access_denied",
    answer.error?.message ?? `The server answered with status ${response.status}.`,
  );
}
