/** The port a server will have, known before anything serves on it, and nobody else's until something does. */
import { createServer, type AddressInfo, type ListenOptions, type Server } from "node:net";
import { listenError } from "./listen_error.ts";
import type { Listen } from "./settings.ts";

export type Chosen = {
  readonly listen: Listen;
  /** Only a socket that shares the port can open it now. */
  readonly isHeld: boolean;
  /** Called when the first that serves has it, or none will. Where nothing is held it does nothing. */
  release(): Promise<void>;
};

/** Whether sockets of several processes can listen on one port (SO_REUSEPORT), which node has for this system too. */
export const portsAreShared = process.platform === "linux";

/**
 * Finds out whether the port is free: workers share it in a way that would let a second server share it too. Port 0 becomes a
 * real one, so that workers that are all started again come back to the same, and other nodes can be told of it. Such a port is
 * one of those that the kernel gives to whoever asks, so it is held, where ports are shared, until a worker has it: before that the
 * drives are prepared, which may take long. Who connects meanwhile is reset.
 * Errors: `unavailable` with a sentence for the operator.
 */
export async function choosePort({ host, port: asked }: Listen): Promise<Chosen> {
  // The kernel picks no port that somebody shares already.
  const isHeld = asked === 0 && portsAreShared;
  const held = await open({ host, port: asked, reusePort: isHeld });
  const { port } = held.address() as AddressInfo;
  if (!isHeld) await close(held);
  const release = (): Promise<void> => (held.listening ? close(held) : Promise.resolve());
  return { listen: { host, port }, isHeld, release };
}

async function open(options: ListenOptions & Listen): Promise<Server> {
  const server = createServer((socket) => socket.destroy());
  await new Promise<void>((resolve, reject) => {
    server.once("error", (error) => reject(listenError(error, options)));
    server.listen({ ...options, exclusive: true }, resolve);
  });
  return server;
}

function close(server: Server): Promise<void> {
  return new Promise((resolve) => void server.close(() => resolve()));
}
