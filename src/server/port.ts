/** The port a server will have, known before anything listens on it. */
import { createServer, type AddressInfo } from "node:net";
import { listenError } from "./listen_error.ts";
import type { Listen } from "./settings.ts";

/**
 * Finds out whether the port is free: workers share it in a way that would let a second server share it too. Port 0 becomes a
 * real one, so that workers that are all started again come back to the same, and other nodes can be told of it.
 * Errors: `unavailable` with a sentence for the operator.
 */
export async function choosePort({ host, port: asked }: Listen): Promise<Listen> {
  const probe = createServer();
  await new Promise<void>((resolve, reject) => {
    probe.once("error", (error) => reject(listenError(error, { host, port: asked })));
    probe.listen(asked, host, resolve);
  });
  const { port } = probe.address() as AddressInfo;
  await new Promise((resolve) => probe.close(resolve));
  return { host, port };
}
