/** What the file API is sent and cannot take: a JSON error with the right status, no file stored, and it goes on. */
import assert from "node:assert/strict";
import { after, afterEach, before, test } from "node:test";
import { createServer, type HoldfastServer } from "../../src/index.ts";
import { basic } from "../server/harness.ts";
import { headText, statusesOf, talk } from "../server/wire.ts";

let server: HoldfastServer;
before(async () => {
  server = await createServer({ memory: true });
  assert.deepEqual(statusesOf(await ask("PUT", "?name=there", { "content-length": "1" }, "x")), [201]);
});
after(() => server.close());

/** After every test: one file as before. */
afterEach(async () => {
  const heard = await ask("GET", "");
  assert.deepEqual(statusesOf(heard), [200]);
  assert.equal(heard.split('"id":').length - 1, 1, heard);
});

type Headers = Readonly<Record<string, string>>;

function ask(method: string, rest: string, headers: Headers = {}, body = ""): Promise<string> {
  const own = { host: "x", connection: "close", ...basic(server.accessKey, server.secretKey) };
  return talk(server.port, `${headText(method, `/_/files${rest}`, { ...own, ...headers })}\r\n${body}`);
}

const codeOf = (heard: string): string | undefined => /"code":"(\w+)"/.exec(heard)?.[1];
const one = { "content-length": "1" };
const nuls = "%00".repeat(600);
const formType = { "content-type": "multipart/form-data; boundary=xx" };
const part = (headers: string): string => `--xx\r\n${headers}\r\n\r\nx\r\n--xx--\r\n`;
const named = 'Content-Disposition: form-data; name="f"; filename="a"';
const form = (body: string): [Headers, string] => [{ ...formType, "content-length": String(body.length) }, body];

const uploads: [
  what: string,
  rest: string,
  headers: Headers,
  body: string,
  status: number,
  code: string | undefined,
][] = [
  ["a name that is not UTF-8", "?name=%ff", one, "x", 400, "invalid_address"],
  ["a name encoded wrong", "?name=%zz", one, "x", 400, "invalid_address"],
  ["a name of 513 bytes", `?name=${"a".repeat(513)}`, one, "x", 400, "invalid_argument"],
  ["a name of 514 bytes, encoded", `?name=${"%C3%A9".repeat(257)}`, one, "x", 400, "invalid_argument"],
  ["a type of 2,049 bytes", "", { ...one, "content-type": "a".repeat(2_049) }, "x", 400, "metadata_too_large"],
  ["a Content-MD5 that is none", "", { ...one, "content-md5": "????" }, "x", 400, "invalid_argument"],
  ["a piece only", "", { ...one, "content-range": "bytes 0-0/2" }, "x", 400, "invalid_argument"],
  ["more than 5 GiB", "", { "content-length": "5368709121", expect: "100-continue" }, "", 413, "entity_too_large"],
  ["a body that HTTP's chunks break off", "", { "transfer-encoding": "chunked" }, "1\r\na\r\nzz", 400, undefined],
  ["a form without a boundary", "", { ...one, "content-type": "multipart/form-data" }, "x", 400, "incomplete_body"],
  ["a form without an end", "", ...form(part(named).slice(0, -6)), 400, "incomplete_body"],
  ["a form of nothing", "", ...form(""), 400, "incomplete_body"],
  ["a form with its end only", "", ...form("--xx--\r\n"), 400, "invalid_argument"],
  ["a part with a broken header", "", ...form(part(`${named}\r\nContent-Type: a\x01b`)), 400, "incomplete_body"],
  [
    "a file name of 513 bytes",
    "",
    ...form(part(named.replace('"a"', `"${"a".repeat(513)}"`))),
    400,
    "invalid_argument",
  ],
  [
    "a part's type of 3,000 bytes",
    "",
    ...form(part(`${named}\r\nContent-Type: a/${"b".repeat(3_000)}`)),
    400,
    "metadata_too_large",
  ],
  ["101 files", "", ...form(`${part(named).replace("--xx--\r\n", "").repeat(101)}--xx--\r\n`), 413, "entity_too_large"],
];
for (const [what, rest, headers, body, status, code] of uploads) {
  test(`an upload with ${what}: ${status} ${code ?? ""}`, async () => {
    const heard = await ask(rest === "" && body.startsWith("--xx") ? "POST" : "PUT", rest, headers, body);
    assert.deepEqual([statusesOf(heard), codeOf(heard)], [[status], code], heard);
  });
}

for (const [what, rest, status, code] of [
  ["an id of NULs", `/${nuls}`, 400, "invalid_key"],
  ["an id of 1,025 bytes", `/${"a".repeat(1_025)}`, 404, "no_such_key"],
  ["an id that is not UTF-8", "/%ff", 400, "invalid_address"],
  ["an id that climbs", "/..%2F..%2Fetc%2Fpasswd", 404, "no_such_key"],
  ["a limit of 0", "?limit=0", 400, "invalid_argument"],
  ["a limit of 1e3", "?limit=1e3", 400, "invalid_argument"],
  ["a cursor that no listing gave", "?cursor=%21", 400, "invalid_argument"],
  ["a cursor of 1,025 bytes", `?cursor=${Buffer.alloc(1_025).toString("base64url")}`, 400, "invalid_argument"],
] as const) {
  test(`a read with ${what}: ${status} ${code}`, async () => {
    const heard = await ask("GET", rest);
    assert.deepEqual([statusesOf(heard), codeOf(heard)], [[status], code], heard);
  });
}

test("credentials that are none, or too many: 401, or 400 for two at once", async () => {
  const base64 = (text: string): string => Buffer.from(text).toString("base64");
  for (const authorization of [
    "Basic",
    "Basic ?",
    `Basic ${"A".repeat(30_000)}`,
    `Basic ${base64("\0:\0")}`,
    `Basic ${base64("x")}`,
  ]) {
    const heard = await ask("GET", "", { authorization });
    assert.deepEqual([statusesOf(heard), codeOf(heard)], [[401], "unauthorized"], authorization.slice(0, 40));
  }
  assert.deepEqual(statusesOf(await ask("GET", "", { Authorization: "Basic x" })), [400]);
});
