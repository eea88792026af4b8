import assert from "node:assert/strict";
import { once } from "node:events";
import { connect, createServer, type AddressInfo, type Socket } from "node:net";
import { test, type TestContext } from "node:test";
import { Link, type LinkOptions } from "./link.ts";
import { ownerOf } from "./socket_owner.ts";

/** A server that says everything back, a link to it, and a connection through that. */
async function linked(t: TestContext, whoIs?: LinkOptions["whoIs"]): Promise<{ link: Link; open(): Promise<Socket> }> {
  const server = createServer((socket) => {
    socket.on("error", () => undefined);
    socket.pipe(socket);
  });
  await new Promise<void>((resolve) => void server.listen(0, "127.0.0.1", resolve));
  const link = await Link.open(() => ({ host: "127.0.0.1", port: (server.address() as AddressInfo).port }), {
    ...(whoIs && { whoIs }),
  });
  const sockets: Socket[] = [];
  t.after(async () => {
    for (const socket of sockets) socket.destroy();
    await link.close();
    await new Promise((resolve) => server.close(resolve));
  });
  const open = async (): Promise<Socket> => {
    const [host, port] = link.address.split(":");
    const socket = connect(Number(port), host);
    sockets.push(socket);
    socket.on("error", () => undefined);
    await once(socket, "connect");
    return socket;
  };
  return { link, open };
}

const heard = async (socket: Socket): Promise<string> => String(((await once(socket, "data")) as [Buffer])[0]);

for (const way of ["there", "back"] as const)
  test(`what is sent while the way ${way} is cut arrives when it is healed`, async (t) => {
    const { link, open } = await linked(t);
    const socket = await open();
    socket.write("one");
    assert.equal(await heard(socket), "one");
    link.cut([way]);
    socket.write("two");
    const late = await open();
    late.write("three");
    let isHealed = false;
    const answers = [socket, late].map(async (each) => [await heard(each), isHealed]);
    await new Promise((resolve) => setTimeout(resolve, 100));
    isHealed = true;
    link.heal();
    assert.deepEqual(await Promise.all(answers), [
      ["two", true],
      ["three", true],
    ]);
  });

test("a link that refuses ends what is open, and what is opened", async (t) => {
  const { link, open } = await linked(t);
  const socket = await open();
  link.refuse();
  await once(socket, "close");
  await once(await open(), "close");
  link.heal();
  const again = await open();
  again.write("one");
  assert.equal(await heard(again), "one");
});

test("a cut may be for one of those who use the link, told by the process that has the connection", async (t) => {
  const pids = [1, process.pid];
  const { link, open } = await linked(t, (socket) => ownerOf(socket, pids)?.toString());
  link.cut(["there", "back"], "1");
  const socket = await open();
  socket.write("one");
  assert.equal(await heard(socket), "one");
  link.cut(["there"], String(process.pid));
  let isHealed = false;
  socket.write("two");
  const answer = heard(socket).then((text) => [text, isHealed]);
  await new Promise((resolve) => setTimeout(resolve, 100));
  isHealed = true;
  link.heal();
  assert.deepEqual(await answer, ["two", true]);
});
