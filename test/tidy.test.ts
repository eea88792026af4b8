/**
 * The repository's own lint, written as a test: which room may import which, how large things may be, which calls only
 * one file may make. The rules are in CONTRIBUTING.md; this file is what holds them.
 */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
const tracked = execFileSync(
  "git",
  ["-c", "safe.directory=*", "ls-files", "--cached", "--others", "--exclude-standard"],
  { cwd: root },
)
  .toString()
  .split("\n")
  .filter((name) => name !== "" && existsSync(path.join(root, name)));
const read = (name: string): string => readFileSync(path.join(root, name), "utf8");
const isTest = (name: string): boolean => /\.(test|conformance|fixture)\.ts$/.test(name);
const sources = tracked.filter((name) => name.startsWith("src/") && name.endsWith(".ts"));
const production = sources.filter((name) => !isTest(name));

/** Room → rooms it may import. A room may always import itself. */
const edges: Record<string, readonly string[]> = {
  core: [],
  kv: ["core"],
  digest: ["core"],
  crypto: ["core"],
  erasure: ["core"],
  node: ["core", "kv"],
  blob: ["core", "crypto", "digest", "erasure", "node"],
  meta: ["core", "kv", "digest", "blob"],
  cluster: ["core", "kv", "meta", "node"],
  events: ["core", "kv", "meta"],
  object: ["core", "crypto", "kv", "digest", "blob", "meta", "events"],
  policy: ["core"],
  access: ["core", "policy"],
  identity: ["core", "kv", "meta", "policy"],
  logging: ["core", "blob", "object", "access"],
  keyring: ["core", "crypto", "kv", "meta"],
  jobs: ["core", "kv", "digest", "meta", "node", "blob", "object", "events"],
  gateway: ["core", "crypto", "digest", "blob", "object", "policy", "access", "events", "logging"],
  oidc: ["core"],
  iam: ["core", "identity", "policy", "oidc", "gateway"],
  website: ["core", "object", "gateway", "logging"],
  files: ["core", "digest", "blob", "object", "identity", "gateway", "logging"],
  admin: ["core", "crypto", "object", "identity", "events"],
  client: ["core", "digest", "gateway"],
  server: [
    "core",
    "cluster",
    "kv",
    "digest",
    "node",
    "meta",
    "blob",
    "object",
    "events",
    "identity",
    "keyring",
    "crypto",
    "jobs",
    "gateway",
    "iam",
    "oidc",
    "website",
    "files",
    "admin",
    "logging",
  ],
  cli: ["core", "kv", "digest", "node", "meta", "blob", "object", "identity", "jobs", "client", "server"],
};

/** Source lines without comments and strings' insides: enough for looking for calls. */
function code(text: string): string {
  return text.replace(/\/\*[\s\S]*?\*\//g, "").replace(/^\s*\/\/.*$/gm, "");
}

test("rooms import only the rooms below them", () => {
  const wrong: string[] = [];
  for (const name of production) {
    const room = name.split("/")[1]!;
    if (room.endsWith(".ts")) continue;
    assert.ok(edges[room], `${name} is in a room that test/tidy.test.ts does not know`);
    for (const [, target] of read(name).matchAll(/(?:from|import)\s*\(?\s*"(\.[^"]+)"/g)) {
      const other = path.posix.normalize(path.posix.join(path.posix.dirname(name), target!)).split("/")[1]!;
      if (other !== room && !edges[room].includes(other)) wrong.push(`${name} imports ${target}`);
    }
  }
  assert.deepEqual(wrong, []);
});

test("relative imports name a file that exists, with its ending", () => {
  const wrong: string[] = [];
  for (const name of tracked.filter((file) => file.endsWith(".ts"))) {
    for (const [, target] of read(name).matchAll(/^(?:import|export)[^"]*from "(\.[^"]+)"/gm)) {
      if (!existsSync(path.join(root, path.dirname(name), target!))) wrong.push(`${name}: ${target}`);
    }
  }
  assert.deepEqual(wrong, []);
});

test("files stay small", () => {
  const wrong = tracked
    .filter((name) => name.endsWith(".ts"))
    .map((name) => ({ name, lines: read(name).split("\n").length, max: isTest(name) ? 900 : 600 }))
    .filter(({ lines, max }) => lines > max);
  assert.deepEqual(wrong, []);
});

test("functions stay short", () => {
  const wrong: string[] = [];
  for (const name of production) {
    const lines = read(name).split("\n");
    lines.forEach((line, index) => {
      const start =
        /^(\s*)(?:export )?(?:default )?(?:static )?(?:async )?(?:function\*?\s|#?\w+\*?(?:<[^>]*>)?\(.*\{$)/.exec(
          line,
        );
      if (!start || !line.endsWith("{") || /^\s*(if|for|while|switch|catch|class|return)\b/.test(line)) return;
      const end = lines.indexOf(`${start[1]}}`, index);
      if (end - index > 71) wrong.push(`${name}:${index + 1} has ${end - index} lines`);
    });
  }
  assert.deepEqual(wrong, []);
});

const banned: { what: RegExp; why: string; except: RegExp }[] = [
  {
    what: /"node:fs(\/promises)?"/,
    why: "files are opened in src/node/disk.system.ts",
    except: /^src\/(node\/|cli\/|client\/|server\/|identity\/|index\.ts)/,
  },
  {
    what: /Date\.now\(|new Date\(\)/,
    why: "time comes from a Clock",
    except: /^src\/(core\/clock\.ts|cli\/|client\/)/,
  },
  { what: /Math\.random\(/, why: "randomness comes from a Random", except: /^src\/(core\/random\.ts|cli\/|client\/)/ },
  { what: /console\.(log|error|warn)\(/, why: "only the command line prints", except: /^src\/(cli|server)\// },
  { what: /\bprocess\.exit\(/, why: "only the command line ends the process", except: /^src\/(cli|server)\// },
  { what: /:\s*any\b|\bas any\b|@ts-ignore|@ts-expect-error/, why: "no escape from the types", except: /^$/ },
  {
    what: /[-+*/|&]= \(?await\b/,
    why: "what is added to is read before the await, and what others added meanwhile is lost",
    except: /^$/,
  },
  { what: /\b(TODO|FIXME|XXX)\b/, why: "what is undone is said in the docs", except: /^$/ },
];

for (const { what, why, except } of banned) {
  test(`banned: ${why} (${what.source})`, () => {
    const wrong = production.filter((name) => !except.test(name) && what.test(code(read(name))));
    assert.deepEqual(wrong, []);
  });
}

test("no test is switched off for good", () => {
  const wrong = tracked.filter((name) => isTest(name) && /\b(test|it|describe)\.(only|todo)\(/.test(read(name)));
  assert.deepEqual(wrong, []);
});

test("the lock file holds no download address", () => {
  assert.ok(!read("package-lock.json").includes('"resolved"'));
});

test("the lock file names the optional packages of every platform", () => {
  // Without them `npm ci` refuses on every machine; npm leaves out those that a registry mirror does not have.
  type Locked = { readonly optionalDependencies?: Record<string, string> };
  const { packages } = JSON.parse(read("package-lock.json")) as { packages: Record<string, Locked> };
  const missing = Object.entries(packages).flatMap(([place, { optionalDependencies = {} }]) =>
    Object.keys(optionalDependencies).filter(
      (name) => !packages[`node_modules/${name}`] && !packages[`${place}/node_modules/${name}`],
    ),
  );
  assert.deepEqual(missing, []);
});

test("every dependency has its line of reason", () => {
  const { dependencies, devDependencies } = JSON.parse(read("package.json")) as Record<string, Record<string, string>>;
  const reasons = read("docs/dependencies.md");
  const missing = Object.keys({ ...dependencies, ...devDependencies }).filter(
    (name) => !reasons.includes(`\`${name}\``),
  );
  assert.deepEqual(missing, []);
});

/** The anchors that GitHub gives the headings of a document. */
function anchorsOf(name: string): Set<string> {
  const headings = read(name).matchAll(/^#+ (.+)$/gm);
  const anchor = (text: string): string => text.toLowerCase().replace(/[^\p{L}\p{N}_ -]/gu, "");
  return new Set([...headings].map(([, text]) => anchor(text!).replaceAll(" ", "-")));
}

test("links between documents lead somewhere", () => {
  const wrong: string[] = [];
  for (const name of tracked.filter((file) => file.endsWith(".md"))) {
    for (const [, target, anchor] of read(name).matchAll(/\]\(([^)#\s]*)(?:#([^)\s]+))?[^)]*\)/g)) {
      if (/^[a-z]+:/.test(target!)) continue;
      const to = target === "" ? name : path.join(path.dirname(name), target!);
      const isThere = existsSync(path.join(root, to)) && (anchor === undefined || anchorsOf(to).has(anchor));
      if (!isThere) wrong.push(`${name}: ${target}${anchor === undefined ? "" : `#${anchor}`}`);
    }
  }
  assert.deepEqual(wrong, []);
});

test("the files that ARCHITECTURE.md names are there", () => {
  const named = [...read("ARCHITECTURE.md").matchAll(/`([\w./]+\.(?:ts|md|json))`/g)].map(([, file]) => file!);
  const isThere = (file: string): boolean => tracked.some((name) => name === file || name.endsWith(`/${file}`));
  assert.deepEqual(
    named.filter((file) => !isThere(file)),
    [],
  );
});
