import type { Command } from "commander";
import { askAdmin } from "../client/admin_client.ts";
import { connection, print, printJson, withConnection } from "./connection.ts";
import type { ConnectionOptions } from "./connection.ts";
import { secretIn } from "./input.ts";

type ListedKey = {
  readonly accessKey: string;
  readonly description: string;
  readonly createdAt: string;
  readonly owner: { readonly account: string; readonly user?: string } | null;
  readonly off?: true;
};
type MadeKey = ListedKey & { readonly secretKey: string };

export function register(program: Command): void {
  const key = program
    .command("key")
    .description("make, take over, list and remove access keys (asks with the root key)");
  withOwner(key.command("create")).description("make an access key; its secret is printed this once").action(create);
  withOwner(key.command("import"))
    .description("take over an access key that clients have from another store")
    .argument("<access-key>")
    .requiredOption("--secret-file <file>", "its secret is the first line of this file; - is standard input")
    .action(take);
  withConnection(key.command("list")).description("list all access keys but the root key").action(list);
  withConnection(key.command("remove"))
    .description("remove an access key; it is refused from then on")
    .argument("<access-key>")
    .action(remove);
}

function withOwner(command: Command): Command {
  return withConnection(command)
    .option("--description <text>", "what it is for")
    .option("--user <name>", "whose it is; without one it may do everything")
    .option("--account <number>", "the user's account, or whose own key it is");
}

type NewKeyOptions = { readonly description?: string; readonly user?: string; readonly account?: string };

async function create(options: ConnectionOptions & NewKeyOptions): Promise<void> {
  const made = await make(options, {});
  if (options.json) return printJson(made);
  print(`access key  ${made.accessKey}`);
  print(`secret key  ${made.secretKey}`);
  print("The secret is shown only now.");
}

async function take(accessKey: string, options: ConnectionOptions & NewKeyOptions & { secretFile: string }) {
  const { secretKey: _, ...made } = await make(options, { accessKey, secretKey: await secretIn(options.secretFile) });
  if (options.json) return printJson(made);
  print(`access key ${accessKey} taken over: ${ownerText(made)}`);
}

type GivenKey = { readonly accessKey?: string; readonly secretKey?: string };

async function make(options: ConnectionOptions & NewKeyOptions, given: GivenKey): Promise<MadeKey> {
  const { description = "", user, account } = options;
  const body = { ...given, description, user, account };
  return (await askAdmin(connection(options), { method: "POST", path: "/_/admin/keys", body })) as MadeKey;
}

async function list(options: ConnectionOptions): Promise<void> {
  const target = connection(options);
  for (let after: string | null | undefined; after !== null;) {
    const path = `/_/admin/keys${after === undefined ? "" : `?after=${encodeURIComponent(after)}`}`;
    const page = (await askAdmin(target, { method: "GET", path })) as { keys: ListedKey[]; next: string | null };
    for (const each of page.keys) {
      if (options.json) printJson(each);
      else print(`${each.createdAt}  ${each.accessKey}  ${ownerText(each)}  ${each.description}`);
    }
    after = page.next;
  }
}

/** Whose key it is, as a user reads it. */
function ownerText({ owner, off }: ListedKey): string {
  if (owner === null) return "everything";
  const whose = owner.user === undefined ? `account ${owner.account}` : `user ${owner.user}`;
  return off === true ? `${whose} (off)` : whose;
}

async function remove(accessKey: string, options: ConnectionOptions): Promise<void> {
  await askAdmin(connection(options), { method: "DELETE", path: `/_/admin/keys/${encodeURIComponent(accessKey)}` });
  if (options.json) printJson({ accessKey });
  else print(`access key ${accessKey} removed`);
}
