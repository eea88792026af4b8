import { kvConformance } from "./kv.conformance.ts";
import { openMemoryKv } from "./memory.ts";

kvConformance("memory", async () => {
  const kv = openMemoryKv();
  return { kv, dispose: () => kv.close() };
});
