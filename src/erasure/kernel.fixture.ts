/**
 * Builds the kernel: AssemblyScript in, the text of kernel_bytes.ts out. As a program (`npm run build:kernel`) it writes that
 * file; the test builds too and compares. The bytes depend on the compiler's version, which package.json therefore pins.
 *
 * The compiler runs as a command: its types, were they imported, would redefine `Array` and others for the whole project.
 */
import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

/** Seven pages of 64 KiB hold the tables and 24 slots; kernel.ts asserts it. */
const options =
  "-O3 --runtime stub --noAssert --use abort= --enable simd,relaxed-simd --initialMemory 7 --maximumMemory 7".split(
    " ",
  );

async function compile(): Promise<Buffer> {
  const compiler = fileURLToPath(import.meta.resolve("assemblyscript/bin/asc.js"));
  const folder = await mkdtemp(join(tmpdir(), "holdfast-kernel-"));
  try {
    const module = join(folder, "kernel.wasm");
    const files = ["kernel.as.ts", "-o", module, "--baseDir", import.meta.dirname];
    await promisify(execFile)(process.execPath, [compiler, ...files, ...options]);
    return await readFile(module);
  } finally {
    await rm(folder, { recursive: true });
  }
}

export async function kernelBytesText(): Promise<string> {
  const lines = (await compile())
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
