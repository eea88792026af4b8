/**
 * In which order test files run, two at a time. Files that wait more than they work (clusters: for elections, leases, jobs that
 * come round) run one at a time beside those that work, and what is long begins early, so that no core waits and both lanes
 * end together.
 */

/** Seconds on two cores, of what takes more than ten; measured now and then. The order only costs time where they are wrong. */
const waiting: Readonly<Record<string, number>> = {
  "test/cluster/postgres.test.ts": 150,
  "test/cluster/etcd.test.ts": 130,
  "test/cluster/packets.test.ts": 90,
  "test/cluster/standby.test.ts": 60,
  "test/cluster/join.test.ts": 38,
  "src/kv/postgres_failure.test.ts": 28,
  "src/kv/etcd_failure.test.ts": 25,
  "test/run.test.ts": 12,
};
const working: Readonly<Record<string, number>> = {
  "src/jobs/crash.test.ts": 80,
  "test/crash/kill.test.ts": 67,
  "test/brokers/amqp.test.ts": 37,
  "test/clients/rclone.test.ts": 36,
  "test/crash/commit.test.ts": 30,
  "test/faults/failed_index.test.ts": 30,
  "test/clients/clients.test.ts": 29,
  "test/crash/events.test.ts": 22,
  "test/cli/node.test.ts": 20,
  "test/cli/drives.test.ts": 20,
  "test/cli/users.test.ts": 20,
};
const otherSeconds = 2;

export function inOrder(files: readonly string[]): string[] {
  const isWaiting = (file: string): boolean => Object.hasOwn(waiting, file);
  const secondsOf = (file: string): number => waiting[file] ?? working[file] ?? otherSeconds;
  const longestFirst = files.toSorted((left, right) => secondsOf(right) - secondsOf(left));
  const [patient, busy] = [longestFirst.filter(isWaiting), longestFirst.filter((file) => !isWaiting(file))];
  const ordered: string[] = [];
  // As the two lanes will take them: when each of them is free, and when the last file that waits ends.
  const lanes: [number, number] = [0, 0];
  let patientUntil = 0;
  while (ordered.length < files.length) {
    const lane = lanes[0] <= lanes[1] ? 0 : 1;
    const next = (lanes[lane] >= patientUntil ? patient.shift() : undefined) ?? busy.shift() ?? patient.shift()!;
    ordered.push(next);
    lanes[lane] += secondsOf(next);
    if (isWaiting(next)) patientUntil = lanes[lane];
  }
  return ordered;
}
