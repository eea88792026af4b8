import type { Command } from "commander";
import { askAdmin } from "../client/admin_client.ts";
import { connection, print, printJson, withConnection } from "./connection.ts";
import type { ConnectionOptions } from "./connection.ts";

type ShownKey = {
  readonly id: string;
  readonly version: number;
  readonly createdAt: string;
  readonly rotatedAt: string;
};

const path = "/_/admin/encryption-keys";

export function register(program: Command): void {
  const kms = program
    .command("kms")
    .description("make, list and rotate the keys of server-side encryption (asks with the root key)");
  withConnection(kms.command("create"))
    .description("make a key that requests may name (x-amz-server-side-encryption-aws-kms-key-id)")
    .argument("<id>")
    .action(create);
  withConnection(kms.command("list")).description("list all encryption keys").action(list);
  withConnection(kms.command("rotate"))
    .description("give a key a new version, which new objects use; objects that are there are read as before")
    .argument("<id>")
    .action(rotate);
}

async function create(id: string, options: ConnectionOptions): Promise<void> {
  const made = (await askAdmin(connection(options), { method: "POST", path, body: { id } })) as ShownKey;
  if (options.json) return printJson(made);
  print(`encryption key ${made.id} made`);
}

async function list(options: ConnectionOptions): Promise<void> {
  const target = connection(options);
  for (let after: string | null | undefined; after !== null;) {
    const query = after === undefined ? "" : `?after=${encodeURIComponent(after)}`;
    const page = (await askAdmin(target, { method: "GET", path: path + query })) as {
      keys: ShownKey[];
      next: string | null;
    };
    for (const each of page.keys) {
      if (options.json) printJson(each);
      else print(`${each.createdAt}  ${each.id}  version ${each.version} of ${each.rotatedAt}`);
    }
    after = page.next;
  }
}

async function rotate(id: string, options: ConnectionOptions): Promise<void> {
  const request = { method: "POST", path: `${path}/${encodeURIComponent(id)}/rotate` };
  const rotated = (await askAdmin(connection(options), request)) as ShownKey;
  if (options.json) return printJson(rotated);
  print(`encryption key ${rotated.id} has version ${rotated.version} now`);
}
