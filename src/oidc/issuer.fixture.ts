/** An OpenID Connect issuer on loopback: its configuration, its keys, and tokens that it signs. */
import { createServer, type RequestListener } from "node:http";
import type { AddressInfo } from "node:net";
import { exportJWK, generateKeyPair, SignJWT, type CryptoKey, type JWK } from "jose";

export type Claimed = Readonly<Record<string, unknown>>;

export type TestIssuer = {
  readonly url: string;
  /** The paths that were asked for, in their order. */
  readonly asked: readonly string[];
  /** What it publishes from now on. */
  publish(...keys: readonly TestKey[]): void;
  /** Answers in its place; undefined: it does so itself again. */
  answer: RequestListener | undefined;
  close(): Promise<void>;
};

export type TestKey = {
  readonly kid: string | undefined;
  readonly alg: string;
  readonly key: CryptoKey;
  readonly jwk: JWK;
};

export async function newKey(kid: string | undefined, alg = "RS256", more: Partial<JWK> = {}): Promise<TestKey> {
  const { privateKey, publicKey } = await generateKeyPair(alg, { extractable: true });
  const jwk = { ...(await exportJWK(publicKey)), ...(kid !== undefined && { kid }), ...more };
  return { kid, alg, key: privateKey, jwk };
}

export function signed({ key, kid, alg }: TestKey, claims: Claimed): Promise<string> {
  return new SignJWT({ ...claims }).setProtectedHeader({ alg, ...(kid !== undefined && { kid }) }).sign(key);
}

/** `path`: of its address, as a realm has one. */
export async function openIssuer(path = "/realms/Holdfast"): Promise<TestIssuer> {
  const asked: string[] = [];
  let keys: readonly TestKey[] = [];
  const issuer: { answer: RequestListener | undefined } = { answer: undefined };
  // On a busy machine a client may use a connection again in the moment in which the server ends it as idle.
  const server = createServer({ keepAliveTimeout: 0 }, (req, res) => {
    asked.push(req.url!);
    if (issuer.answer !== undefined) return issuer.answer(req, res);
    const documents: Readonly<Record<string, object>> = {
      [`${path}/.well-known/openid-configuration`]: { issuer: url, jwks_uri: `${url}/keys` },
      [`${path}/keys`]: { keys: keys.map(({ jwk }) => jwk) },
    };
    const document = documents[req.url!];
    res.writeHead(document === undefined ? 404 : 200, { "content-type": "application/json" });
    res.end(JSON.stringify(document ?? {}));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}${path}`;
  return Object.assign(issuer, {
    url,
    asked,
    publish: (...now: readonly TestKey[]) => void (keys = now),
    close: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  });
}
