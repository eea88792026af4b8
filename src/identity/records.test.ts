/** The bytes of every record, written down by hand from docs/formats/records.md: a version never changes. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { hasReason } from "../core/errors.ts";
import { decodeKeyRecord, encodeKeyRecord } from "./key_record.ts";
import { decodeOidcProvider, encodeOidcProvider } from "./oidc_record.ts";
import * as records from "./records.ts";
import { decodeSealingKey, decodeSession, encodeSealingKey, encodeSession, type Session } from "./session_token.ts";

const account = "111122223333";
const accountHex = "0c 31 31 31 31 32 32 32 32 33 33 33 33";
const key = { secretKey: "s", createdMs: 128, description: "d" };
const named = { name: "A", path: "/", id: "I", createdMs: 128 };
const namedHex = "01 01 41 01 2f 01 49 80 01";
const inline = [{ name: "n", document: "{}" }];
const inlineHex = "01 01 6e 02 7b 7d";
const own: records.AccountRecord = { account, canonicalId: "ca".repeat(32), name: "a", createdMs: 5 };
const user: records.UserRecord = {
  ...named,
  groups: ["g"],
  managed: ["p", "q"],
  inline,
  boundary: "b",
  accessKeys: ["k"],
  tags: [{ key: "t", value: "v" }],
};
const newUser: records.UserRecord = {
  ...named,
  groups: [],
  managed: [],
  inline: [],
  boundary: undefined,
  accessKeys: [],
  tags: [],
};
const group: records.GroupRecord = { ...named, members: 128, managed: ["p"], inline };
const newRole: records.RoleRecord = {
  ...named,
  trust: "{}",
  description: "",
  sessionSecondsMax: 3_600,
  managed: [],
  inline: [],
  boundary: undefined,
  tags: [],
};
const role: records.RoleRecord = {
  ...newRole,
  description: "d",
  managed: ["p"],
  inline,
  boundary: "b",
  tags: [{ key: "t", value: "v" }],
};
const plainSession: Omit<Session, "principal"> = {
  accessKey: "k",
  secretKey: "s",
  issuedMs: 5,
  expiresMs: 6,
  name: "",
  sourceIdentity: undefined,
  policy: undefined,
  managed: [],
  tags: [],
};
const session: Session = {
  ...plainSession,
  principal: { kind: "role", account, role: "r", id: "I" },
  name: "n",
  sourceIdentity: "a",
  policy: "{}",
  managed: ["p"],
  tags: [{ key: "t", value: "v" }],
};
const newPolicy: records.PolicyRecord = {
  ...named,
  updatedMs: 6,
  attachments: 7,
  description: "d",
  versions: [{ number: 1, createdMs: 6, document: "{}" }],
  defaultVersion: 1,
  lastVersion: 1,
};
const policy: records.PolicyRecord = {
  ...newPolicy,
  versions: [
    { number: 2, createdMs: 5, document: "{}" },
    { number: 130, createdMs: 6, document: "[]" },
  ],
  defaultVersion: 2,
  lastVersion: 131,
};

const rows: readonly (readonly [string, string, Buffer, (bytes: Buffer) => unknown, unknown])[] = [
  record("key of nobody", "03 01 73 80 01 01 64 00 00", encodeKeyRecord, decodeKeyRecord, {
    ...key,
    owner: { kind: "none" },
  }),
  record("key of an account", `03 01 73 80 01 01 64 01 ${accountHex} 00`, encodeKeyRecord, decodeKeyRecord, {
    ...key,
    owner: { kind: "account", account },
  }),
  record("key of a user", `03 01 73 80 01 01 64 02 ${accountHex} 01 61 00`, encodeKeyRecord, decodeKeyRecord, {
    ...key,
    owner: { kind: "user", account, user: "a" },
  }),
  record("key that is off", "03 01 73 80 01 01 64 00 01", encodeKeyRecord, decodeKeyRecord, {
    ...key,
    owner: { kind: "none" },
    isOff: true,
  }),
  record("account", `01 ${accountHex} ${own.canonicalId} 01 61 05`, records.encodeAccount, records.decodeAccount, own),
  record(
    "user",
    `${namedHex} 01 01 67 02 01 70 01 71 ${inlineHex} 01 62 01 01 6b 01 01 74 01 76`,
    records.encodeUser,
    records.decodeUser,
    user,
  ),
  record("new user", `${namedHex} 00 00 00 00 00 00`, records.encodeUser, records.decodeUser, newUser),
  record("group", `${namedHex} 80 01 01 01 70 ${inlineHex}`, records.encodeGroup, records.decodeGroup, group),
  record(
    "role",
    `${namedHex} 02 7b 7d 01 64 90 1c 01 01 70 ${inlineHex} 01 62 01 01 74 01 76`,
    records.encodeRole,
    records.decodeRole,
    role,
  ),
  record("new role", `${namedHex} 02 7b 7d 00 90 1c 00 00 00 00`, records.encodeRole, records.decodeRole, newRole),
  record(
    "session of a role",
    `01 01 6b 01 73 05 06 02 ${accountHex} 01 72 01 49 01 6e 01 61 02 7b 7d 01 01 70 01 01 74 01 76`,
    encodeSession,
    decodeSession,
    session,
  ),
  record(
    "session of a user",
    `01 01 6b 01 73 05 06 01 ${accountHex} 01 75 01 49 00 00 00 00 00`,
    encodeSession,
    decodeSession,
    { ...plainSession, principal: { kind: "user", account, user: "u", id: "I" } },
  ),
  record(
    "session of an account",
    `01 01 6b 01 73 05 06 00 ${accountHex} 00 00 00 00 00`,
    encodeSession,
    decodeSession,
    {
      ...plainSession,
      principal: { kind: "account", account },
    },
  ),
  record(
    "session that an issuer's token began",
    `02 01 6b 01 73 05 06 02 ${accountHex} 01 72 01 49 01 6e 01 61 02 7b 7d 01 01 70 01 01 74 01 76 02 03 69 3a 73 00 01 75 03 69 3a 61 01 02 01 78 01 79`,
    encodeSession,
    decodeSession,
    {
      ...session,
      keys: new Map<string, string | string[]>([
        ["i:s", "u"],
        ["i:a", ["x", "y"]],
      ]),
    },
  ),
  record(
    "OpenID Connect provider",
    "01 09 68 74 74 70 73 3a 2f 2f 69 80 01 02 01 61 01 62 01 01 63 01 01 74 01 76",
    encodeOidcProvider,
    decodeOidcProvider,
    { url: "https://i", createdMs: 128, clientIds: ["a", "b"], thumbprints: ["c"], tags: [{ key: "t", value: "v" }] },
  ),
  record("sealing key", `01 ${"ab".repeat(32)}`, encodeSealingKey, decodeSealingKey, Buffer.alloc(32, 0xab)),
  record("new policy", `${namedHex} 06 07 01 64 02 7b 7d`, records.encodePolicy, records.decodePolicy, newPolicy),
  record(
    "policy with versions",
    `02 ${namedHex.slice(3)} 06 07 01 64 02 83 01 02 02 05 02 7b 7d 82 01 06 02 5b 5d`,
    records.encodePolicy,
    records.decodePolicy,
    policy,
  ),
];

function record<T>(name: string, hex: string, encode: (value: T) => Buffer, decode: (bytes: Buffer) => T, value: T) {
  return [name, hex.replaceAll(" ", ""), encode(value), decode, value] as const;
}

for (const [name, hex, bytes, decode, value] of rows) {
  test(`the ${name} record is as its page says, and comes back`, () => {
    assert.equal(bytes.toString("hex"), hex);
    assert.deepEqual(decode(bytes), value);
  });
  test(`a ${name} record that is cut, longer or newer is refused`, () => {
    const newer = Buffer.from(bytes);
    newer[0]! += 1;
    for (const wrong of [bytes.subarray(0, -1), Buffer.concat([bytes, Buffer.of(0)]), newer, Buffer.alloc(0)])
      assert.throws(
        () => decode(wrong),
        (error) => hasReason(error, "corrupt_record"),
      );
  });
}

test("an access key from before there were users is nobody's, and may do what it could", () => {
  const old = Buffer.from("01 01 73 80 01 01 64".replaceAll(" ", ""), "hex");
  assert.deepEqual(decodeKeyRecord(old), { ...key, owner: { kind: "none" } });
  const owned = Buffer.from(`02 01 73 80 01 01 64 02 ${accountHex} 01 61`.replaceAll(" ", ""), "hex");
  assert.deepEqual(decodeKeyRecord(owned), { ...key, owner: { kind: "user", account, user: "a" } });
  const unknown = Buffer.from("02 01 73 80 01 01 64 03".replaceAll(" ", ""), "hex");
  assert.throws(
    () => decodeKeyRecord(unknown),
    (error) => hasReason(error, "corrupt_record"),
  );
});

test("a policy whose first version is another than it was made with is not taken for a new one", () => {
  const changed = { ...newPolicy, updatedMs: 9 };
  assert.deepEqual(records.decodePolicy(records.encodePolicy(changed)), changed);
});

test("a policy whose version that counts is not there is refused", () => {
  assert.throws(
    () => records.decodePolicy(records.encodePolicy({ ...policy, defaultVersion: 3 })),
    (error) => hasReason(error, "corrupt_record"),
  );
});
