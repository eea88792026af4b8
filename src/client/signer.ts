/** Signature V4 for one server and one access key: what the client's parts need of the gateway's signer. */
import { signRequest } from "../gateway/signer.ts";

export type SignerOptions = {
  readonly accessKey: string;
  readonly secretKey: string;
  readonly region: string;
  /** Host and port, as the server is addressed. */
  readonly host: string;
};

export type RequestSigner = {
  /** The headers to send; `path` and `query` are encoded as they will be sent. The body is not signed. */
  sign(request: {
    readonly method: string;
    readonly path: string;
    readonly query: string;
    readonly headers?: Readonly<Record<string, string>>;
  }): Record<string, string>;
};

export function createSigner(options: SignerOptions): RequestSigner {
  const { accessKey, secretKey, region, host } = options;
  return {
    sign: ({ method, path, query, headers }) =>
      signRequest({
        accessKey,
        secretKey,
        region,
        method,
        rawPath: path,
        rawQuery: query,
        headers: { ...headers, host },
        nowMs: Date.now(),
      }).headers,
  };
}
