/** What a server says when it is ready. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { RootKey } from "../identity/root_key.ts";
import { banner } from "./banner.ts";
import { readSettings, type SettingSources } from "./settings.ts";

const rootKey: RootKey = {
  accessKey: "ROOTKEY",
  secretKey: "secret-of-root",
  from: "kept",
  file: "the metadata store",
  isExposed: false,
};

function firstLine(flags: SettingSources["flags"]): string {
  const settings = readSettings({ flags: { ...flags, workers: "2", drives: ["/d1", "/d2"] }, environment: {} });
  return banner({ version: "1.2.3", settings, port: 9000, rootKey }).split("\n")[0]!;
}

test("a server alone says where it is for clients on its machine", () => {
  const told = "Holdfast 1.2.3 is ready at http://127.0.0.1:9000 (2 workers, data in /d1, /d2)";
  assert.equal(firstLine({ listen: ":9000" }), told);
});

test("a node of a cluster says how other machines reach it, too", () => {
  const cluster = { metadata: "postgres://u@db1/holdfast", "cluster-secret-file": "secret" };
  const told = firstLine({ ...cluster, listen: ":9000", advertise: "http://m1:9000" });
  assert.match(
    told,
    /^Holdfast 1\.2\.3 is ready at http:\/\/127\.0\.0\.1:9000, to other machines at http:\/\/m1:9000 \(/,
  );
  const anyPort = firstLine({ ...cluster, listen: "127.0.0.1:0" });
  assert.match(anyPort, /, to other machines at http:\/\/127\.0\.0\.1:9000 \(/);
});
