/**
 * Loaded into a server (`node --import`): after SIGUSR2 no sync of a file ends any more in the process that got it, as on a drive that
 * hangs. What is waited for longest is over in a hundredth of its time.
 */
import { open, type FileHandle } from "node:fs/promises";

const longMs = 20_000;
const { setTimeout: inTime } = globalThis;
const inHaste = (run: () => void, ms = 0): NodeJS.Timeout => inTime(run, ms < longMs ? ms : ms / 100);
globalThis.setTimeout = Object.assign(inHaste, inTime);

const handle = await open("/dev/null");
const files = Object.getPrototypeOf(handle) as FileHandle;
await handle.close();
const hang = (): Promise<void> => {
  process.stderr.write("A sync hangs.\n");
  return new Promise(() => undefined);
};
process.once("SIGUSR2", () => (files.datasync = hang));
