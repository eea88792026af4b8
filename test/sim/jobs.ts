import { createJobs, type JobsParts } from "../../src/jobs/jobs.ts";

export type Job = ReturnType<typeof createJobs>[number];

/** All but the one that finds shards which are not where they should be: what it has mended would not be seen to have been wrong. */
export function jobsOf(parts: JobsParts): Job[] {
  return createJobs(parts).filter(({ name }) => name !== "missing");
}
