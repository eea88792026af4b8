/** The keys that server-side encryption seals with, as the operator sees them: made, listed and rotated, never shown. */
import { type DoorReply, type DoorRequest, jsonReply, methodNotAllowed } from "../core/door.ts";
import { HoldfastError } from "../core/errors.ts";
import { limits } from "../core/limits.ts";
import type { KeyDescription, KeyManager } from "../crypto/crypto.ts";
import { readJsonObject, textField } from "./json_body.ts";

function keyJson({ id, createdMs, version, rotatedMs }: KeyDescription) {
  return { id, version, createdAt: new Date(createdMs).toISOString(), rotatedAt: new Date(rotatedMs).toISOString() };
}

function present(keys: KeyManager | undefined): KeyManager {
  if (keys !== undefined) return keys;
  const message = "The server has no encryption keys: it was started without --encryption-key-file and without --kms.";
  throw new HoldfastError("invalid_argument", message);
}

/** `/_/admin/encryption-keys`: GET ?after=, POST {"id"}. */
export async function encryptionKeys(keys: KeyManager | undefined, request: DoorRequest): Promise<DoorReply> {
  if (request.method === "POST") {
    const body = await readJsonObject(request.body(), ["id"]);
    return jsonReply(201, keyJson(await present(keys).create(textField(body, "id") ?? "")));
  }
  if (request.method !== "GET") throw methodNotAllowed("GET, POST");
  const limit = limits.listPageKeysMax;
  const found = await present(keys).list({ after: request.query.get("after"), limit });
  return jsonReply(200, { keys: found.map(keyJson), next: found.length === limit ? found.at(-1)!.id : null });
}

/** `/_/admin/encryption-keys/ID/rotate`: POST. */
export async function rotateKey(keys: KeyManager | undefined, request: DoorRequest): Promise<DoorReply> {
  return jsonReply(200, keyJson(await present(keys).rotate(request.segments[2] ?? "")));
}
