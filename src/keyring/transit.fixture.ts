/**
 * A server that speaks as much of Vault's HTTP API as the store uses, and does what it says: keys with versions, AES-256-GCM, tokens that
 * may do everything or only look at themselves, a namespace, being sealed. Its words of refusal are Vault's.
 */
import { createCipheriv, createDecipheriv, randomBytes } from "node:crypto";
import { createServer as createHttpServer, type IncomingMessage, type RequestListener, type Server } from "node:http";
import { createServer as createHttpsServer } from "node:https";
import type { AddressInfo } from "node:net";
import { claimPort } from "../core/ports.fixture.ts";

type TransitKey = {
  readonly type: string;
  readonly derived: boolean;
  readonly versions: { readonly key: Buffer; readonly createdSeconds: number }[];
  minDecryptionVersion: number;
};

type Answer = { readonly status: number; readonly body?: unknown };

const refused = (status: number, ...errors: string[]): Answer => ({ status, body: { errors } });
const found = (data: Readonly<Record<string, unknown>>): Answer => ({ status: 200, body: { data } });
const tooOld = "ciphertext or signature version is disallowed by policy (too old)";

export type TransitOptions = {
  readonly mount?: string;
  readonly namespace?: string;
  readonly tls?: { readonly cert: Buffer; readonly key: Buffer };
};

export class TransitServer {
  readonly mount: string;
  readonly #namespace: string | undefined;
  readonly #isTls: boolean;
  readonly #server: Server;
  readonly keys = new Map<string, TransitKey>();
  /** What each token may do. */
  readonly tokens = new Map<string, "all" | "nothing" | "use">([["root-token", "all"]]);
  /** Every request that came, as `POST encrypt/blue`; and through how many connections. */
  readonly asked: string[] = [];
  connections = 0;
  isSealed = false;
  /** What the next requests are answered with before anything else. */
  readonly failures: number[] = [];
  /** While it is there, no request is answered before it resolves. */
  gate: Promise<void> | undefined;

  private constructor({ mount = "transit", namespace, tls }: TransitOptions) {
    this.mount = mount;
    this.#namespace = namespace;
    this.#isTls = tls !== undefined;
    const listener: RequestListener = (request, response) => {
      void this.#answer(request).then(({ status, body }) => {
        const switching = { connection: "upgrade", upgrade: "something-else" };
        response.writeHead(status, status === 101 ? switching : { "content-type": "application/json" });
        response.end(body === undefined ? "" : JSON.stringify(body));
      });
    };
    this.#server = tls === undefined ? createHttpServer(listener) : createHttpsServer(tls, listener);
    this.#server.on(tls === undefined ? "connection" : "secureConnection", () => (this.connections += 1));
  }

  /** On a port that is still its own when it was stopped and listens again. */
  static async start(options: TransitOptions = {}): Promise<TransitServer> {
    const server = new TransitServer(options);
    await server.listen(await claimPort());
    return server;
  }

  async listen(port: number): Promise<void> {
    await new Promise<void>((resolve) => this.#server.listen(port, "127.0.0.1", resolve));
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  get origin(): string {
    return `${this.#isTls ? "https" : "http"}://127.0.0.1:${this.port}`;
  }

  /** Nobody listens any more, and open connections are cut. */
  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  make(name: string, { type = "aes256-gcm96", derived = false } = {}): TransitKey {
    const key = { type, derived, versions: [], minDecryptionVersion: 1 };
    this.keys.set(name, key);
    this.rotate(name);
    return key;
  }

  rotate(name: string): void {
    const { versions } = this.keys.get(name)!;
    versions.push({ key: randomBytes(32), createdSeconds: 1_700_000_000 + versions.length });
  }

  async #answer(request: IncomingMessage): Promise<Answer> {
    const pieces: Buffer[] = [];
    for await (const piece of request) pieces.push(piece as Buffer);
    await this.gate;
    const { method = "", url = "" } = request;
    const path = url.replace(/^\/v1\//, "");
    this.asked.push(`${method} ${path.replace(`${this.mount}/`, "")}`);
    const failure = this.failures.shift();
    if (failure !== undefined) return refused(failure, "internal error");
    if (this.isSealed) return refused(503, "Vault is sealed");
    const may = this.tokens.get(String(request.headers["x-vault-token"]));
    if (may === undefined || request.headers["x-vault-namespace"] !== this.#namespace)
      return refused(403, "permission denied");
    if (path === "auth/token/lookup-self") return found({});
    if (may === "nothing" || !path.startsWith(`${this.mount}/`)) return refused(403, "permission denied");
    const body = pieces.length === 0 ? {} : (JSON.parse(Buffer.concat(pieces).toString()) as Record<string, unknown>);
    return this.#transit(method, path.slice(this.mount.length + 1), { body, mayMake: may === "all" });
  }

  #transit(
    method: string,
    path: string,
    { body, mayMake }: { readonly body: Readonly<Record<string, unknown>>; readonly mayMake: boolean },
  ): Answer {
    const [action = "", name = "", further] = path.split("/");
    if (path === "keys?list=true")
      return this.keys.size === 0 ? refused(404) : found({ keys: [...this.keys.keys()].toSorted() });
    const key = this.keys.get(name);
    if (action === "keys" && method === "GET") return key === undefined ? refused(404) : found(described(name, key));
    if (action === "keys" && !mayMake) return refused(403, "permission denied");
    if (action === "keys" && further === "rotate")
      return key === undefined ? refused(400, "no existing key") : this.#rotated(name);
    if (action === "keys") {
      if (key === undefined) this.make(name, { type: String(body["type"]) });
      return { status: 204 };
    }
    if (action === "encrypt") {
      // What Vault does for a token that may make keys.
      if (key === undefined && !mayMake) return refused(403, "permission denied");
      return encrypt(key ?? this.make(name), String(body["plaintext"]));
    }
    if (action === "decrypt")
      return key === undefined ? refused(400, "encryption key not found") : decrypt(key, String(body["ciphertext"]));
    return refused(404, "no handler for route");
  }

  #rotated(name: string): Answer {
    this.rotate(name);
    return { status: 204 };
  }
}

function described(name: string, { type, derived, versions }: TransitKey) {
  const keys = Object.fromEntries(versions.map(({ createdSeconds }, index) => [index + 1, createdSeconds]));
  return { name, type, derived, keys, latest_version: versions.length, supports_encryption: true };
}

function encrypt({ versions, derived }: TransitKey, plaintext: string): Answer {
  if (derived) return refused(400, "missing 'context' for key derivation; the key was created using a derived key");
  const nonce = randomBytes(12);
  const cipher = createCipheriv("aes-256-gcm", versions.at(-1)!.key, nonce);
  const bytes = Buffer.concat([
    nonce,
    cipher.update(Buffer.from(plaintext, "base64")),
    cipher.final(),
    cipher.getAuthTag(),
  ]);
  return found({ ciphertext: `vault:v${versions.length}:${bytes.toString("base64")}`, key_version: versions.length });
}

function decrypt({ versions, minDecryptionVersion }: TransitKey, ciphertext: string): Answer {
  const parts = /^vault:v(\d+):([A-Za-z0-9+/=]+)$/.exec(ciphertext);
  if (parts === null) return refused(400, "invalid ciphertext: no prefix");
  const version = Number(parts[1]);
  if (version > versions.length) return refused(400, "invalid ciphertext: version is too new");
  if (version < minDecryptionVersion) return refused(400, tooOld);
  const bytes = Buffer.from(parts[2]!, "base64");
  const decipher = createDecipheriv("aes-256-gcm", versions[version - 1]!.key, bytes.subarray(0, 12));
  decipher.setAuthTag(bytes.subarray(-16));
  const plaintext = decipher.update(bytes.subarray(12, -16));
  try {
    decipher.final();
  } catch {
    return refused(400, "invalid ciphertext: unable to decrypt");
  }
  return found({ plaintext: plaintext.toString("base64") });
}
