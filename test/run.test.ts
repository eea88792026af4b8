/** The runner of the tests ends, whatever a test file does. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { describe, test, type TestContext } from "node:test";
import { fileURLToPath } from "node:url";
import { testMsMax } from "./bounds.ts";

const skip = process.platform === "linux" ? false : "NOT CHECKED: test files that do not end. It needs /proc.";
const root = fileURLToPath(new URL("..", import.meta.url));
const start = `import { test } from "node:test"; import { spawn } from "node:child_process";\n`;

type Ran = { readonly status: number | null; readonly output: string };

type Options = {
  /** In place of those of test/bounds.ts. */
  readonly bounds?: { readonly fileMs: number; readonly graceMs: number };
  /** Sent as soon as a file says `now`. */
  readonly signal?: NodeJS.Signals;
};

/** Runs files with these bodies. */
async function runFiles(t: TestContext, bodies: Record<string, string>, options: Options = {}): Promise<Ran> {
  const { bounds, signal } = options;
  const folder = mkdtempSync(path.join(tmpdir(), "holdfast-run-"));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const files = Object.entries(bodies).map(([name, body]) => {
    const file = path.join(folder, `${name}.test.mts`);
    writeFileSync(file, start + body);
    return file;
  });
  const { NODE_TEST_CONTEXT: _, ...environment } = process.env;
  const child = spawn(process.execPath, [path.join(root, "test/run.ts"), ...files], {
    cwd: root,
    env: {
      ...environment,
      ...(bounds && { HOLDFAST_TEST_FILE_MS: String(bounds.fileMs), HOLDFAST_TEST_GRACE_MS: String(bounds.graceMs) }),
    },
    stdio: ["ignore", "pipe", "inherit"],
  });
  let output = "";
  child.stdout.on("data", (text: Buffer) => {
    output += text.toString();
    if (signal !== undefined && !child.killed && output.includes("now")) child.kill(signal);
  });
  const [status] = (await once(child, "close")) as [number | null];
  return { status, output };
}

describe("a run of tests", { skip, concurrency: true }, () => {
  test("a file whose tests are done and that does not end says what is open, and fails", async (t) => {
    const { status, output } = await runFiles(
      t,
      { open: `test("good", () => void setInterval(() => {}, 1_000));` },
      { bounds: { fileMs: 8_000, graceMs: testMsMax } },
    );
    assert.equal(status, 1);
    assert.match(output, /open\.test\.mts has not ended after [\d.]+ s; open are: .*Timeout/);
  });

  test("a file that stands still is killed, and fails", async (t) => {
    const still = `test("still", () => void Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0));`;
    // The runner's look comes long before the file's own word, which it is too late for.
    const bounds = { fileMs: testMsMax, graceMs: 4_000 - testMsMax };
    const { status, output } = await runFiles(t, { still }, { bounds });
    assert.equal(status, 1);
    assert.match(output, /still\.test\.mts has not ended after \d+ s, and is killed/);
    assert.match(output, /✖ .*still\.test\.mts/);
  });

  test("what a file leaves behind, with its output open, is named and killed", async (t) => {
    const options = `{ stdio: "inherit", detached: true }`;
    const leaves = `test("leaves", () => void spawn("sh", ["-c", "sleep 611 & exit"], ${options}).unref());`;
    const { status, output } = await runFiles(t, { leaves });
    assert.equal(status, 0);
    assert.match(output, /leaves\.test\.mts left a process behind, \d+: sleep 611/);
  });

  test("a run that is told to end says what was running", async (t) => {
    const waits = `test("waits", async () => { console.log("now"); await new Promise((r) => setTimeout(r, 600_000)); });`;
    const { status, output } = await runFiles(t, { waits }, { signal: "SIGTERM" });
    assert.equal(status, 1);
    assert.match(output, /told to end \(SIGTERM\); still running:\n.*waits\.test\.mts, for \d+ s/);
  });
});
