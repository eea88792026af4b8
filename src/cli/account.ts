/** Accounts, and what all buckets of one may hold together (docs/quotas.md). */
import type { Command } from "commander";
import { askAdmin } from "../client/admin_client.ts";
import { HoldfastError } from "../core/errors.ts";
import { connection, print, printJson, withConnection, type ConnectionOptions } from "./connection.ts";
import { quotaLines, quotaOf, type QuotaFacts, type QuotaOptions } from "./quota.ts";

type Listed = { readonly account: string; readonly name: string; readonly createdAt: string };

export function register(program: Command): void {
  const account = program.command("account").description("accounts, which buckets and users belong to (root key)");
  withConnection(account.command("create"))
    .description("make an account, for others who share the store; `key create --account` makes its key")
    .argument("<name>")
    .action(async (name: string, options: ConnectionOptions) => {
      const made = await askAdmin(connection(options), { method: "POST", path: "/_/admin/accounts", body: { name } });
      if (options.json) printJson(made);
      else print(`account ${String(made["account"])} created: ${name}`);
    });
  withConnection(account.command("list"))
    .description("list all accounts")
    .action(async (options: ConnectionOptions) => {
      const { accounts } = await askAdmin(connection(options), { method: "GET", path: "/_/admin/accounts" });
      for (const each of accounts as Listed[]) {
        if (options.json) printJson(each);
        else print(`${each.createdAt}  ${each.account}  ${each.name}`);
      }
    });
  withConnection(account.command("show"))
    .description("say what all buckets of an account hold, where it has a quota")
    .argument("[number]", "the account; the store's own if left out", "own")
    .action(async (number: string, options: ConnectionOptions) => {
      tell(await askAdmin(connection(options), { method: "GET", path: addressOf(number) }), options);
    });
  withConnection(account.command("set"))
    .description("set what all buckets of an account may hold together")
    .argument("[number]", "the account; the store's own if left out", "own")
    .option("--quota-bytes <size|none>", "bytes of all versions and of parts of uploads, as 10GiB")
    .option("--quota-objects <number|none>", "versions of every kind")
    .action(async (number: string, options: ConnectionOptions & QuotaOptions) => {
      const quota = quotaOf(options);
      if (quota === undefined)
        throw new HoldfastError("invalid_argument", "Nothing to set: give --quota-bytes or --quota-objects.");
      tell(await askAdmin(connection(options), { method: "PUT", path: addressOf(number), body: { quota } }), options);
    });
}

function addressOf(number: string): string {
  return `/_/admin/account-quotas/${encodeURIComponent(number)}`;
}

function tell(facts: Readonly<Record<string, unknown>>, options: ConnectionOptions): void {
  if (options.json) return printJson(facts);
  const lines = quotaLines(facts as QuotaFacts);
  print(`account ${String(facts["account"])}${lines.length === 0 ? ": no quota" : ""}`);
  for (const line of lines) print(line);
}
