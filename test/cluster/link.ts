/**
 * A network link that can be broken: TCP from a port of its own to another address. A way that is cut carries nothing, as
 * when packets are lost: neither end hears of it, connections are still taken, and what was sent arrives when it is healed.
 * It can be cut for some of those who use it only.
 */
import { createServer, connect, type AddressInfo, type Server, type Socket } from "node:net";

export type Way = "there" | "back";
export type Address = { readonly host: string; readonly port: number };

export type LinkOptions = {
  readonly host?: string;
  readonly port?: number;
  /** Who has opened a connection, in the words of whoever cuts. */
  whoIs?(socket: Socket): string | undefined;
};

/** Undefined: whoever it is. */
type Cut = { readonly way: Way; readonly who: string | undefined };

export class Link {
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  #cuts: readonly Cut[] = [];
  #healed: { readonly promise: Promise<void>; resolve(): void } = Promise.withResolvers();
  #isRefusing = false;
  /** How long each piece is held. */
  delayMs = 0;

  /** `to` is asked for each connection. */
  static async open(to: () => Address, options: LinkOptions = {}): Promise<Link> {
    const { host = "127.0.0.1", port = 0 } = options;
    const link = new Link(to, options);
    await new Promise<void>((resolve, reject) => {
      link.#server.once("error", reject);
      link.#server.listen(port, host, resolve);
    });
    return link;
  }

  private constructor(to: () => Address, { whoIs }: LinkOptions) {
    this.#server = createServer((near) => {
      const { host, port } = to();
      if (this.#isRefusing) near.destroy();
      else this.#join(near, connect(port, host), whoIs?.(near));
    });
  }

  get address(): string {
    const { address, port } = this.#server.address() as AddressInfo;
    return `${address}:${port}`;
  }

  #join(near: Socket, far: Socket, who: string | undefined): void {
    const ends = [near, far];
    for (const each of ends) {
      this.#sockets.add(each);
      each.setNoDelay(true);
      each.on("error", () => undefined);
      each.on("close", () => {
        this.#sockets.delete(each);
        ends.forEach((end) => end.destroy());
      });
    }
    void this.#carry(near, far, { way: "there", who });
    void this.#carry(far, near, { way: "back", who });
  }

  #isCut({ way, who }: Cut): boolean {
    return this.#cuts.some((cut) => cut.way === way && (cut.who === undefined || cut.who === who));
  }

  async #carry(from: Socket, to: Socket, course: Cut): Promise<void> {
    try {
      for await (const piece of from) {
        if (this.delayMs > 0) await new Promise((resolve) => setTimeout(resolve, this.delayMs));
        while (this.#isCut(course)) await this.#healed.promise;
        if (!to.write(piece as Buffer)) await new Promise<void>((resolve) => onceWritable(to, resolve));
      }
      to.end();
    } catch {
      to.destroy();
    }
  }

  /** Nothing passes this way any more, for `who` or for anybody, and nobody is told. */
  cut(ways: readonly Way[] = ["there", "back"], who?: string): void {
    this.#cuts = [...this.#cuts, ...ways.map((way) => ({ way, who }))];
  }

  /** Ends every connection, and each new one at once. */
  refuse(): void {
    this.#isRefusing = true;
    for (const socket of this.#sockets) socket.destroy();
  }

  heal(): void {
    this.#cuts = [];
    this.#isRefusing = false;
    this.delayMs = 0;
    this.#healed.resolve();
    this.#healed = Promise.withResolvers();
  }

  async close(): Promise<void> {
    this.refuse();
    this.#cuts = [];
    this.#healed.resolve();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}

function onceWritable(socket: Socket, resolve: () => void): void {
  socket.once("drain", resolve);
  socket.once("close", resolve);
}
