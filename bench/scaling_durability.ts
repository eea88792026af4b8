/**
 * How likely a chunk is to be lost: a Markov chain over the number of its shards that are gone. From i gone, another goes at
 * (n − i) times a drive's rate of failure, and repair brings one back at 1 / repairHours[i − 1]; with more gone than there is
 * parity the chunk is lost. Drives fail independently of each other: what takes several at once (a node, a zone, a bad
 * batch, a wrong command) is not in it.
 */
export type Fleet = {
  readonly drives: number;
  readonly driveBytes: number;
  /** Part of each drive that is in use. */
  readonly fill: number;
  /** Of one drive, in a year. */
  readonly annualFailureRate: number;
};

export type Code = { readonly dataShards: number; readonly parityShards: number };

export type RepairPace = {
  /** Until a drive is given up. */
  readonly noticedHours: number;
  /** Shards made anew by the whole store, in bytes of them, and as many as the metadata store can note. */
  readonly bytesPerSecond: number;
  readonly shardsPerSecond: number;
  /** Until what is to be done is known: the walk over the chunk maps. */
  readonly walkHours: number;
};

export type Durability = {
  /** Until a drive's shards are on others, and until those chunks are mended that had lost one (two …) before. */
  readonly repairHours: readonly number[];
  /** That one chunk is lost within a year. */
  readonly chunkLossPerYear: number;
  readonly chunks: number;
  readonly lostChunksPerYear: number;
  /** Times in a year that anything is lost: a coincidence of drives that chunks have in common takes all of those. */
  readonly lossesPerYear: number;
};

const hoursPerYear = 8_766;

/**
 * The most endangered chunks are mended first: the more of a chunk's drives have gone, the fewer chunks have just those in
 * common, (n − 1) / (drives − 1) of what the first one had, and so on.
 */
export function repairHours(fleet: Fleet, code: Code, pace: RepairPace, chunkBytes: number): number[] {
  const shards = code.dataShards + code.parityShards;
  const bytesPerSecond = Math.min(pace.bytesPerSecond, (pace.shardsPerSecond * chunkBytes) / code.dataShards);
  let bytes = fleet.driveBytes * fleet.fill;
  return Array.from({ length: code.parityShards }, (_, gone) => {
    if (gone > 0) bytes *= (shards - gone) / (fleet.drives - gone);
    return pace.noticedHours + pace.walkHours + bytes / bytesPerSecond / 3_600;
  });
}

/** Hours until the chain that begins with nothing gone ends in loss. */
export function hoursToLoss(code: Code, failuresPerHour: number, hours: readonly number[]): number {
  const shards = code.dataShards + code.parityShards;
  // Let T(i) be the hours from i to i + 1: T(i) = (1 + repair(i) T(i − 1)) / fail(i), since a repair has to be made up for.
  let step = 0;
  let sum = 0;
  for (let gone = 0; gone <= code.parityShards; gone++) {
    const fails = (shards - gone) * failuresPerHour;
    const repairs = gone === 0 ? 0 : 1 / hours[gone - 1]!;
    step = (1 + repairs * step) / fails;
    sum += step;
  }
  return sum;
}

function combinations(of: number, taken: number): number {
  let count = 1;
  for (let each = 0; each < taken; each++) count = (count * (of - each)) / (each + 1);
  return count;
}

export function durabilityOf(fleet: Fleet, code: Code, pace: RepairPace, chunkBytes: number): Durability {
  const shards = code.dataShards + code.parityShards;
  const hours = repairHours(fleet, code, pace, chunkBytes);
  const failuresPerHour = -Math.log(1 - fleet.annualFailureRate) / hoursPerYear;
  const chunkLossPerYear = hoursPerYear / hoursToLoss(code, failuresPerHour, hours);
  const chunks = (fleet.drives * fleet.driveBytes * fleet.fill) / ((chunkBytes * shards) / code.dataShards);
  const lostChunksPerYear = chunks * chunkLossPerYear;
  const fatal = code.parityShards + 1;
  const chunksOfOneSet = (chunks * combinations(shards, fatal)) / combinations(fleet.drives, fatal);
  const lossesPerYear = lostChunksPerYear / Math.max(1, chunksOfOneSet);
  return { repairHours: hours, chunkLossPerYear, chunks, lostChunksPerYear, lossesPerYear };
}

/**
 * The same by drawing lots, to check the formula where loss is likely enough to be met: failures and repairs of one chunk,
 * one after another, until it is lost. Mean hours over so many chunks.
 */
export function simulatedHoursToLoss(
  { code, failuresPerHour, hours }: { code: Code; failuresPerHour: number; hours: readonly number[] },
  chunks: number,
  uniform: () => number,
): number {
  const shards = code.dataShards + code.parityShards;
  let sum = 0;
  for (let chunk = 0; chunk < chunks; chunk++) {
    for (let gone = 0; gone <= code.parityShards;) {
      const fails = (shards - gone) * failuresPerHour;
      const repairs = gone === 0 ? 0 : 1 / hours[gone - 1]!;
      sum += -Math.log(1 - uniform()) / (fails + repairs);
      gone += uniform() * (fails + repairs) < fails ? 1 : -1;
    }
  }
  return sum / chunks;
}
