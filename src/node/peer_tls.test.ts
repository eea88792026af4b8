/** Between nodes with TLS: a peer's certificate counts only if an authority signed it that the node was told of. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, test } from "node:test";
import { hasReason } from "../core/errors.ts";
import { IdSource, type SessionId } from "../core/ids.ts";
import { systemRandom } from "../core/random.ts";
import type { Tls } from "../server/tls.ts";
import { createMemoryNode } from "./node.memory.ts";
import { nodeConformance } from "./node.conformance.ts";
import { connectTo, serveNode } from "./peer.fixture.ts";

const folder = mkdtempSync(path.join(tmpdir(), "holdfast-peer-tls-"));
after(() => rmSync(folder, { recursive: true, force: true }));

type Certificate = Tls & { readonly cert: Buffer };

function makeCertificate(name: string, host: string): Certificate | undefined {
  const [key, cert] = [path.join(folder, `${name}-key.pem`), path.join(folder, `${name}-cert.pem`)];
  const kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", `/CN=${name}`];
  const names = ["-addext", `subjectAltName=${host}`, "-keyout", key, "-out", cert];
  try {
    execFileSync("openssl", ["req", "-x509", ...kind, ...names], { stdio: "ignore" });
  } catch {
    return undefined;
  }
  return { key: readFileSync(key), cert: readFileSync(cert) };
}

const tls = makeCertificate("right", "IP:127.0.0.1");
const skip = tls === undefined ? "openssl is not there, so no certificate can be made and TLS was not tested" : false;
const ids = new IdSource("00000000000000cc" as SessionId);

if (tls !== undefined) {
  nodeConformance("peer, memory, TLS", async () => {
    const inner = createMemoryNode();
    const served = await serveNode(inner, { tls });
    const node = connectTo(served.port, inner, { url: `https://127.0.0.1:${served.port}`, tls: { ca: tls.cert } });
    const dispose = async (): Promise<void> => {
      await node.close();
      await served.stop();
    };
    return { node, dispose };
  });
}

test("a certificate that is unknown, another's or for another host is refused", { skip }, async (t) => {
  const inner = createMemoryNode();
  const drive = inner.drives[0]!;
  const body = [Buffer.from(systemRandom.bytes(1_000))];
  const shard = { chunk: ids.chunk(), shardIndex: 0, owner: { blob: ids.blob(), chunkIndex: 0 }, body };
  const elsewhere = makeCertificate("elsewhere", "IP:127.0.0.9")!;
  for (const [serves, trusts] of [
    [tls!, undefined],
    [tls!, elsewhere.cert],
    [elsewhere, elsewhere.cert],
  ] as const) {
    const served = await serveNode(inner, { tls: serves });
    const url = `https://127.0.0.1:${served.port}`;
    const peer = connectTo(served.port, inner, { url, ...(trusts && { tls: { ca: trusts } }) });
    t.after(async () => {
      await peer.close();
      await served.stop();
    });
    await assert.rejects(peer.append(drive, shard), (error) => hasReason(error, "drive_missing"));
  }
  assert.deepEqual(await inner.list(drive, { limit: 1 }), []);
});

test("one side with TLS and the other without it come to no agreement", { skip }, async (t) => {
  const inner = createMemoryNode();
  const drive = inner.drives[0]!;
  for (const [serves, url] of [
    [tls, "http"],
    [undefined, "https"],
  ] as const) {
    const served = await serveNode(inner, { tls: serves });
    const isTls = url === "https";
    const peer = connectTo(served.port, inner, {
      url: `${url}://127.0.0.1:${served.port}`,
      ...(isTls && { tls: { ca: tls!.cert } }),
    });
    t.after(async () => {
      await peer.close();
      await served.stop();
    });
    await assert.rejects(peer.status(drive), (error) => hasReason(error, "drive_missing"));
  }
});
