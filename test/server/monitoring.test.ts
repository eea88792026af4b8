/** What docs/operations gives for Prometheus and Grafana asks for nothing that a server does not say. */
import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { createMetrics, mergeSnapshots } from "../../src/core/metrics.ts";
import { createServer } from "../../src/index.ts";
import { temporaryFolder } from "./harness.ts";

const folder = fileURLToPath(new URL("../../docs/operations/", import.meta.url));
const read = (name: string): string => readFileSync(path.join(folder, name), "utf8");
const alertsFile = path.join(folder, "alerts.yml");

type Rule = { readonly name: string; readonly lines: readonly string[]; readonly expr: string };

/** The file's own shape: groups of rules, each a list of keys two columns further in. Whatever else there is fails. */
function rulesOf(text: string): Rule[] {
  const lines = text.split("\n").filter((line) => line.trim() !== "" && !line.startsWith("#"));
  assert.equal(lines[0], "groups:");
  const rules: { name: string; lines: string[] }[] = [];
  for (const line of lines.slice(1)) {
    const alert = /^ {6}- alert: (Holdfast[A-Za-z]+)$/.exec(line);
    if (alert !== null) rules.push({ name: alert[1]!, lines: [] });
    else if (line.startsWith("        ")) rules.at(-1)!.lines.push(line.slice(8));
    else assert.match(line, /^ {2}- name: holdfast-[a-z]+$|^ {4}rules:$/);
  }
  return rules.map((rule) => ({ ...rule, expr: expressionOf(rule.lines) }));
}

function expressionOf(lines: readonly string[]): string {
  const at = lines.findIndex((line) => line.startsWith("expr: "));
  assert.ok(at >= 0, "a rule has an expression");
  const first = lines[at]!.slice("expr: ".length);
  if (first !== "|") return first;
  const rest = lines.slice(at + 1);
  const end = rest.findIndex((line) => !line.startsWith(" "));
  return rest.slice(0, end < 0 ? rest.length : end).join("\n");
}

type Panel = { readonly title: string; readonly targets: readonly { readonly expr: string }[] };

const dashboard = JSON.parse(read("dashboard.json")) as {
  readonly panels: readonly Panel[];
  readonly templating: { readonly list: readonly { readonly name: string }[] };
};

const rules = rulesOf(read("alerts.yml"));
const queries = [
  ...rules.map(({ name, expr }) => ({ name, expr })),
  ...dashboard.panels.flatMap(({ title, targets }) => targets.map(({ expr }) => ({ name: title, expr }))),
];

/** Name → type, as the text says it. */
function typesOf(text: string): Map<string, string> {
  return new Map([...text.matchAll(/^# TYPE (\S+) (\S+)$/gm)].map(([, name, type]) => [name!, type!]));
}

/** Each series in a query with its labels: `holdfast_x_bucket{a="b"}` is of the series `holdfast_x`. */
function* seriesOf(expr: string, types: ReadonlyMap<string, string>) {
  for (const [, name, matchers = ""] of expr.matchAll(/(holdfast_[a-z_]+)(?:\{([^}]*)\})?/g)) {
    const whole = name!.replace(/_(bucket|sum|count)$/, "");
    const isHistogram = !types.has(name!) && types.get(whole) === "histogram";
    const labels = [...matchers.matchAll(/([a-z_]+)[=!]~?"/g)].map(([, label]) => label!);
    yield { series: isHistogram ? whole : name!, labels };
  }
}

/** Every series with every label that it can have, and a value. */
async function everything(): Promise<string> {
  const metrics = createMetrics();
  const durationMs = 1;
  metrics.request({ door: "s3", operation: "HeadObject", status: 200, durationMs });
  metrics.commit({ operations: 1, outcome: "committed", durationMs });
  metrics.commitBatch({ commits: 1, durationMs });
  metrics.append({ bytes: 1, durationMs, failed: false });
  metrics.peerCall({ call: "read", outcome: "ok", durationMs });
  metrics.hedgedRead("first");
  metrics.damagedShard("scrub");
  metrics.jobRun({ job: "trash", outcome: "ok", done: 1 });
  metrics.eventSent("taken");
  const space = { totalBytes: 1, freeBytes: 1, liveBytes: 1, deadBytes: 1 };
  const counts = { sessions: 1, repairPages: 0, repairChunks: 0, plannedPages: 0, relocations: 0, strays: 0, trash: 0 };
  const described = await metrics.describe({
    version: "1.0.0",
    startedMs: 1,
    drives: [{ id: "d", state: "up", ...space, checkedMs: 1, damagedShards: 0 }],
    store: {
      drives: [{ membership: "active", state: "up" }],
      nodes: { up: 1, away: 0 },
      ...counts,
      notifications: { destinations: 1, troubled: 0, full: 0, waiting: 1, undelivered: 0, lost: 0 },
      quotas: [{ of: "bucket", name: "b", quota: { bytesMax: 1, objectsMax: 1 }, held: { bytes: 1, objects: 1 } }],
      work: [{ job: "repair", doneBytes: 1, leftBytes: 1 }],
    },
    peers: [{ name: "http://b", isWell: true }],
  });
  return mergeSnapshots([await metrics.snapshot(), described]);
}

test("every series that rules and panels ask for is one that a server has", async (t) => {
  const server = await createServer({ drives: [temporaryFolder(t)] });
  t.after(() => server.close());
  const types = typesOf(await (await fetch(`${server.url}/_/metrics`)).text());
  assert.ok(queries.length > 40);
  for (const { name, expr } of queries) {
    const found = [...seriesOf(expr, types)];
    assert.ok(found.length > 0, `${name} asks for nothing`);
    for (const { series } of found) assert.ok(types.has(series), `${name} asks for ${series}`);
    for (const [, series] of expr.matchAll(/(?:rate|increase)\((holdfast_[a-z_]+)/g))
      assert.match(series!, /_total$|_bucket$|_count$|_sum$/, `${name}: only what is counted has a rate`);
  }
});

test("every label that rules and panels ask for is one that the series has", async () => {
  const text = await everything();
  const types = typesOf(text);
  const labelsOf = (series: string): Set<string> => {
    const lines = text.matchAll(new RegExp(`^${series}(?:_bucket)?\\{([^}]*)\\} `, "gm"));
    return new Set(
      [...lines].flatMap(([, labels]) => [...labels!.matchAll(/([a-z_]+)="/g)].map(([, label]) => label!)),
    );
  };
  for (const { name, expr } of queries) {
    const found = [...seriesOf(expr, types)];
    const all = new Set(["instance", "le", ...found.flatMap(({ series }) => [...labelsOf(series)])]);
    for (const { series, labels } of found)
      for (const label of labels)
        assert.ok(label === "instance" || labelsOf(series).has(label), `${name}: ${series} has no label ${label}`);
    for (const [, grouped] of expr.matchAll(/\b(?:by|on) \(([^)]*)\)/g))
      for (const label of grouped!
        .split(",")
        .map((each) => each.trim())
        .filter((each) => each !== ""))
        assert.ok(all.has(label), `${name} groups by ${label}`);
  }
});

test("every alert says how grave it is, what is the matter and what to do, and is explained", () => {
  const explained = read("monitoring.md");
  assert.equal(new Set(rules.map(({ name }) => name)).size, rules.length);
  for (const { name, lines } of rules) {
    const text = lines.join("\n");
    assert.match(text, /^labels:\n {2}severity: (warning|critical)$/m, name);
    assert.match(text, /^annotations:\n {2}summary: \S.*\n {2}description: \S.*$/m, name);
    assert.ok(explained.includes(`\`${name}\``), `${name} is in monitoring.md`);
  }
});

test("the dashboard's panels have titles of their own and fit their rows", () => {
  const { panels, templating } = dashboard;
  assert.deepEqual(
    templating.list.map(({ name }) => name),
    ["datasource", "instance"],
  );
  assert.equal(new Set(panels.map(({ title }) => title)).size, panels.length);
});

test("Prometheus itself takes the rules, and they fire when they should and only then", (t) => {
  if (spawnSync("promtool", ["--version"]).error !== undefined)
    return t.skip("NOT CHECKED: the rules by promtool. Install Prometheus (apt-get install prometheus).");
  execFileSync("promtool", ["check", "rules", alertsFile]);
  execFileSync("promtool", ["test", "rules", fileURLToPath(new URL("alerts.promtool.yml", import.meta.url))]);
  return undefined;
});
