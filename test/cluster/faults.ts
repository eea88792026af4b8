/**
 * What can happen to a cluster, as data: a sequence of faults follows from a seed alone, so that a run that found something can
 * be repeated; and how each of them is brought about, and mended, under load.
 *
 * All but those of the metadata engine leave enough to read and write everything. One is mended before the next one comes.
 */
import { seededRandom, type Random } from "../../src/core/random.ts";
import type { EngineKind } from "./engine.ts";
import { EtcdEngine, PostgresEngine, StandbyEngine } from "./engine.ts";
import type { Way } from "./link.ts";
import { pause, type Trial } from "./trial.ts";

/** `node` and `drive` count from the first one; they are taken modulo how many there are. */
export type Fault =
  | { readonly kind: "kill"; readonly node: number; readonly downMs: number }
  | { readonly kind: "freeze"; readonly node: number; readonly forMs: number }
  | { readonly kind: "lose a drive"; readonly node: number; readonly drive: number; readonly comesBack: boolean }
  | { readonly kind: "restart all" }
  | { readonly kind: "add a node, drain another"; readonly node: number }
  | {
      readonly kind: "cut from its peers";
      readonly node: number;
      readonly ways: readonly Way[];
      readonly forMs: number;
    }
  | { readonly kind: "two cut from each other"; readonly node: number; readonly other: number; readonly forMs: number }
  | {
      readonly kind: "cut from the metadata";
      readonly node: number;
      readonly ways: readonly Way[];
      readonly forMs: number;
    }
  | { readonly kind: "slow network"; readonly node: number; readonly delayMs: number; readonly forMs: number }
  | { readonly kind: "engine down"; readonly member: number; readonly downMs: number }
  | { readonly kind: "engine leader down"; readonly downMs: number }
  | { readonly kind: "engine majority down"; readonly downMs: number };

type Kind = Fault["kind"];

const everywhere: readonly Kind[] = [
  "kill",
  "kill",
  "freeze",
  "lose a drive",
  "restart all",
  "add a node, drain another",
  "cut from its peers",
  "two cut from each other",
  "cut from the metadata",
  "slow network",
  "engine down",
];

/** Not for ever: as many as are taken. */
export function* faultsOf(seed: number, engine: EngineKind): Generator<Fault> {
  const random = seededRandom(seed);
  const kinds: readonly Kind[] =
    engine === "etcd" ? [...everywhere, "engine leader down", "engine majority down"] : everywhere;
  for (;;) yield faultOf(kinds[random.below(kinds.length)]!, random);
}

const wayChoices: readonly (readonly Way[])[] = [["there"], ["back"], ["there", "back"]];

function faultOf(kind: Kind, random: Random): Fault {
  const node = random.below(1_000);
  const ways = wayChoices[random.below(wayChoices.length)]!;
  // Some are shorter than it takes to notice, some longer than a session may be silent.
  const forMs = [500, 3_000, 15_000, 40_000][random.below(4)]!;
  const downMs = 200 + random.below(6_000);
  switch (kind) {
    case "kill":
      return { kind, node, downMs };
    case "freeze":
      return { kind, node, forMs };
    case "lose a drive":
      return { kind, node, drive: random.below(1_000), comesBack: random.below(2) === 0 };
    case "restart all":
      return { kind };
    case "add a node, drain another":
      return { kind, node };
    case "cut from its peers":
    case "cut from the metadata":
      return { kind, node, ways, forMs };
    case "two cut from each other":
      return { kind, node, other: node + 1 + random.below(3), forMs };
    case "slow network":
      return { kind, node, delayMs: 20 + random.below(200), forMs: Math.min(forMs, 15_000) };
    case "engine down":
      return { kind, member: random.below(1_000), downMs };
    case "engine leader down":
    case "engine majority down":
      return { kind, downMs };
  }
}

/** Brings a fault about and mends it. Resolves when the cluster has what it needs for the next one. */
export async function perform(trial: Trial, fault: Fault): Promise<void> {
  trial.say(JSON.stringify(fault));
  await acts[fault.kind](trial, fault as never);
  await trial.settled();
}

type Acts = { readonly [K in Kind]: (trial: Trial, fault: Extract<Fault, { readonly kind: K }>) => Promise<void> };

const acts: Acts = {
  kill: (trial, { node, downMs }) => trial.without(trial.node(node), () => pause(downMs)),
  freeze: async (trial, { node, forMs }) => {
    const frozen = trial.node(node);
    frozen.freeze();
    await pause(forMs);
    await frozen.wake();
  },
  "lose a drive": async (trial, { node, drive, comesBack }) => {
    const loser = trial.node(node);
    const index = drive % loser.drives.length;
    const lost = await trial.cluster.driveIn(loser.drives[index]!);
    let away = "";
    await trial.without(loser, async () => void (away = loser.loseDrive(index)));
    await trial.untilWhole();
    if (!comesBack) return trial.writeOff(lost);
    await loser.stop();
    loser.bringBack(away);
    await loser.start();
  },
  "restart all": async (trial) => {
    for (const node of trial.cluster.nodes) await trial.restart(node);
  },
  "add a node, drain another": async (trial, { node }) => {
    const leaving = trial.node(node);
    await trial.cluster.addNode();
    await trial.retire(leaving);
  },
  "cut from its peers": async (trial, { node, ways, forMs }) => {
    const { peers } = trial.node(node);
    peers.cut(ways);
    await pause(forMs);
    peers.heal();
  },
  "two cut from each other": async (trial, { node, other, forMs }) => {
    const [one, two] = [trial.node(node), trial.node(other)];
    one.peers.cut(["there", "back"], two.name);
    two.peers.cut(["there", "back"], one.name);
    await pause(forMs);
    one.peers.heal();
    two.peers.heal();
  },
  "cut from the metadata": async (trial, { node, ways, forMs }) => {
    const { metadata } = trial.node(node);
    for (const link of metadata) link.cut(ways);
    await pause(forMs);
    for (const link of metadata) link.heal();
  },
  "slow network": async (trial, { node, delayMs, forMs }) => {
    const links = [trial.node(node).peers, ...trial.node(node).metadata];
    for (const link of links) link.delayMs = delayMs;
    await pause(forMs);
    for (const link of links) link.heal();
  },
  "engine down": (trial, { member, downMs }) => trial.withoutMetadata(() => engineDown(trial, member, downMs)),
  "engine leader down": async (trial, { downMs }) => {
    const engine = etcdOf(trial);
    const leader = await engine.fixture.leader();
    await trial.withoutMetadata(() => membersDown(engine, [leader], downMs));
  },
  "engine majority down": async (trial, { downMs }) => {
    await trial.withoutMetadata(() => membersDown(etcdOf(trial), [0, 2], downMs));
  },
};

async function engineDown(trial: Trial, member: number, downMs: number): Promise<void> {
  const { engine } = trial.cluster;
  if (engine instanceof PostgresEngine) await engine.restart(downMs);
  else if (engine instanceof StandbyEngine) await engine.failover(downMs);
  else if (engine instanceof EtcdEngine) await membersDown(engine, [member % engine.hosts.length], downMs);
}

async function membersDown(engine: EtcdEngine, members: readonly number[], downMs: number): Promise<void> {
  await engine.down(...members);
  await pause(downMs);
  await engine.up(...members);
}

function etcdOf(trial: Trial): EtcdEngine {
  const { engine } = trial.cluster;
  if (engine instanceof EtcdEngine) return engine;
  throw new Error("this fault is one of etcd's");
}
