/**
 * Notifications: what happens to objects is told to destinations, as S3 tells it.
 *
 * Promises:
 *  1. An event is written by the commit that makes the change (note.ts): no change without its event, no event without its change.
 *  2. It is delivered at least once, and for one key and one destination in the order of the changes (line.ts). Each message
 *     bears an id and a sequencer by which a reader can tell what it has had already.
 *  3. A destination that takes nothing holds up no other, no writer, and no answer to a client.
 *  4. What is kept is bounded: by time (then it is put aside, and can be sent again by hand), and by number (then new events are
 *     counted and not kept, which is shown wherever one looks). Nothing is left out silently.
 *
 * Known gaps: changes through the file API are told without who asked; messages hold one event each; Redis is spoken to as one server, not as a cluster or through Sentinel.
 */
export { credentialNames, type CredentialName } from "../meta/destinations.ts";
export { arnOf, destinationOfArn, type DestinationName } from "./arn.ts";
export { DeliverJob } from "./deliver.ts";
export {
  Destinations,
  requireDestinations,
  unknownDestination,
  type DestinationView,
  type TestRequest,
  type UndeliveredEvent,
} from "./destinations.ts";
export type { NewDestination } from "./target.ts";
export { noteEvent, type Happening } from "./note.ts";
export { destinationsOf, knownEvents, overlap, type EventRule } from "./rules.ts";
