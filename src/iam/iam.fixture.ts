/** The doors of IAM and STS on loopback, with everything behind them in memory, and requests signed as AWS's clients sign them. */
import { createHash } from "node:crypto";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { systemClock, type Clock } from "../core/clock.ts";
import { silentLog } from "../core/log.ts";
import { systemRandom } from "../core/random.ts";
import { signRequest } from "../gateway/sigv4.ts";
import { child, readXml, type XmlElement } from "../gateway/xml.ts";
import { createIdentity, type Identity } from "../identity/identity.ts";
import { openMemoryKv } from "../kv/memory.ts";
import { createQueryDoor, type QueryEvent } from "./iam.ts";

export const root = { accessKey: "root", secretKey: "root-secret" };
export type Keys = { readonly accessKey: string; readonly secretKey: string; readonly token?: string | undefined };
export type Fields = Readonly<Record<string, string>>;
export type Answer = { readonly status: number; readonly text: string; readonly xml: XmlElement };

export type TestDoor = {
  readonly identity: Identity;
  readonly account: string;
  readonly origin: string;
  readonly events: readonly QueryEvent[];
  /** As root unless keys are given. */
  iam(fields: Fields, keys?: Keys): Promise<Answer>;
  sts(fields: Fields, keys?: Keys): Promise<Answer>;
  /** Signed, or sent as it is where there are no keys. */
  send(body: Buffer, service: string, keys: Keys | undefined, more?: Fields, region?: string): Promise<Answer>;
  close(): Promise<void>;
};

/** A clock that stands until it is moved. */
export function handClock(startMs: number): Clock & { move(ms: number): void } {
  let nowMs = startMs;
  return {
    ...systemClock,
    nowMs: () => nowMs,
    monotonicMs: () => systemClock.monotonicMs(),
    sleep: (ms, signal) => systemClock.sleep(ms, signal),
    move: (ms) => void (nowMs += ms),
  };
}

export type DoorOptions = { readonly clock?: Clock; readonly allowsPlainLoopback?: boolean };

export async function openDoor(options: DoorOptions = {}): Promise<TestDoor> {
  const { clock = systemClock, allowsPlainLoopback = false } = options;
  const identity = createIdentity({ kv: openMemoryKv(), root, clock, random: systemRandom });
  const { account } = await identity.directory.ownAccount();
  const events: QueryEvent[] = [];
  const onRequest = (event: QueryEvent): void => void events.push(event);
  const parts = {
    identity,
    region: "eu-central-1",
    domains: ["s3.test"],
    clock,
    random: systemRandom,
    allowsPlainLoopback,
  };
  const door = createQueryDoor({ ...parts, log: silentLog, onRequest });
  // On a busy machine a client may use a connection again in the moment in which the server ends it as idle.
  const http = createServer({ keepAliveTimeout: 0 }, (req, res) => {
    if (door.isFor(req)) void door.handle(req, res);
    else res.writeHead(418).end("<elsewhere/>");
  });
  await new Promise<void>((resolve) => http.listen(0, "127.0.0.1", resolve));
  const { port } = http.address() as AddressInfo;
  const origin = `http://127.0.0.1:${port}/`;
  const send: TestDoor["send"] = async (body, service, keys, more = {}, region = "us-east-1") => {
    const plain = { host: `127.0.0.1:${port}`, "content-type": "application/x-www-form-urlencoded; charset=utf-8" };
    const token = keys?.token === undefined ? undefined : { "x-amz-security-token": keys.token };
    const headers: Record<string, string> = { ...plain, ...token, ...more };
    const payloadHash = createHash("sha256").update(body).digest("hex");
    const nowMs = clock.nowMs();
    const to = { method: "POST", rawPath: "/", region, service, headers, payloadHash, nowMs };
    const all = keys === undefined ? headers : signRequest({ ...to, ...keys }).headers;
    const { host: _, ...sent } = all;
    const answer = await fetch(origin, { method: "POST", headers: sent, body });
    const text = await answer.text();
    return { status: answer.status, text, xml: readXml(Buffer.from(text)) };
  };
  const asking =
    (service: string, Version: string) =>
    (fields: Fields, keys: Keys = root) =>
      send(Buffer.from(new URLSearchParams({ Version, ...fields }).toString()), service, keys);
  return {
    identity,
    account,
    origin,
    events,
    iam: asking("iam", "2010-05-08"),
    sts: asking("sts", "2011-06-15"),
    send,
    close: async () => {
      http.closeAllConnections();
      await new Promise((resolve) => http.close(resolve));
    },
  };
}

/** The text at a path of elements; members by their numbers, which begin at 0. Undefined where there is none. */
export function at(element: XmlElement, path: string): string | undefined {
  let found: XmlElement | undefined = element;
  for (const step of path.split("/"))
    found = /^\d+$/.test(step) ? found?.children[Number(step)] : found && child(found, step);
  return found?.text;
}

export function codeOf({ status, xml }: Answer): string {
  return `${status} ${at(xml, "Error/Code") ?? "OK"}`;
}

export const policyOf = (...statements: object[]): string =>
  JSON.stringify({ Version: "2012-10-17", Statement: statements.map((each) => ({ Effect: "Allow", ...each })) });
