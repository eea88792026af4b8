/** Users, groups, roles and policies: who may do what (docs/access.md). */
import type { Command } from "commander";
import { askAdmin } from "../client/admin_client.ts";
import { connection, print, printJson, withConnection } from "./connection.ts";
import type { ConnectionOptions } from "./connection.ts";
import { textIn } from "./input.ts";

type Options = ConnectionOptions & { readonly account?: string };
type Listed = { readonly name: string; readonly arn: string; readonly createdAt: string };
type Method = "GET" | "POST" | "PUT" | "DELETE";

export function register(program: Command): void {
  const user = program.command("user").description("who has keys, and what they may do (asks with the root key)");
  basics(user, "user", "users");
  holdings(user, "user", "users");
  withAccount(user.command("join"))
    .description("put a user into a group")
    .argument("<user>")
    .argument("<group>")
    .action(changing("PUT", "is in group", (name, group) => `users/${name}/groups/${group}`));
  withAccount(user.command("leave"))
    .description("take a user out of a group")
    .argument("<user>")
    .argument("<group>")
    .action(changing("DELETE", "is out of group", (name, group) => `users/${name}/groups/${group}`));
  bounding(user, "user", "users");
  const group = program.command("group").description("users that share policies (asks with the root key)");
  basics(group, "group", "groups");
  holdings(group, "group", "groups");
  registerRole(program.command("role").description("what trusted users may be for a while (asks with the root key)"));
  registerPolicy(program.command("policy").description("policies with a name of their own (asks with the root key)"));
}

function withAccount(command: Command): Command {
  return withConnection(command).option("--account <number>", "the account, if it is not the store's own");
}

async function ask(options: Options, method: Method, path: string, body?: object): Promise<Record<string, unknown>> {
  const mark = path.includes("?") ? "&" : "?";
  const account = options.account === undefined ? "" : `${mark}account=${encodeURIComponent(options.account)}`;
  return askAdmin(connection(options), { method, path: `/_/admin/${path}${account}`, ...(body && { body }) });
}

function say(options: Options, json: object, line: string): void {
  if (options.json) printJson(json);
  else print(line);
}

/** create, list, show and remove. */
function basics(command: Command, what: string, place: string): void {
  withAccount(command.command("create"))
    .description(`make a ${what}, which may do nothing yet`)
    .argument("<name>")
    .action(async (name: string, options: Options) => {
      const made = await ask(options, "POST", place, { name });
      say(options, made, `${what} ${name} created: ${String(made["arn"])}`);
    });
  readings(command, what, place);
}

function readings(command: Command, what: string, place: string): void {
  withAccount(command.command("list"))
    .description(`list all ${place}`)
    .action((options: Options) => list(options, place));
  withAccount(command.command("show"))
    .description(`print a ${what} as JSON`)
    .argument("<name>")
    .action(async (name: string, options: Options) => {
      const found = await ask(options, "GET", `${place}/${encodeURIComponent(name)}`);
      if (options.json) printJson(found);
      else for (const line of JSON.stringify(found, undefined, 2).split("\n")) print(line);
    });
  withAccount(command.command("remove"))
    .description(`remove a ${what} that nothing refers to`)
    .argument("<name>")
    .action(async (name: string, options: Options) => {
      await ask(options, "DELETE", `${place}/${encodeURIComponent(name)}`);
      say(options, { name }, `${what} ${name} removed`);
    });
}

async function list(options: Options, place: string): Promise<void> {
  for (let after: string | null | undefined; after !== null;) {
    const page = await ask(options, "GET", after === undefined ? place : `${place}?after=${encodeURIComponent(after)}`);
    for (const each of page[place] as Listed[]) say(options, each, `${each.createdAt}  ${each.name}  ${each.arn}`);
    after = page["next"] as string | null;
  }
}

/** What a user, a group or a role may do. */
function holdings(command: Command, what: string, place: string): void {
  withAccount(command.command("attach"))
    .description("attach a policy, by its name or ARN")
    .argument(`<${what}>`)
    .argument("<policy>")
    .action(changing("PUT", "has policy", (name, policy) => `${place}/${name}/policies/${policy}`));
  withAccount(command.command("detach"))
    .description("detach a policy")
    .argument(`<${what}>`)
    .argument("<policy>")
    .action(changing("DELETE", "has no longer policy", (name, policy) => `${place}/${name}/policies/${policy}`));
  withAccount(command.command("allow"))
    .description(`give the ${what} a policy of its own, from a file (- for standard input)`)
    .argument(`<${what}>`)
    .argument("<name>")
    .argument("<file>")
    .action(async (name: string, policy: string, file: string, options: Options) => {
      const path = `${place}/${encodeURIComponent(name)}/inline/${encodeURIComponent(policy)}`;
      await ask(options, "PUT", path, { document: await textIn(file) });
      say(options, { name, policy }, `${name} has policy ${policy}`);
    });
  withAccount(command.command("disallow"))
    .description(`take away a policy of the ${what}'s own`)
    .argument(`<${what}>`)
    .argument("<name>")
    .action(changing("DELETE", "has no longer policy", (name, policy) => `${place}/${name}/inline/${policy}`));
}

function bounding(command: Command, what: string, place: string): void {
  withAccount(command.command("bound"))
    .description("set the policy that bounds what all others allow; none takes it away")
    .argument(`<${what}>`)
    .argument("<policy|none>")
    .action(async (name: string, policy: string, options: Options) => {
      const body = { boundary: policy === "none" ? null : policy };
      await ask(options, "PUT", `${place}/${encodeURIComponent(name)}`, body);
      say(options, { name, boundary: policy }, `${what} ${name} is bounded by ${policy}`);
    });
}

function registerRole(role: Command): void {
  withAccount(role.command("create"))
    .description("make a role, which may do nothing yet; the file (- for standard input) says who may assume it")
    .argument("<name>")
    .argument("<trust-file>")
    .option("--description <text>", "what it is for")
    .option("--session-seconds <number>", "how long its sessions may be", Number)
    .action(
      async (name: string, file: string, options: Options & { description?: string; sessionSeconds?: number }) => {
        const { description, sessionSeconds: sessionSecondsMax } = options;
        const made = await ask(options, "POST", "roles", {
          name,
          trust: await textIn(file),
          description,
          sessionSecondsMax,
        });
        say(options, made, `role ${name} created: ${String(made["arn"])}`);
      },
    );
  withAccount(role.command("trust"))
    .description("put another trust policy in its place; sessions that have begun go on")
    .argument("<role>")
    .argument("<file>")
    .action(async (name: string, file: string, options: Options) => {
      await ask(options, "PUT", `roles/${encodeURIComponent(name)}`, { trust: await textIn(file) });
      say(options, { name }, `role ${name} trusts whom ${file} names`);
    });
  withAccount(role.command("session"))
    .description("set how long its sessions may be, in seconds")
    .argument("<role>")
    .argument("<seconds>")
    .action(async (name: string, seconds: string, options: Options) => {
      await ask(options, "PUT", `roles/${encodeURIComponent(name)}`, { sessionSecondsMax: Number(seconds) });
      say(options, { name, seconds: Number(seconds) }, `sessions of role ${name} last up to ${seconds} seconds`);
    });
  readings(role, "role", "roles");
  holdings(role, "role", "roles");
  bounding(role, "role", "roles");
}

function changing(method: Method, verb: string, pathOf: (name: string, member: string) => string) {
  return async (name: string, member: string, options: Options): Promise<void> => {
    await ask(options, method, pathOf(encodeURIComponent(name), encodeURIComponent(member)));
    say(options, { name, member }, `${name} ${verb} ${member}`);
  };
}

function registerPolicy(policy: Command): void {
  withAccount(policy.command("create"))
    .description("make a policy from a file (- for standard input)")
    .argument("<name>")
    .argument("<file>")
    .option("--description <text>", "what it is for")
    .action(async (name: string, file: string, options: Options & { description?: string }) => {
      const body = { name, document: await textIn(file), description: options.description };
      const made = await ask(options, "POST", "policies", body);
      say(options, made, `policy ${name} created: ${String(made["arn"])}`);
    });
  withAccount(policy.command("set"))
    .description("give it a new version from a file, which holds at once wherever it is attached; five are kept")
    .argument("<policy>")
    .argument("<file>")
    .action(async (name: string, file: string, options: Options) => {
      const body = { document: await textIn(file) };
      say(options, await ask(options, "PUT", `policies/${encodeURIComponent(name)}`, body), `policy ${name} changed`);
    });
  withAccount(policy.command("use"))
    .description("have another of its versions hold (policy show lists them)")
    .argument("<policy>")
    .argument("<version>", "like v1")
    .action(async (name: string, version: string, options: Options) => {
      const changed = await ask(options, "PUT", `policies/${encodeURIComponent(name)}`, { version });
      say(options, changed, `policy ${name} is what its version ${version} says`);
    });
  readings(policy, "policy", "policies");
}
