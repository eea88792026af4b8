/** Steps that set something of the bucket, and those in which time goes by. */
import { expire } from "./lifecycle.ts";
import { dayMs } from "./model.ts";
import { noQuota } from "./quotas.ts";
import { document, encryptionText, hourMs, rulesText } from "./requests.ts";
import { succeeds, type Handlers, type Run } from "./run.ts";

type Kinds = "switch" | "lock" | "encrypt" | "rules" | "quota" | "wait" | "midnight";

export function bucketHandlers(run: Run): Handlers<Kinds> {
  const { model, bucket, server } = run;
  return {
    switch: async ({ to }) => {
      const text = `<VersioningConfiguration><Status>${to === "enabled" ? "Enabled" : "Suspended"}</Status></VersioningConfiguration>`;
      const outcome = model.setVersioning(to === "enabled" ? to : "suspended");
      await run.send("switch", { method: "PUT", path: `/${bucket}?versioning`, ...document(text) }, outcome);
    },
    lock: async ({ days }) => {
      if (!model.hasLock) return;
      model.defaultDays = days;
      const rule = `<Rule><DefaultRetention><Mode>GOVERNANCE</Mode><Days>${days}</Days></DefaultRetention></Rule>`;
      const inner = `<ObjectLockEnabled>Enabled</ObjectLockEnabled>${days === undefined ? "" : rule}`;
      const sent = document(`<ObjectLockConfiguration>${inner}</ObjectLockConfiguration>`);
      await run.send("lock", { method: "PUT", path: `/${bucket}?object-lock`, ...sent }, succeeds);
    },
    encrypt: async ({ by }) => {
      model.defaultMode = by;
      await run.set("encryption", encryptionText(by));
    },
    rules: async (each) => {
      const text = rulesText(each);
      model.rules = text === undefined ? undefined : each;
      await run.set("lifecycle", text);
    },
    quota: async ({ bytesMax, objectsMax }) => {
      const isNone = bytesMax === undefined && objectsMax === undefined;
      model.quota = isNone ? noQuota : { bytesMax, objectsMax };
      await server.objects.setQuota(bucket, model.quota);
    },
    wait: async ({ hours }) => void (model.clock.aheadMs += hours * hourMs),
    midnight: async ({ more }) => {
      const { clock } = model;
      const nowMs = clock.nowMs();
      clock.aheadMs += (Math.floor(nowMs / dayMs) + 1 + more) * dayMs - nowMs;
      await server.expire();
      expire(model);
    },
  };
}
