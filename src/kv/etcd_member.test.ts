/** Calls to members that do not behave: each ends, by its deadline at the latest. */
import assert from "node:assert/strict";
import { createServer, type AddressInfo } from "node:net";
import { test, type TestContext } from "node:test";
import { EtcdMember, frameHeadBytes } from "./etcd_member.ts";

/** A frame of HTTP/2 (RFC 9113, section 4.1). */
function frame(type: number, flags: number, payload: Buffer): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head.writeUInt8(type, 3);
  head.writeUInt8(flags, 4);
  return Buffer.concat([head, payload]);
}

function fields(...values: readonly (readonly [bytes: number, value: number])[]): Buffer {
  return Buffer.concat(
    values.map(([bytes, value]) => {
      const field = Buffer.alloc(bytes);
      field.writeUIntBE(value, 0, bytes);
      return field;
    }),
  );
}

/** SETTINGS with INITIAL_WINDOW_SIZE, WINDOW_UPDATE of the connection, and the acknowledgement of the client's settings. */
const greeting = Buffer.concat([
  frame(4, 0, fields([2, 4], [4, 2 ** 31 - 1])),
  frame(8, 0, fields([4, 2 ** 30])),
  frame(4, 1, Buffer.alloc(0)),
]);

/** Takes any amount, as it says, and reads nothing of it: a member that was stopped, or that the network was cut off from. */
async function deafMember(t: TestContext): Promise<EtcdMember> {
  const server = createServer((socket) => {
    socket.on("error", () => undefined);
    socket.pause().write(greeting);
    t.after(() => socket.destroy());
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.after(() => server.close());
  const member = new EtcdMember({ endpoint: `127.0.0.1:${(server.address() as AddressInfo).port}` });
  t.after(() => member.close());
  return member;
}

const call = (bytes: number, timeoutMs: number) => ({
  path: "/etcdserverpb.KV/Txn",
  frame: Buffer.alloc(frameHeadBytes + bytes),
  token: undefined,
  timeoutMs,
});

test("a call ends by its deadline although the connection takes nothing any more", { timeout: 60_000 }, async (t) => {
  const member = await deafMember(t);
  // The first one lives until the settings have come, so that the second may fill the connection.
  const [first, second] = await Promise.all([
    member.call(call(0, 1_500)),
    later(() => member.call(call(2 ** 25, 500))),
  ]);
  for (const answer of [first, second]) {
    assert.ok(answer.kind === "lost" && answer.sent);
    assert.match(String(answer.cause), /no answer after/);
  }
});

async function later<T>(run: () => Promise<T>): Promise<T> {
  await new Promise((resolve) => setTimeout(resolve, 300));
  return run();
}
