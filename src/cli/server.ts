/**
 * `holdfast server DIR…`: reads the settings, runs the supervisor, says when it is ready, and ends with it. SIGTERM and
 * SIGINT stop it gracefully; a second one stops it at once.
 */
import { Option, type Command } from "commander";
import { readFileSync } from "node:fs";
import path from "node:path";
import { HoldfastError } from "../core/errors.ts";
import type { Log } from "../core/log.ts";
import { banner, urlOf } from "../server/banner.ts";
import { createLog } from "../server/log.ts";
import { readSettings, settingNames, settings as table, variableOf, type Settings } from "../server/settings.ts";
import { Supervisor, type Started } from "../server/supervisor.ts";
import { packageVersion } from "../server/version.ts";

export function register(program: Command): void {
  const command = program
    .command("server")
    .description("serve the drives (directories, made when missing)")
    .argument("[drives...]", table.drives.help)
    .option("--config <file>", "JSON file with settings by the names of these flags (HOLDFAST_CONFIG)")
    .option("--json", "say ready as one line of JSON");
  for (const name of settingNames) {
    const { flag, help, many } = table[name];
    if (flag === undefined) continue;
    const option = new Option(`--${name} ${flag}`, `${help} (${variableOf(name)})`);
    if (many === true) option.argParser((value: string, before: string[] | undefined) => [...(before ?? []), value]);
    command.addOption(option);
  }
  command.addHelpText(
    "after",
    "\nThe root key: HOLDFAST_ROOT_ACCESS_KEY and HOLDFAST_ROOT_SECRET_KEY, else generated.",
  );
  command.action(async (drives: string[], flags: Record<string, unknown>) => runServer(drives, flags));
}

/** Commander turns `--files-bucket` into filesBucket; settings keep their own names. */
function flagsBySetting(flags: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const camel = (name: string): string => name.replace(/-([a-z])/g, (_, letter: string) => letter.toUpperCase());
  return Object.fromEntries(settingNames.map((name) => [name, flags[camel(name)]]));
}

function settingsOf(drives: readonly string[], flags: Readonly<Record<string, unknown>>): Settings {
  const configPath = (flags["config"] as string | undefined) ?? process.env["HOLDFAST_CONFIG"];
  const found = readSettings({
    flags: { ...flagsBySetting(flags), drives: drives.length === 0 ? undefined : drives },
    environment: process.env,
    file: configPath === undefined ? undefined : { path: configPath, content: readConfig(configPath) },
  });
  if (found.drives.length === 0) {
    throw new HoldfastError("invalid_argument", "Name at least one drive, like: holdfast server ./data");
  }
  return found;
}

function readConfig(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch (error) {
    throw new HoldfastError("invalid_argument", `The config file ${file} cannot be read: ${(error as Error).message}`);
  }
}

async function runServer(drives: readonly string[], flags: Readonly<Record<string, unknown>>): Promise<void> {
  const settings = settingsOf(drives, flags);
  const absolute = { ...settings, drives: settings.drives.map((drive) => path.resolve(drive)) };
  if (new Set(absolute.drives).size !== absolute.drives.length) {
    throw new HoldfastError("invalid_argument", "The drive list names one directory twice.");
  }
  const log = createLog(settings["log-level"]);
  const supervisor = new Supervisor(absolute, log);
  const signal = stopOnSignal(supervisor, log);
  const started = await Promise.race([supervisor.start(), signal.stopped]).catch((error: unknown) => {
    if (!signal.isGiven()) throw error;
  });
  if (started === undefined) {
    // Stopped before it was ready. What the start still waits for must not hold the process.
    await signal.stopped;
    process.exit(0);
  }
  process.stdout.write(flags["json"] === true ? readyJson(settings, started) : readyText(settings, started));
  await signal.stopped;
}

function readyText(settings: Settings, { port, rootKey }: Started): string {
  return banner({ version: packageVersion(), settings, port, rootKey });
}

function readyJson(settings: Settings, { port, rootKey }: Started): string {
  const { accessKey, secretKey, from } = rootKey;
  const facts = { event: "ready", version: packageVersion(), url: urlOf(settings, port), pid: process.pid, accessKey };
  return JSON.stringify(from === "made" ? { ...facts, secretKey } : facts) + "\n";
}

type StopSignal = {
  /** Resolves when the server has stopped because of a signal. */
  readonly stopped: Promise<void>;
  isGiven(): boolean;
};

function stopOnSignal(supervisor: Supervisor, log: Log): StopSignal {
  let signals = 0;
  const stopped = new Promise<void>((resolve, reject) => {
    const onSignal = (): void => {
      signals += 1;
      if (signals > 1) return supervisor.kill();
      const isSeen = process.stderr.isTTY;
      if (isSeen) process.stderr.write("holdfast: Stopping; running requests may finish. Once more to stop at once.\n");
      else log.info({}, "Stopping; running requests may finish.");
      supervisor.stop().then(resolve, reject);
    };
    process.on("SIGINT", onSignal).on("SIGTERM", onSignal);
  });
  return { stopped, isGiven: () => signals > 0 };
}
