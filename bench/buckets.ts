/** Makes what a measurement writes into, and tells an operator's wishes to a server. */
import { createSigner } from "../src/client/signer.ts";
import type { Keys } from "./launch.ts";

export type NewBucket = {
  readonly url: URL;
  readonly keys: Keys;
  readonly bucket: string;
  /** `replica:N` or `ec:K+M`; the store's default if left out. */
  readonly redundancy?: string;
};

export async function makeBucket({ url, keys, bucket, redundancy }: NewBucket): Promise<void> {
  const signer = createSigner({ ...keys, region: "us-east-1", host: url.host });
  const headers = signer.sign({ method: "PUT", path: `/${bucket}`, query: "" });
  const made = await fetch(new URL(`/${bucket}`, url), { method: "PUT", headers });
  if (!made.ok) throw new Error(`bucket ${bucket}: ${made.status} ${await made.text()}`);
  if (redundancy !== undefined) await administer({ url, keys, path: `buckets/${bucket}`, body: { redundancy } });
}

export type Wish = { readonly url: URL; readonly keys: Keys; readonly path: string; readonly body: object };

/** A PUT below `/_/admin/`. */
export async function administer({ url, keys, path, body }: Wish): Promise<void> {
  const authorization = `Basic ${Buffer.from(`${keys.accessKey}:${keys.secretKey}`).toString("base64")}`;
  const answer = await fetch(new URL(`/_/admin/${path}`, url), {
    method: "PUT",
    headers: { authorization, "content-type": "application/json" },
    body: JSON.stringify(body),
  });
  if (!answer.ok) throw new Error(`${path}: ${answer.status} ${await answer.text()}`);
}
