/**
 * How long tests may take. `HOLDFAST_TEST_PATIENCE=3` gives them three times as long, on a slow machine or for many more runs of
 * a property. What a file has, and the grace beyond it, can be said alone, in milliseconds: the tests of the runner make one of them short
 * and leave the others long, so that which of them ends a file does not depend on how fast the machine is.
 */
const times = Number(process.env["HOLDFAST_TEST_PATIENCE"] ?? 1);

export const testMsMax = times * 12 * 60_000;
/** The longest takes two to four minutes beside another one on two cores: machines differ, and are shared. */
export const fileMsMax = Number(process.env["HOLDFAST_TEST_FILE_MS"] ?? times * 14 * 60_000);
/** For its process to say itself what is wrong (`test/setup.ts`), and end. */
export const graceMs = Number(process.env["HOLDFAST_TEST_GRACE_MS"] ?? 10_000 + times * 10_000);
export const runMsMax = times * 70 * 60_000;
