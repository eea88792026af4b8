/** The metadata in several copies: the contract, lost and stale copies, and processes that die between them. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { kvConformance } from "./kv.conformance.ts";
import { openPrepared, placesIn } from "./lmdb_copies.fixture.ts";

for (const count of [2, 3]) {
  kvConformance(`lmdb in ${count} copies`, async () => {
    const folder = await mkdtemp(join(tmpdir(), "holdfast-copies-"));
    const places = placesIn(folder, count);
    const kv = await openPrepared(places);
    const dispose = async (): Promise<void> => {
      await kv.close();
      await rm(folder, { recursive: true });
    };
    return { kv, reopen: () => openPrepared(places), dispose };
  });
}
