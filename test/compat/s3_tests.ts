/**
 * ceph/s3-tests against a server of its own: `npm run compat:s3-tests -- PATH-OF-A-CHECKOUT [arguments of pytest, or names of tests]`.
 *
 * Starts a server with the users the suite needs, runs it with pytest, and compares what failed with the failures that are
 * expected (s3_tests_expected.txt: each with its reason). Prints how many passed: of the core, of all, and by the suite's
 * markers. Ends with status 1 when a test fails that should pass, or passes
 * that should fail, or an expected failure names no test. PYTHON names the interpreter (python3 by default), which needs
 * what the checkout's requirements.txt says.
 */
import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { ServerProcess } from "../crash/server_process.ts";
import { readJunit, type Case } from "./junit.ts";
import { makeEncryptionKeys, makeUsers, settingsFile } from "./s3_tests_users.ts";

/** The suite's own marks of what has to do with no behaviour of S3 itself, or with Ceph alone. */
const outsideCore: ReadonlySet<string> = new Set(
  [
    "fails_on_aws iam_account iam_cross_account iam_role iam_tenant iam_user group group_policy role_policy user_policy",
    "session_policy test_of_sts webidentity_test abac_test token_claims_trust_policy_test s3select sns bucket_logging",
    "bucket_logging_cleanup s3website s3website_routing_rules s3website_redirect_location storage_class",
    "lifecycle_transition cloud_transition cloud_restore auth_aws2 appendobject",
  ].flatMap((line) => line.split(" ")),
);

/** How long the suite is told that a day of lifecycle rules is; half of it is left to the job in its tightest tests. */
const lifecycleDaySeconds = 5;

type Expected = ReadonlyMap<string, string>;

const [checkout, ...rest] = process.argv.slice(2);
if (checkout === undefined) {
  console.error("usage: npm run compat:s3-tests -- PATH-OF-A-CHECKOUT [arguments of pytest]");
  process.exit(2);
}
process.exitCode = await main(path.resolve(checkout), rest);

async function main(suite: string, more: readonly string[]): Promise<number> {
  const folder = mkdtempSync(path.join(tmpdir(), "holdfast-s3-tests-"));
  const masterKey = path.join(folder, "master.key");
  writeFileSync(masterKey, randomBytes(32).toString("base64"), { mode: 0o600 });
  const args = ["--encryption-key-file", masterKey, "--lifecycle-day", String(lifecycleDaySeconds)];
  // The suite's providers are at http://.
  args.push("--oidc-over-http", "yes");
  const server = await ServerProcess.start(path.join(folder, "data"), { workers: 2, args });
  try {
    const settings = path.join(folder, "s3tests.conf");
    writeFileSync(settings, settingsFile(server.url, await makeUsers(server.url), lifecycleDaySeconds));
    await makeEncryptionKeys(server.url);
    const report = path.join(folder, "report.xml");
    const tests = more.some((arg) => arg.includes("::")) ? [] : ["s3tests"];
    await runPytest(suite, settings, [...tests, "-q", "--tb=no", `--junitxml=${report}`, ...more]);
    return judge(readJunit(readFileSync(report)), more.length === 0);
  } finally {
    await server.stop();
    rmSync(folder, { recursive: true, force: true });
  }
}

async function runPytest(suite: string, settings: string, args: readonly string[]): Promise<void> {
  const python = process.env.PYTHON ?? "python3";
  const child = spawn(python, ["-m", "pytest", "-p", "s3_tests_markers", ...args], {
    cwd: suite,
    env: {
      ...process.env,
      S3TEST_CONF: settings,
      AWS_EC2_METADATA_DISABLED: "true",
      PYTHONPATH: import.meta.dirname,
      PYTHONDONTWRITEBYTECODE: "1",
    },
    stdio: ["ignore", "inherit", "inherit"],
  });
  await once(child, "close");
}

/** Lines of `file.test  reason`; everything from # on is a comment. */
function readExpected(): Expected {
  const text = readFileSync(new URL("s3_tests_expected.txt", import.meta.url), "utf8");
  const lines = text
    .split("\n")
    .flatMap((line) => /^([\w.[\]-]+)\s+(\S.*)$/.exec(line.replace(/#.*/, ""))?.slice(1) ?? []);
  const expected = new Map<string, string>();
  for (let at = 0; at < lines.length; at += 2) expected.set(lines[at]!, lines[at + 1]!);
  return expected;
}

function judge(cases: ReadonlyMap<string, Case>, isWhole: boolean): number {
  const expected = readExpected();
  const failed = namesOf(cases, "failed");
  const surprises = failed.filter((name) => !expected.has(name));
  const pleasant = namesOf(cases, "passed").filter((name) => expected.has(name));
  const unknown = isWhole ? [...expected.keys()].filter((name) => !cases.has(name)) : [];
  for (const name of surprises) console.log(`failed, and should pass: ${name} (${cases.get(name)!.message})`);
  for (const name of pleasant) console.log(`passed, and is expected to fail: ${name}`);
  for (const name of unknown) console.log(`expected to fail, and no test of the suite: ${name}`);
  printTotals([...cases.values()]);
  console.log(`${failed.length} failed, ${failed.length - surprises.length} of them as expected`);
  return surprises.length + pleasant.length + unknown.length === 0 ? 0 : 1;
}

function namesOf(cases: ReadonlyMap<string, Case>, wanted: Case["outcome"]): string[] {
  return [...cases].filter(([, { outcome }]) => outcome === wanted).map(([name]) => name);
}

function printTotals(cases: readonly Case[]): void {
  const core = cases.filter(({ markers }) => ![...markers].some((marker) => outsideCore.has(marker)));
  const names = [...new Set(cases.flatMap(({ markers }) => [...markers]))].sort();
  for (const name of names)
    console.log(
      total(
        name,
        cases.filter(({ markers }) => markers.has(name)),
      ),
    );
  console.log(total("core", core));
  console.log(total("all", cases));
}

function total(name: string, cases: readonly Case[]): string {
  const passed = cases.filter(({ outcome }) => outcome === "passed").length;
  return `${name}: ${passed} of ${cases.length} passed`;
}
