/** Stands between two nodes: sees the bytes of each connection, may change one of them, or cut the connection there. */
import { createServer, connect, type AddressInfo, type Socket } from "node:net";

export type Side = "up" | "down";

export type Mishap = {
  readonly kind: "cut" | "flip";
  readonly side: Side;
  /** The byte of that side of the connection before which it is cut, or in which a bit is turned. */
  readonly at: number;
};

export type Proxy = {
  readonly port: number;
  /** For the next byte that is there; undefined for none. Counted from the start of each connection. */
  mishap: Mishap | undefined;
  /** Bytes that went up on each connection, in the order of connections; and how many went down. */
  readonly up: Buffer[];
  readonly downBytes: number[];
  /** The near and far ends of connections. */
  readonly sockets: { readonly near: Socket; readonly far: Socket }[];
  /** Ends all connections, as a peer that is gone does. */
  cutAll(): void;
  stop(): Promise<void>;
};

export async function proxyTo(farPort: number): Promise<Proxy> {
  const server = createServer((near) => join(near, connect(farPort, "127.0.0.1")));
  const proxy: Proxy = {
    port: 0,
    mishap: undefined,
    up: [],
    downBytes: [],
    sockets: [],
    cutAll: () => {
      for (const { near, far } of proxy.sockets) for (const each of [near, far]) each.destroy();
    },
    stop: async () => {
      proxy.cutAll();
      await new Promise((resolve) => server.close(resolve));
    },
  };
  function join(near: Socket, far: Socket): void {
    const index = proxy.sockets.push({ near, far }) - 1;
    proxy.up[index] = Buffer.alloc(0);
    proxy.downBytes[index] = 0;
    const ends = [near, far];
    for (const each of ends) {
      each.setNoDelay(true);
      each.on("error", () => undefined);
      each.on("close", () => ends.forEach((end) => end.destroy()));
    }
    near.on("data", (piece) => {
      const before = proxy.up[index]!;
      proxy.up[index] = Buffer.concat([before, piece]);
      pass(far, piece, before.length, "up");
    });
    far.on("data", (piece) => {
      pass(near, piece, proxy.downBytes[index]!, "down");
      proxy.downBytes[index]! += piece.length;
    });
  }
  function pass(to: Socket, piece: Buffer, offset: number, side: Side): void {
    const { mishap } = proxy;
    const isHere = mishap?.side === side && mishap.at >= offset && mishap.at < offset + piece.length;
    if (!isHere) return void to.write(piece);
    proxy.mishap = undefined;
    const at = mishap.at - offset;
    if (mishap.kind === "cut") return void to.write(piece.subarray(0, at), () => proxy.cutAll());
    const changed = Buffer.from(piece);
    changed[at]! ^= 1;
    to.write(changed);
  }
  await new Promise<void>((resolve) => void server.listen(0, "127.0.0.1", resolve));
  return Object.assign(proxy, { port: (server.address() as AddressInfo).port });
}
