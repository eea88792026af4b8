/** Events to brokers over TLS: with an authority of their own, and with a certificate of ours. */
import { spawnSync } from "node:child_process";
import { once } from "node:events";
import { readFileSync, rmSync } from "node:fs";
import { connect as connectPlain, type AddressInfo } from "node:net";
import path from "node:path";
import assert from "node:assert/strict";
import { createServer } from "node:tls";
import { test, type TestContext } from "node:test";
import type { Credentials } from "../../src/meta/destinations.ts";
import { temporaryFolder, type Broker } from "./broker.ts";
import { KafkaFake } from "./kafka_fake.ts";
import { mosquittoMissing, startMosquitto } from "./mosquitto.ts";
import { natsMissing, startNats } from "./nats_server.ts";
import { rabbitMissing, startRabbit } from "./rabbit.ts";
import { redisMissing, startRedis } from "./redis.ts";
import { assertUnreachable, courierTo, deliver } from "./suite.ts";

const noOpenssl =
  spawnSync("openssl", ["version"]).status === 0 ? false : "NOT CHECKED: events over TLS. Install openssl.";

type Certificate = { readonly certificate: string; readonly key: string; readonly files: readonly [string, string] };

/** Its own authority, of 127.0.0.1. */
function newCertificate(t: TestContext): Certificate {
  const folder = temporaryFolder("tls");
  t.after(() => rmSync(folder, { recursive: true }));
  const files = [path.join(folder, "cert.pem"), path.join(folder, "key.pem")] as const;
  const wanted = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=broker"];
  const names = ["-addext", "subjectAltName=IP:127.0.0.1", "-out", files[0], "-keyout", files[1]];
  assert.equal(spawnSync("openssl", [...wanted, ...names], { stdio: "ignore" }).status, 0);
  const [certificate, key] = files.map((file) => readFileSync(file, "utf8"));
  return { certificate: certificate!, key: key!, files };
}

/** Takes TLS off, and asks for a certificate that the same authority has signed. Returns its port. */
async function terminate(t: TestContext, { certificate, key }: Certificate, port: number): Promise<number> {
  const options = { cert: certificate, key, ca: certificate, requestCert: true, rejectUnauthorized: true };
  const server = createServer(options, (near) => {
    const far = connectPlain(port, "127.0.0.1");
    for (const each of [near, far]) {
      each.on("error", () => undefined);
      each.on("close", () => [near, far].forEach((end) => end.destroy()));
    }
    near.pipe(far).pipe(near);
  });
  server.on("tlsClientError", () => undefined);
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => new Promise((resolve) => server.close(resolve)));
  return (server.address() as AddressInfo).port;
}

async function tryAll(t: TestContext, url: string, { certificate, key }: Certificate): Promise<void> {
  const withAll: Credentials = { authority: certificate, certificate, key };
  assert.deepEqual(await deliver(courierTo(t, url, withAll)), { outcome: "taken" });
  assertUnreachable(await deliver(courierTo(t, url, { certificate, key })), /self[- ]signed|verify/i);
  assertUnreachable(await deliver(courierTo(t, url, { authority: certificate })), /./);
  const elsewhere = url.replace("127.0.0.1", "localhost");
  assertUnreachable(await deliver(courierTo(t, elsewhere, withAll)), /altnames|localhost/i);
}

const kinds: readonly (readonly [name: string, tls: string, skip: string | false, start: () => Promise<Broker>])[] = [
  ["redis", "rediss", redisMissing, () => startRedis()],
  ["mqtt", "mqtts", mosquittoMissing, () => startMosquitto()],
  ["kafka", "kafkas", false, () => KafkaFake.open()],
  ["amqp", "amqps", rabbitMissing, () => startRabbit()],
];

for (const [name, scheme, skip, start] of kinds)
  test(`${scheme}: who is trusted, and who we are`, { skip: skip || noOpenssl }, async (t) => {
    const broker = await start();
    t.after(() => broker.dispose());
    const own = newCertificate(t);
    const port = await terminate(t, own, broker.port);
    await tryAll(t, broker.url(port).replace(`${name}:`, `${scheme}:`), own);
  });

test("tls (NATS): who is trusted, and who we are", { skip: natsMissing || noOpenssl }, async (t) => {
  const own = newCertificate(t);
  const [cert, key] = own.files;
  // The library has it checked as "localhost" where it is reached by a number.
  const tls = { ca: own.certificate, cert: own.certificate, key: own.key, checkServerIdentity: () => undefined };
  const broker = await startNats({
    flags: ["--tlsverify", "--tlscert", cert, "--tlskey", key, "--tlscacert", cert],
    connection: { tls },
    login: "",
  });
  t.after(() => broker.dispose());
  await tryAll(t, broker.url(broker.port).replace("nats:", "tls:"), own);
});
