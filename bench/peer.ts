/**
 * `node bench/peer.ts`: appends of 1 MiB and reads of 512 KiB to a memory node of another process over loopback, against
 * bare node:http that moves the same bytes with the same number of connections. Both ends share this machine's cores.
 * Prints MiB/s, and the CPU time of both ends for each MiB, with their ratios: medians over the rounds. Options: --rounds N, --seconds N per work, --calls N at once.
 */
import { fork, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { Agent, createServer, request } from "node:http";
import type { AddressInfo } from "node:net";
import { parseArgs } from "node:util";
import { giveBack } from "../src/core/give_back.ts";
import { IdSource, type DriveId, type SessionId } from "../src/core/ids.ts";
import { createMemoryNode } from "../src/node/node.memory.ts";
import type { ChunkNode } from "../src/node/node.ts";
import { connectTo, serveNode } from "../src/node/peer.fixture.ts";
import { median } from "./statistics.ts";

const { values } = parseArgs({
  options: {
    rounds: { type: "string", default: "5" },
    seconds: { type: "string", default: "2" },
    calls: { type: "string", default: "8" },
    serve: { type: "boolean", default: false },
  },
});
const [appendBytes, readBytes] = [1_048_576, 524_288];
const session = "00000000000000aa" as SessionId;
const drive = "00000000000000dd" as DriveId;
const ids = new IdSource(session);
const body = Buffer.alloc(appendBytes, "shard");
const kept = { chunk: ids.chunk(), shardIndex: 0, owner: { blob: ids.blob(), chunkIndex: 0 }, body: [body] };

/** What is appended is dropped, and what is read is fresh bytes, as from a file: only the way between is measured. */
function passing(): ChunkNode {
  const node = createMemoryNode({ drives: [drive] });
  return Object.assign(node, { append: () => Promise.resolve(), read: async () => Buffer.allocUnsafeSlow(readBytes) });
}

async function serve(): Promise<void> {
  const { port } = await serveNode(passing());
  const bare = createServer((req, res) => {
    // Whoever appends a shard has it whole before.
    const pieces: Buffer[] = [];
    req.on("data", (piece: Buffer) => pieces.push(piece));
    req.on("end", () => {
      for (const piece of pieces) giveBack(piece);
      const reply = req.method === "GET" ? Buffer.allocUnsafeSlow(readBytes) : Buffer.alloc(0);
      res.writeHead(200, { "content-length": reply.length });
      res.end(reply, () => giveBack(reply));
    });
  });
  await new Promise<void>((resolve) => void bare.listen(0, "127.0.0.1", resolve));
  process.once("disconnect", () => process.exit());
  process.on("message", () => process.send!(cpuMs()));
  process.send!({ port, barePort: (bare.address() as AddressInfo).port });
}

function cpuMs(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1_000;
}

async function cpuMsOfBoth(child: ChildProcess): Promise<number> {
  child.send("cpu");
  const [ofChild] = (await once(child, "message")) as [number];
  return cpuMs() + ofChild;
}

type Rate = { readonly mibps: number; readonly cpuMsPerMiB: number };

/** Of calls made one after the other, `calls` at once. */
async function rate(child: ChildProcess, bytes: number, call: () => Promise<void>): Promise<Rate> {
  const cpuBefore = await cpuMsOfBoth(child);
  const start = performance.now();
  const end = start + Number(values.seconds) * 1_000;
  let done = 0;
  const lane = async (): Promise<void> => {
    for (; performance.now() < end; done++) await call();
  };
  await Promise.all(Array.from({ length: Number(values.calls) }, lane));
  const mib = (done * bytes) / 2 ** 20;
  const seconds = (performance.now() - start) / 1_000;
  return { mibps: mib / seconds, cpuMsPerMiB: ((await cpuMsOfBoth(child)) - cpuBefore) / mib };
}

function bareCall(agent: Agent, port: number, method: "GET" | "POST"): Promise<void> {
  return new Promise((resolve, reject) => {
    const headers = { "content-length": method === "POST" ? appendBytes : 0 };
    const req = request({ agent, port, host: "127.0.0.1", method, headers }, (res) => {
      // A reader wants its bytes in one piece.
      const whole = Buffer.allocUnsafeSlow(Number(res.headers["content-length"]));
      let filled = 0;
      res.on("data", (piece: Buffer) => {
        filled += piece.copy(whole, filled);
        giveBack(piece);
      });
      res.on("end", () => {
        giveBack(whole);
        resolve();
      });
    });
    req.on("error", reject);
    if (method === "POST") req.write(body);
    req.end();
  });
}

async function measure(child: ChildProcess): Promise<void> {
  const [ports] = (await once(child, "message")) as [{ port: number; barePort: number }];
  const peer = connectTo(ports.port, createMemoryNode({ drives: [drive] }));
  const agent = new Agent({ keepAlive: true, maxSockets: Number(values.calls) });
  const works = {
    "append 1 MiB": {
      bytes: appendBytes,
      peer: () => peer.append(drive, kept),
      bare: () => bareCall(agent, ports.barePort, "POST"),
    },
    "read 512 KiB": {
      bytes: readBytes,
      peer: async () => giveBack(await peer.read(drive, kept, { offset: 0, length: readBytes })),
      bare: () => bareCall(agent, ports.barePort, "GET"),
    },
  };
  const heads = ["work", "between nodes, MiB/s", "bare, MiB/s", "ratio", "CPU ms per MiB", "bare", "ratio"];
  process.stdout.write(`| ${heads.join(" | ")} |\n|${heads.map(() => "---|").join("")}\n`);
  for (const [name, work] of Object.entries(works)) {
    const rounds: { readonly ours: Rate; readonly bare: Rate }[] = [];
    for (let round = 0; round < Number(values.rounds); round++)
      rounds.push({ ours: await rate(child, work.bytes, work.peer), bare: await rate(child, work.bytes, work.bare) });
    const of = (figure: (round: (typeof rounds)[number]) => number): number => median(rounds.map(figure));
    const cells = [
      of(({ ours }) => ours.mibps).toFixed(0),
      of(({ bare }) => bare.mibps).toFixed(0),
      of(({ ours, bare }) => ours.mibps / bare.mibps).toFixed(2),
      of(({ ours }) => ours.cpuMsPerMiB).toFixed(2),
      of(({ bare }) => bare.cpuMsPerMiB).toFixed(2),
      of(({ ours, bare }) => ours.cpuMsPerMiB / bare.cpuMsPerMiB).toFixed(2),
    ];
    process.stdout.write(`| ${name} | ${cells.join(" | ")} |\n`);
  }
  agent.destroy();
  await peer.close();
}

if (values.serve) await serve();
else {
  const child = fork(import.meta.filename, ["--serve"]);
  try {
    await measure(child);
  } finally {
    child.disconnect();
  }
}
