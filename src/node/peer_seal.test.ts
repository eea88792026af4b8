import assert from "node:assert/strict";
import { createHmac, createSecretKey } from "node:crypto";
import { test } from "node:test";
import fc from "fast-check";
import { hasReason } from "../core/errors.ts";
import * as seals from "./peer_seal.ts";

const key = seals.clusterKey("s".repeat(32));
const hello = { from: "a", nonce: "01".repeat(32), proof: "" };
const keys = seals.connectionKeys(key, hello, "02".repeat(32));
const bytes = fc.uint8Array({ maxLength: 200 });
const numbers = fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER });

function cut(whole: Uint8Array, at: number): Uint8Array[] {
  return [whole.subarray(0, at), whole.subarray(at)];
}

test("a body's tag depends on direction, number and every byte, and not on how it is cut", () => {
  fc.assert(
    fc.property(bytes, numbers, fc.nat(200), fc.nat(7), (body, number, at, bit) => {
      const tag = seals.bodyTag(keys, "request", number, [body]);
      assert.equal(seals.bodyTag(keys, "request", number, cut(body, at)), tag);
      if (body.length === 0) return assert.equal(tag, "-");
      assert.match(tag, /^[0-9a-f]{32}$/);
      assert.notEqual(seals.bodyTag(keys, "reply", number, [body]), tag);
      assert.notEqual(seals.bodyTag(keys, "request", number === 1 ? 2 : number - 1, [body]), tag);
      const changed = Uint8Array.from(body);
      changed[at % body.length]! ^= 1 << bit;
      assert.notEqual(seals.bodyTag(keys, "request", number, [changed]), tag);
    }),
  );
});

test("the proofs and keys are those of docs/formats/node-protocol.md", () => {
  const secret = createSecretKey(Buffer.from("s".repeat(32)));
  const mac = (...lines: string[]): string => {
    return createHmac("sha256", secret)
      .update(["holdfast node 2", ...lines].join("\n"))
      .digest("hex");
  };
  const server = "02".repeat(32);
  assert.equal(seals.clientProof(key, hello), mac("client", "a", hello.nonce));
  assert.equal(seals.serverProof(key, hello, server), mac("server", "a", hello.nonce, server));
  assert.equal(keys.head.export().toString("hex"), mac("heads", "a", hello.nonce, server));
  assert.equal(keys.body.export().toString("hex"), mac("bodies", "a", hello.nonce, server));
});

test("heads open with what was sealed and with nothing else", () => {
  const tag = "0f".repeat(16);
  fc.assert(
    fc.property(
      numbers.filter((number) => number < 1e15),
      bytes,
      fc.nat(),
      fc.nat(),
      (number, args, bodyBytes, at) => {
        const text = seals.sealRequest(keys, { number, call: "read", args, bodyBytes, tag });
        const opened = seals.openRequest(keys, text, { call: "read", bodyBytes });
        assert.deepEqual(opened, { number, call: "read", args: Buffer.from(args), bodyBytes, tag });
        assert.equal(seals.openRequest(keys, text, { call: "list", bodyBytes }), undefined);
        assert.equal(seals.openRequest(keys, text, { call: "read", bodyBytes: bodyBytes + 1 }), undefined);
        const index = at % text.length;
        const other = text.slice(0, index) + (text[index] === "1" ? "2" : "1") + text.slice(index + 1);
        assert.equal(seals.openRequest(keys, other, { call: "read", bodyBytes }), undefined);
        const reply = seals.sealReply(keys, { number, status: 200, bodyBytes, tag });
        assert.ok(seals.openReply(keys, reply, { number, status: 200, bodyBytes }));
        for (const wrong of [{ number: number + 1 }, { status: 404 }, { bodyBytes: bodyBytes + 1 }])
          assert.equal(seals.openReply(keys, reply, { number, status: 200, bodyBytes, ...wrong }), undefined);
      },
    ),
  );
});

test("a secret is not too short and not too long", () => {
  for (const length of [0, 31, 1_025])
    assert.throws(
      () => seals.clusterKey("s".repeat(length)),
      (error) => hasReason(error, "invalid_argument"),
    );
});
