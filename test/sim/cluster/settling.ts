/** The end of a simulated cluster: nothing goes wrong any more, time passes, and then everything has to be in order again. */
import { limits } from "../../../src/core/limits.ts";
import { shardsOf } from "../../../src/core/redundancy.ts";
import { changeDriveState, readDrives } from "../../../src/meta/drives.ts";
import { balanceKey } from "../../../src/meta/balance.ts";
import { driveIdOf, isWholeDrive, tagRange, tags } from "../../../src/meta/keys.ts";
import { findWrong, notBalanced } from "../books.ts";
import type { Remains } from "../drives.ts";
import type { Job } from "../jobs.ts";
import type { Member } from "./member.ts";
import { isAccident, runJob, type Tending } from "./tending.ts";
import type { ClusterWorld } from "./world.ts";

const calmMsMax = 300_000;
const roundsMax = 40;
const runsMax = 200;
const roundMs = 30_000;

/** Until all is well and has been for a while. Resolves to a sentence when that does not come. */
export async function becomeCalm(world: ClusterWorld): Promise<string[]> {
  const { time } = world;
  for (const endsMs = time.nowMs + calmMsMax; time.nowMs < endsMs;) {
    if (world.isCalm) return [];
    await time.sleep(500);
  }
  return ["the cluster does not come to rest"];
}

/** Lets all work be done, and looks; returns what is wrong. */
export async function settle(world: ClusterWorld, tending: Tending): Promise<string[]> {
  await makeWhole(world, tending);
  // What a write that failed has left is looked for when its session has ended.
  restartAll(world);
  // Every drive is scrubbed once more, and what walks have passed over is walked again.
  world.time.jump(limits.scrubIntervalMs);
  const wrong: string[] = [];
  let isIdle = false;
  for (let round = 0; wrong.length === 0 && round < roundsMax && !tending.hasFailed; round++) {
    wrong.push(...(await becomeCalm(world)));
    for (const member of world.members) await workAll(world, member);
    const left = await whatIsLeft(world);
    if (left === "nothing" && isIdle) break;
    // What live sessions stored is left alone, also what an append has left which its own removal overtook: those that worked end.
    isIdle = left !== "work";
    if (isIdle) restartAll(world);
    await world.time.sleep(roundMs);
  }
  wrong.push(...(await becomeCalm(world)));
  const member = world.any();
  if (wrong.length > 0 || member === undefined) return wrong;
  const ground = { alarms: world.alarms, remains: () => world.remains() };
  return findWrong({ ...ground, mayWake: (row) => world.mayWake(row) }, member);
}

function restartAll({ members }: ClusterWorld): void {
  for (const { power } of members) power.cut();
}

/**
 * Every chunk finds drives enough: some of those that are leaving stay, and new machines join. Those that are lost are given up by
 * an operator, and what was written while drives were away is laid out anew.
 */
async function makeWhole(world: ClusterWorld, tending: Tending): Promise<void> {
  const { shardsMax, engine, random } = world;
  const here = new Set(world.here.map(({ url }) => url));
  const ids = new Set((await world.looks()).keys());
  const known = (await readDrives(engine.kv)).filter(({ id, node }) => here.has(node) && ids.has(id));
  let active = known.filter(({ state }) => state === "active").length;
  for (const { id, state } of known) {
    if (state === "active" || (active >= shardsMax && random.below(2) === 0)) continue;
    await changeDriveState(engine.kv, id, ["draining", "drained"], "active");
    active += 1;
  }
  for (const { id } of await readDrives(engine.kv))
    if (!ids.has(id)) await changeDriveState(engine.kv, id, ["active"], "draining");
  await forgetBalance(world);
  for (; active < shardsMax; active++) if (world.addMachine() === undefined) world.here[0]!.drives.add();
  tending.begin();
}

/** The next walk looks at everything again. */
async function forgetBalance({ engine }: ClusterWorld): Promise<void> {
  await engine.kv.commit({ checks: [], writes: [{ kind: "delete", key: balanceKey() }] });
}

async function workAll(world: ClusterWorld, { jobs }: Member): Promise<void> {
  for (const job of jobs) for (let left = runsMax; left > 0 && (await isBusy(world, job)); left--);
}

async function isBusy(world: ClusterWorld, job: Job): Promise<boolean> {
  try {
    const result = await runJob(world, job);
    return result !== undefined && (result.more || result.done > 0);
  } catch (error) {
    if (!isAccident(error)) throw error;
    return false;
  }
}

async function whatIsLeft(world: ClusterWorld): Promise<"nothing" | "sweeps" | "work"> {
  const { engine, members } = world;
  const { kv } = engine;
  for (const tag of [tags.trash, tags.repair, tags.mend, tags.ended])
    if ((await kv.scan(tagRange(tag), { limit: 1 })).length > 0) return "work";
  for (const row of await kv.scan(tagRange(tags.relocation), { limit: limits.scanEntriesMax }))
    if (!(await world.mayWake(row))) return "work";
  const here = new Set(members.flatMap(({ local }) => local.drives));
  if ((await readDrives(kv)).some(({ id, state }) => state === "draining" && here.has(id))) return "work";
  const isWhole = ({ chunk, good }: Remains): boolean => good.length === shardsOf(chunk.redundancy);
  if (!(await world.remains()).every(isWhole)) return "work";
  const [member] = members;
  const misplaced = member === undefined ? [] : await notBalanced(member);
  if (misplaced.length > 0) {
    // What a process stored before it knew all drives lies elsewhere, and nobody walks for that once the walk has ended.
    if (misplaced.some((why) => why.startsWith("chunk"))) await forgetBalance(world);
    return "work";
  }
  const strays = await kv.scan(tagRange(tags.stray), { limit: limits.scanEntriesMax });
  const left = strays.filter(({ key }) => here.has(driveIdOf(key)));
  if (left.length === 0) return "nothing";
  return left.every(({ key }) => isWholeDrive(key)) ? "sweeps" : "work";
}
