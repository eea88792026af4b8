import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import { kernelBytesText } from "./kernel.fixture.ts";

void test("the compiled kernel is what its source gives", async () => {
  const file = await readFile(new URL("./kernel_bytes.ts", import.meta.url), "utf8");
  assert.equal(file, await kernelBytesText(), "npm run build:kernel makes it anew");
});
