/** A progress bar on standard error where that is a terminal, silence elsewhere. */
import { SingleBar, Presets } from "cli-progress";
import { humanBytes } from "./connection.ts";

export type ProgressBar = { add(bytes: number): void; stop(): void };

export function progressBar(totalBytes: number, quiet: boolean): ProgressBar {
  if (quiet || !process.stderr.isTTY) return { add: () => undefined, stop: () => undefined };
  const bar = new SingleBar(
    {
      format: "{bar} {percentage}%  {value} of {total}  {eta_formatted} left",
      formatValue: (value, _options, type) =>
        type === "value" || type === "total" ? humanBytes(value) : String(value),
      etaBuffer: 100,
    },
    Presets.shades_classic,
  );
  bar.start(totalBytes, 0);
  return { add: (bytes) => bar.increment(bytes), stop: () => bar.stop() };
}

export type ProgressCounter = { show(text: string): void; stop(): void };

const showEveryMs = 100;

/** For work whose end is not known: a line that is written over, and taken away in the end. */
export function progressCounter(quiet: boolean): ProgressCounter {
  if (quiet || !process.stderr.isTTY) return { show: () => undefined, stop: () => undefined };
  let shownMs = 0;
  return {
    show: (text) => {
      const nowMs = performance.now();
      if (nowMs - shownMs < showEveryMs) return;
      shownMs = nowMs;
      process.stderr.write(`\r\x1b[K${text}`);
    },
    stop: () => void process.stderr.write("\r\x1b[K"),
  };
}
