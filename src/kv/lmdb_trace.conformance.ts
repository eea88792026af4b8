/**
 * Reads what `strace -f -v` saw of a process that writes rows marked `<name>` and prints `ACK<name>` once each is
 * acknowledged, and names those acknowledged before they were on disk: the row's page must be written, then an fdatasync
 * begun and completed, then a write to the file opened with O_DSYNC (LMDB's meta page) begun and completed.
 */
type Call = {
  readonly name: string;
  readonly fd: string;
  readonly args: string;
  readonly begun: number;
  ended: number;
  /** Of a call that opens a file: its descriptor, known when it has ended. */
  result: string | undefined;
};

/** Lines in order; a call that another thread interrupts stands on two lines. */
function callsOf(trace: string): Call[] {
  const calls: Call[] = [];
  const unfinished = new Map<string, Call>();
  trace.split("\n").forEach((line, index) => {
    const resumed = /^(\d+) +<\.\.\. (\w+) resumed>/.exec(line);
    if (resumed !== null) {
      const call = unfinished.get(resumed[1]!);
      if (call !== undefined) [call.ended, call.result] = [index, resultOf(line)];
      return;
    }
    const begun = /^(\d+) +(\w+)\((\w+)?/.exec(line);
    if (begun === null) return;
    const waits = line.includes("<unfinished ...>");
    const ended = waits ? Number.POSITIVE_INFINITY : index;
    const result = waits ? undefined : resultOf(line);
    const call: Call = { name: begun[2]!, fd: begun[3] ?? "", args: line, begun: index, ended, result };
    if (waits) unfinished.set(begun[1]!, call);
    calls.push(call);
  });
  return calls;
}

function resultOf(line: string): string | undefined {
  return / = (\d+)/.exec(line)?.[1];
}

export function acknowledgedTooEarly(trace: string): { readonly acknowledged: number; readonly early: string[] } {
  const calls = callsOf(trace);
  const syncedFds = calls
    .filter(({ name, args }) => name === "openat" && args.includes("O_DSYNC"))
    .map(({ result }) => result);
  const acks = calls.flatMap(({ args, begun }) => {
    const name = /ACK(<[^>]+>)/.exec(args)?.[1];
    return name === undefined ? [] : [{ name, at: begun }];
  });
  const early = acks.filter(({ name, at }) => {
    const data = calls.find((call) => /^p?writev?(64)?$/.test(call.name) && call.args.includes(name));
    if (data === undefined || data.ended > at) return true;
    const sync = calls.find((call) => call.name === "fdatasync" && call.begun > data.ended && call.ended < at);
    if (sync === undefined) return true;
    return !calls.some((call) => syncedFds.includes(call.fd) && call.begun > sync.ended && call.ended < at);
  });
  return { acknowledged: acks.length, early: early.map(({ name }) => name) };
}
