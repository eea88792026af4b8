import assert from "node:assert/strict";
import type { IncomingMessage, ServerResponse } from "node:http";
import { createHash } from "node:crypto";
import { test } from "node:test";
import { isEncryptionHeader, wantedEncryption } from "./encryption.ts";
import { S3Error } from "./errors.ts";
import { S3Request } from "./exchange.ts";

const key = Buffer.alloc(32, 7);
const prefix = "x-amz-server-side-encryption-customer-";
const headers = {
  [`${prefix}algorithm`]: "AES256",
  [`${prefix}key`]: key.toString("base64"),
  [`${prefix}key-md5`]: createHash("md5").update(key).digest("base64"),
};

/** A PUT with a client's key that came over such a connection. */
function requestOver(socket: { remoteAddress?: string; encrypted?: boolean }, plainCustomerKeys = false): S3Request {
  const route = {
    operation: "PutObject",
    bucket: "b",
    key: Buffer.from("k"),
    query: new Map(),
    rawPath: "",
    rawQuery: "",
  };
  return new S3Request({
    req: { headers, socket } as unknown as IncomingMessage,
    res: {} as ServerResponse,
    route: route as never,
    auth: { kind: "anonymous" } as never,
    authority: { caller: undefined } as never,
    headers,
    digests: { whole: () => ({}) },
    origin: () => ({ principal: "k", sourceAddress: "", requestId: "", hostId: "" }),
    plainCustomerKeys,
    onContinue: () => undefined,
  });
}

test("a client's key is taken where nobody listens: with TLS, from this machine, or where a proxy is trusted", () => {
  const taken = [
    requestOver({ remoteAddress: "10.0.0.9", encrypted: true }),
    requestOver({ remoteAddress: "127.0.0.1" }),
    requestOver({ remoteAddress: "::1" }),
    requestOver({ remoteAddress: "::ffff:127.0.0.1" }),
    requestOver({ remoteAddress: "10.0.0.9" }, true),
  ];
  for (const request of taken) assert.equal(wantedEncryption(request).encryption?.mode, "customer");
  for (const socket of [{ remoteAddress: "10.0.0.9" }, { remoteAddress: "1.127.0.0" }, {}])
    assert.throws(
      () => wantedEncryption(requestOver(socket)),
      (error) => error instanceof S3Error && error.code === "InvalidRequest" && /secure connection/.test(error.message),
    );
});

test("only headers of encryption are judged as such", () => {
  assert.equal(isEncryptionHeader("x-amz-meta-encryption", "x", "PutObject"), false);
  assert.equal(isEncryptionHeader(`${prefix}key`, "x", "GetObject"), true);
  assert.throws(() => isEncryptionHeader(`${prefix}key`, "x", "ListObjects"), S3Error);
});
