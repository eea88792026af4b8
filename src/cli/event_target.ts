/** `holdfast event-target …`: where a store tells what happens to objects. */
import type { Command } from "commander";
import { askAdmin } from "../client/admin_client.ts";
import { HoldfastError } from "../core/errors.ts";
import { connection, counted, print, printJson, withConnection, type ConnectionOptions } from "./connection.ts";
import { secretIn, textIn } from "./input.ts";
import { targetLine, type EventTarget } from "./status_lines.ts";

type Target = EventTarget & {
  readonly arn: string;
  readonly url: string;
  readonly isSigned: boolean;
  readonly credentials: readonly string[];
};

type Dead = {
  readonly givenUpAt: string;
  readonly at: string;
  readonly event: string;
  readonly bucket: string;
  readonly key: string;
};

type AddOptions = ConnectionOptions & {
  readonly webhook?: string;
  readonly header?: readonly string[];
  readonly secretFile?: string;
  readonly passwordFile?: string;
  readonly natsCredentialsFile?: string;
  readonly authorityFile?: string;
  readonly certificateFile?: string;
  readonly keyFile?: string;
};

export function register(program: Command): void {
  const target = program
    .command("event-target")
    .description("where events are sent that buckets are configured to tell of (asks with the root key)");
  withConnection(target.command("add"))
    .description("add a target, or change where the one of that name sends")
    .argument("<name>")
    .argument(
      "[url]",
      "http:// or https:// (a webhook), nats://, kafka://, amqp://, redis:// or mqtt://, or theirs with TLS",
    )
    .option("--webhook <url>", "the same as an address that begins with http")
    .option("--header <name: value>", "sent along; may be given several times", gather)
    .option("--secret-file <file>", "sign each message with the first line of this file (HMAC-SHA-256)")
    .option("--password-file <file>", "the password of the user in the address is the first line of this file")
    .option("--nats-credentials-file <file>", "the user's token and key, as NATS gives them out")
    .option("--authority-file <file>", "trust certificates of this authority (PEM), and not the system's")
    .option("--certificate-file <file>", "our own certificate (PEM)")
    .option("--key-file <file>", "its key (PEM)")
    .action(add);
  withConnection(target.command("list")).description("list all targets, and what waits for them").action(list);
  withConnection(target.command("remove"))
    .description("remove a target, and what waits for it")
    .argument("<name>")
    .option("--force", "also while the configurations of buckets name it; their events are lost then")
    .action(remove);
  withConnection(target.command("dead"))
    .description("list the events that could not be delivered in time")
    .argument("<name>")
    .option("--resend", "have them delivered again instead")
    .action(dead);
}

function gather(value: string, before: readonly string[] = []): string[] {
  return [...before, value];
}

function addressOf(name: string, behind = ""): string {
  return `/_/admin/event-targets/${encodeURIComponent(name)}${behind}`;
}

async function add(name: string, address: string | undefined, options: AddOptions): Promise<void> {
  if ((address === undefined) === (options.webhook === undefined))
    throw new HoldfastError(
      "invalid_argument",
      "Say one address that events are sent to: holdfast event-target add NAME URL.",
    );
  const url = address ?? options.webhook;
  const headers = Object.fromEntries((options.header ?? []).map(headerOf));
  const body = { url, headers, ...(await secretsOf(options)) };
  const made = (await askAdmin(connection(options), { method: "PUT", path: addressOf(name), body })) as Target;
  if (options.json) return printJson(made);
  print(`event target ${made.name} sends to ${addressLine(made)}`);
  print(`name it in a bucket's notification configuration as ${made.arn}`);
}

function addressLine({ url, isSigned, credentials }: Target): string {
  const withWhat = credentials.length === 0 ? "" : `, with its ${credentials.join(", ")}`;
  return `${url}${isSigned ? ", signed" : ""}${withWhat}`;
}

/** As the server calls them; JSON leaves out what is undefined. */
async function secretsOf(options: AddOptions): Promise<object> {
  const lineOf = async (file: string | undefined) => (file === undefined ? undefined : secretIn(file));
  const textOf = async (file: string | undefined) => (file === undefined ? undefined : textIn(file));
  return {
    secret: await lineOf(options.secretFile),
    password: await lineOf(options.passwordFile),
    natsCredentials: await textOf(options.natsCredentialsFile),
    authority: await textOf(options.authorityFile),
    certificate: await textOf(options.certificateFile),
    key: await textOf(options.keyFile),
  };
}

function headerOf(text: string): [string, string] {
  const colon = text.indexOf(":");
  if (colon < 1) throw new HoldfastError("invalid_argument", `"${text}" is no header: write "name: value".`);
  return [text.slice(0, colon).trim(), text.slice(colon + 1).trim()];
}

async function list(options: ConnectionOptions): Promise<void> {
  const { targets } = (await askAdmin(connection(options), { method: "GET", path: "/_/admin/event-targets" })) as {
    targets: readonly Target[];
  };
  for (const each of targets) {
    if (options.json) printJson(each);
    else for (const line of [targetLine(each), `  ${addressLine(each)}  ${each.arn}`]) print(line);
  }
}

async function remove(name: string, options: ConnectionOptions & { readonly force?: boolean }): Promise<void> {
  const path = addressOf(name, options.force ? "?force=true" : "");
  await askAdmin(connection(options), { method: "DELETE", path });
  if (options.json) printJson({ name });
  else print(`event target ${name} removed`);
}

async function dead(name: string, options: ConnectionOptions & { readonly resend?: boolean }): Promise<void> {
  if (options.resend) return resend(name, options);
  for (let after: string | null | undefined; after !== null;) {
    const path = addressOf(name, after === undefined ? "/dead" : `/dead?after=${encodeURIComponent(after)}`);
    const page = (await askAdmin(connection(options), { method: "GET", path })) as {
      events: Dead[];
      next: string | null;
    };
    for (const each of page.events) {
      if (options.json) printJson(each);
      else print(`${each.at}  ${each.event}  ${each.bucket}/${each.key}  given up ${each.givenUpAt}`);
    }
    after = page.next;
  }
}

async function resend(name: string, options: ConnectionOptions): Promise<void> {
  let sent = 0;
  for (let some = 1; some > 0; sent += some)
    ({ sent: some } = (await askAdmin(connection(options), { method: "POST", path: addressOf(name, "/dead") })) as {
      sent: number;
    });
  if (options.json) printJson({ name, sent });
  else print(`${counted(sent, "event")} of ${name} wait to be delivered again`);
}
