/** Where a node of a cluster under test runs: on the loopback like all others, or in a network of its own. */

export type Place = {
  /** The address it listens on. */
  readonly host: string;
  /** The address at which it finds what this process listens on. */
  readonly outside: string;
  /** A program that becomes its server, in its network. */
  readonly under: readonly string[];
  /** Others reach it by its own address, not over a link of this process. */
  readonly isDirect: boolean;
  dispose(): Promise<void>;
};

export const loopback: Place = {
  host: "127.0.0.1",
  outside: "127.0.0.1",
  under: [],
  isDirect: false,
  dispose: async () => undefined,
};
