import { after } from "node:test";
import { EtcdFixture, etcdMissing } from "./etcd.fixture.ts";
import { openEtcdKv } from "./etcd.ts";
import { kvConformance } from "./kv.conformance.ts";

let stores = 0;

function conformance(members: 1 | 3): void {
  let starting: Promise<EtcdFixture> | undefined;
  after(async () => (await starting)?.dispose());
  kvConformance(`etcd, ${members} member(s)`, async () => {
    starting ??= EtcdFixture.start({ members });
    const etcd = await starting;
    const url = etcd.url(`store${stores++}`);
    const kv = await openEtcdKv({ url });
    return { kv, reopen: () => openEtcdKv({ url }), dispose: () => kv.close() };
  });
}

if (etcdMissing === undefined) {
  conformance(1);
  conformance(3);
}
