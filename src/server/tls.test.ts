/** The port with TLS: strange beginnings end, and a stop lets running requests finish as it does without. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, test, type TestContext } from "node:test";
import { connect as connectTls } from "node:tls";
import { systemClock } from "../core/clock.ts";
import { silentLog } from "../core/log.ts";
import { createMetrics } from "../core/metrics.ts";
import { Listener, type Door, type ListenerOptions } from "./http.ts";
import type { Tls } from "./tls.ts";
import { untilHeard } from "./until_heard.fixture.ts";

const folder = mkdtempSync(path.join(tmpdir(), "holdfast-tls-"));
after(() => rmSync(folder, { recursive: true, force: true }));

function makeCertificate(): Tls | undefined {
  const [key, cert] = [path.join(folder, "key.pem"), path.join(folder, "cert.pem")];
  const kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", "/CN=localhost"];
  try {
    execFileSync("openssl", ["req", "-x509", ...kind, "-keyout", key, "-out", cert], { stdio: "ignore" });
  } catch {
    return undefined;
  }
  return { key: readFileSync(key), cert: readFileSync(cert) };
}

const tls = makeCertificate();
const skip = tls === undefined ? "openssl is not there, so no certificate can be made and TLS was not tested" : false;

async function listening(
  t: TestContext,
  door: Door,
  bounds: Pick<ListenerOptions, "headersTimeoutMs"> = {},
): Promise<{ listener: Listener; port: number }> {
  const parts = { metrics: createMetrics(), clock: systemClock, log: silentLog };
  const listener = new Listener({ door, tls, ...bounds, ...parts });
  const { port } = await listener.listen({ host: "127.0.0.1", port: 0 });
  t.after(() => listener.stop(0));
  return { listener, port };
}

/** Resolves to what came until the connection ended. */
function get(port: number): Promise<string> {
  return new Promise((resolve) => {
    const socket = connectTls({ port, host: "127.0.0.1", rejectUnauthorized: false }, () => {
      socket.write("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    });
    let heard = "";
    socket.on("data", (data) => (heard += data.toString()));
    socket.on("error", () => undefined);
    socket.on("close", () => resolve(heard));
  });
}

const answer: Door = async (_request, response) => void response.writeHead(200, { "content-length": 2 }).end("ok");

test("a stop lets a running request finish", { skip }, async (t) => {
  let started: () => void = () => undefined;
  const isStarted = new Promise<void>((resolve) => (started = resolve));
  let letGo: () => void = () => undefined;
  const gate = new Promise<void>((resolve) => (letGo = resolve));
  const { listener, port } = await listening(t, async (request, response) => {
    started();
    await gate;
    await answer(request, response);
  });
  const heard = get(port);
  await isStarted;
  const stopped = listener.stop(60_000);
  letGo();
  assert.match(await heard, /^HTTP\/1\.1 200 [^]*ok$/);
  await stopped;
});

test("what is no TLS, and who says nothing, is closed; others are served", { skip }, async (t) => {
  let isHeard = false;
  const door: Door = (request, response) => {
    isHeard = true;
    return answer(request, response);
  };
  const { listener, port } = await listening(t, door, { headersTimeoutMs: 200 });
  for (const text of ["GET / HTTP/1.1\r\nHost: x\r\n\r\n", "\x16\x03\x01\xff\xff\x01\x00", ""]) {
    await new Promise<void>((resolve) => {
      const socket = connect(port, "127.0.0.1", () => void (text !== "" && socket.write(Buffer.from(text, "latin1"))));
      socket.on("error", () => undefined);
      socket.on("close", () => resolve());
      socket.resume();
    });
    isHeard = false;
    const heard = await untilHeard(
      () => isHeard,
      () => get(port),
    );
    assert.match(heard, /ok$/);
  }
  while (listener.openConnections > 0) await new Promise((resolve) => setImmediate(resolve));
});
