/**
 * The users and the keys of encryption that ceph/s3-tests works with, and the file that tells it of them. Each is an account of its
 * own, as far as the suite wants to see what strangers may do with each other's buckets; but `s3 alt` is a user of the account whose
 * root is `iam`, for that one gives it policies. It is named as its account's canonical id, for the suite has one id for both.
 */
import { askAdmin } from "../../src/client/admin_client.ts";
import { testKeys } from "../crash/server_process.ts";

type Keys = { readonly accessKey: string; readonly secretKey: string };
type Account = { readonly account: string; readonly canonicalId: string; readonly name: string };

/** The suite's name of each, as its settings file has them. */
const sections = ["s3 main", "s3 alt", "s3 tenant", "iam", "iam root", "iam alt root"] as const;

export type Users = ReadonlyMap<(typeof sections)[number], Keys & Account>;

export async function makeUsers(url: URL): Promise<Users> {
  const target = { endpoint: url, ...testKeys };
  const ask = (path: string, body: object): Promise<object> =>
    askAdmin(target, { method: "POST", path: `/_/admin/${path}`, body });
  const users = new Map<(typeof sections)[number], Keys & Account>();
  for (const section of sections) {
    const name = section.replaceAll(" ", "-");
    const made = section === "iam" ? users.get("s3 alt")! : ((await ask("accounts", { name })) as Account);
    const { account, canonicalId } = made;
    const query = `?account=${account}`;
    const isUser = section === "s3 alt";
    if (isUser) {
      await ask(`users${query}`, { name: canonicalId });
      const path = `/_/admin/users/${canonicalId}/policies/AdministratorAccess${query}`;
      await askAdmin(target, { method: "PUT", path });
    }
    const body = { description: `s3-tests: ${section}`, account, ...(isUser && { user: canonicalId }) };
    users.set(section, { account, canonicalId, name, ...((await ask("keys", body)) as Keys) });
  }
  return users;
}

/** Those that the suite names by itself. */
export async function makeEncryptionKeys(url: URL): Promise<void> {
  const target = { endpoint: url, ...testKeys };
  for (const id of ["testkey-1", "testkey-2"])
    await askAdmin(target, { method: "POST", path: "/_/admin/encryption-keys", body: { id } });
}

export function settingsFile(url: URL, users: Users, lifecycleDaySeconds: number): string {
  const lines = [
    "[DEFAULT]",
    `host = ${url.hostname}`,
    `port = ${url.port}`,
    "is_secure = False",
    "ssl_verify = False",
  ];
  // Of the path the suite makes the addresses of its OpenID Connect providers, which must be of this machine.
  lines.push("[fixtures]", "bucket prefix = holdfast-{random}-", "iam path prefix = /localhost/");
  for (const [section, { accessKey, secretKey, canonicalId, account, name }] of users) {
    lines.push(`[${section}]`, `access_key = ${accessKey}`, `secret_key = ${secretKey}`);
    const id = section === "iam root" ? account : canonicalId;
    lines.push(`display_name = ${name}`, `user_id = ${id}`, `email = ${name}@example.com`);
    if (section === "s3 main") lines.push("api_name = us-east-1", `lc_debug_interval = ${lifecycleDaySeconds}`);
    if (section === "s3 tenant") lines.push("tenant = tenant");
  }
  return lines.join("\n") + "\n";
}
