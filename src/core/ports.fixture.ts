/**
 * Ports of the loopback for tests whose servers open them later, or open them again after a while: who asks the kernel for a free
 * port and gives it back may find that another test has it by then. These lie below those that the kernel gives out, and each
 * belongs to one test process until that ends: it listens there on another address of the loopback.
 */
import { createServer, type Server } from "node:net";

const [first, end] = [20_000, 32_000];
/** Of processes with neighbouring ids. */
const apart = 64;
let next = first + ((process.pid * apart) % (end - first));

export function claimPort(): Promise<number> {
  return find(claim);
}

/** For a program that opens it on every address, or tries to: none can be held for it, but the kernel gives it to nobody. */
export function freePort(): Promise<number> {
  return find((port) => isFree("0.0.0.0", port));
}

async function find(isOurs: (port: number) => Promise<boolean>): Promise<number> {
  for (let tried = 0; tried < end - first; tried++) {
    const port = next;
    next = port + 1 < end ? port + 1 : first;
    if (await isOurs(port)) return port;
  }
  throw new Error("No port is free.");
}

async function claim(port: number): Promise<boolean> {
  const claimed = await listening("127.0.0.2", port);
  if (claimed === "no such address") return isFree("127.0.0.1", port);
  if (claimed === undefined) return false;
  claimed.unref();
  if (await isFree("127.0.0.1", port)) return true;
  claimed.close();
  return false;
}

async function isFree(host: string, port: number): Promise<boolean> {
  const probe = await listening(host, port);
  if (typeof probe !== "object") return false;
  await new Promise((resolve) => probe.close(resolve));
  return true;
}

/** Undefined: somebody else does. */
function listening(host: string, port: number): Promise<Server | undefined | "no such address"> {
  const server = createServer((socket) => socket.destroy());
  return new Promise((resolve, reject) => {
    server.once("error", ({ code }: NodeJS.ErrnoException) => {
      if (code === "EADDRINUSE") resolve(undefined);
      // Only Linux has all of 127.0.0.0/8.
      else if (code === "EADDRNOTAVAIL") resolve("no such address");
      else reject(new Error(`A port cannot be had: ${code}.`));
    });
    server.listen(port, host, () => resolve(server));
  });
}
