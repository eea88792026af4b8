/** Event targets as the operator's door speaks of them: destinations (events/destinations.ts) in JSON. */
import { type DoorReply, type DoorRequest, jsonReply, methodNotAllowed } from "../core/door.ts";
import { HoldfastError } from "../core/errors.ts";
import { limits } from "../core/limits.ts";
import {
  credentialNames,
  type CredentialName,
  type Destinations,
  type DestinationView,
  type NewDestination,
  type UndeliveredEvent,
} from "../events/events.ts";
import { readJsonObject, textField } from "./json_body.ts";

const at = (ms: number): string => new Date(ms).toISOString();

/** `admin/event-targets`, with a name, with a name and `dead`. */
export function isEventTargets([room, what, , dead, ...more]: readonly string[]): boolean {
  return room === "admin" && what === "event-targets" && (dead === undefined || dead === "dead") && more.length === 0;
}

/** Whoever calls it has made sure that the caller may. */
export async function eventTargets(destinations: Destinations, request: DoorRequest): Promise<DoorReply> {
  const [, , name, dead] = request.segments;
  if (name === undefined) return listTargets(destinations, request);
  return dead === undefined ? oneTarget(destinations, request, name) : deadOf(destinations, request, name);
}

export function targetJson({ createdMs, trouble, undelivered, ...view }: DestinationView): object {
  const wrong = trouble && { since: at(trouble.sinceMs), at: at(trouble.atMs), message: trouble.message };
  return { ...view, dead: undelivered, createdAt: at(createdMs), trouble: wrong ?? null };
}

async function listTargets(destinations: Destinations, { method }: DoorRequest): Promise<DoorReply> {
  if (method !== "GET") throw methodNotAllowed("GET");
  return jsonReply(200, { targets: (await destinations.list()).map(targetJson) });
}

async function oneTarget(destinations: Destinations, request: DoorRequest, name: string): Promise<DoorReply> {
  switch (request.method) {
    case "GET":
      return jsonReply(200, targetJson(await destinations.show(name)));
    case "PUT":
      return jsonReply(200, targetJson(await destinations.set(name, await readTarget(request))));
    case "DELETE":
      await destinations.remove(name, { force: request.query.get("force") === "true" });
      return { status: 204, headers: [] };
    default:
      throw methodNotAllowed("GET, PUT, DELETE");
  }
}

/** `webhook` is what `url` was called when there was nothing else. */
async function readTarget(request: DoorRequest): Promise<NewDestination> {
  const body = await readJsonObject(request.body(), ["url", "webhook", "headers", "secret", ...credentialNames]);
  const { headers = {} } = body;
  if (typeof headers !== "object" || headers === null || Array.isArray(headers))
    throw new HoldfastError("invalid_argument", `"headers" must be an object.`);
  const pairs = Object.entries(headers).map(([header, value]): [string, string] => {
    if (typeof value !== "string")
      throw new HoldfastError("invalid_argument", `The header "${header}" must be a text.`);
    return [header, value];
  });
  const credentials: Partial<Record<CredentialName, string>> = {};
  for (const name of credentialNames) {
    const value = textField(body, name);
    if (value !== undefined) credentials[name] = value;
  }
  const url = textField(body, "url") ?? textField(body, "webhook") ?? "";
  return { url, headers: pairs, secret: textField(body, "secret"), credentials };
}

function deadJson({ givenUpMs, atMs, ...event }: UndeliveredEvent): object {
  return { ...event, at: at(atMs), givenUpAt: at(givenUpMs) };
}

async function deadOf(destinations: Destinations, request: DoorRequest, name: string): Promise<DoorReply> {
  if (request.method === "POST") return jsonReply(200, { sent: await destinations.sendAgain(name) });
  if (request.method !== "GET") throw methodNotAllowed("GET, POST");
  const after = request.query.get("after");
  const { events, next } = await destinations.undelivered(name, { after, limit: limits.listPageKeysMax });
  return jsonReply(200, { events: events.map(deadJson), next: next ?? null });
}
