/**
 * Builds the kernel: AssemblyScript in, the text of kernel_bytes.ts out. As a program (`npm run build:kernel`) it writes that
 * file; the test builds too and compares. The bytes depend on the compiler's version, which package.json therefore pins.
 */
import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { main } from "assemblyscript/asc";

/** Seven pages of 64 KiB hold the tables and 24 slots; kernel.ts asserts it. */
const options =
  "-O3 --runtime stub --noAssert --use abort= --enable simd,relaxed-simd --initialMemory 7 --maximumMemory 7".split(
    " ",
  );

async function compile(): Promise<Uint8Array> {
  let module: Uint8Array | undefined;
  const files = ["kernel.as.ts", "-o", "kernel.wasm", "--baseDir", import.meta.dirname];
  const { error } = await main([...files, ...options], {
    writeFile: (_name, contents) => {
      assert(contents instanceof Uint8Array, "the module is binary");
      module = contents;
    },
  });
  if (error !== null) throw error;
  assert(module, "the compiler writes a module");
  return module;
}

export async function kernelBytesText(): Promise<string> {
  const lines = Buffer.from(await compile())
    .toString("base64")
    .match(/.{1,100}/g)!
    .map((line) => `  "${line}"`);
  return [
    "/** The module compiled from kernel.as.ts, in base64. Made by `npm run build:kernel`; never edited. */",
    "export const kernelBase64 =",
    `${lines.join(" +\n")};`,
    "",
  ].join("\n");
}

if (process.argv[1] === import.meta.filename) {
  await writeFile(join(import.meta.dirname, "kernel_bytes.ts"), await kernelBytesText());
}
