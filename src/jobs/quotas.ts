/** Finishes the counting for a quota that a process began and did not end: see object/quota_settings.ts. */
import type { Clock } from "../core/clock.ts";
import type { Random } from "../core/random.ts";
import type { Kv } from "../kv/kv.ts";
import { finishQuotas } from "../object/quota_settings.ts";
import type { Job } from "./runner.ts";

export function quotasJob(parts: { readonly kv: Kv; readonly clock: Clock; readonly random: Random }): Job {
  return {
    name: "quotas",
    leased: true,
    idleMsMin: 60_000,
    idleMsMax: 3_600_000,
    run: async (signal) => ({ done: await finishQuotas(parts, signal), more: false }),
  };
}
