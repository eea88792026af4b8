/** A client that leaves in the middle of an upload is no failure of the server, in its log or in its numbers. */
import assert from "node:assert/strict";
import { connect } from "node:net";
import { test } from "node:test";
import { createSigner } from "../../src/client/signer.ts";
import { createServer, type Log } from "../../src/index.ts";
import { basic, until } from "./harness.ts";

test("an upload that its client gives up is counted as the client's, and logged without alarm", async (t) => {
  const alarms: string[] = [];
  const alarm = (_fields: object, message: string): void => void alarms.push(message);
  const quiet = (): void => undefined;
  const log: Log = { debug: quiet, info: quiet, warn: alarm, error: alarm };
  const server = await createServer({ memory: true, log });
  t.after(() => server.close());
  const { accessKey, secretKey, region, port } = server;
  const host = `127.0.0.1:${port}`;
  const signer = createSigner({ accessKey, secretKey, region, host });
  const s3 = (path: string) => signer.sign({ method: "PUT", path, query: "" });
  assert.equal((await fetch(`${server.url}/bucket`, { method: "PUT", headers: s3("/bucket") })).status, 200);
  const giveUp = (path: string, headers: Record<string, string>): void => {
    const lines = Object.entries({ ...headers, host, "content-length": "9000000" }).map(([n, v]) => `${n}: ${v}`);
    const socket = connect(port, "127.0.0.1", () => {
      socket.write(`PUT ${path} HTTP/1.1\r\n${lines.join("\r\n")}\r\n\r\n`);
      socket.write(Buffer.alloc(6_000_000), () => socket.destroy());
    });
    socket.on("error", quiet);
  };
  giveUp("/bucket/key", s3("/bucket/key"));
  giveUp("/_/files?name=x", basic(accessKey, secretKey));
  const outcomes = async (): Promise<string[]> => {
    const text = await (await fetch(`${server.url}/_/metrics`)).text();
    return [...text.matchAll(/operation="(?:PutObject|Upload)",outcome="(\w+)"\} 1\n/g)].map(([, outcome]) => outcome!);
  };
  await until(async () => (await outcomes()).length === 2);
  assert.deepEqual(await outcomes(), ["client_error", "client_error"]);
  assert.deepEqual(alarms, []);
});
