/**
 * PutBucketNotificationConfiguration. Before a document is set every destination in it is sent a test, as AWS does, unless the
 * request says that it shall not be; the commit that sets the document looks once more that they are there.
 */
import { destinationsOf, unknownDestination } from "../../events/events.ts";
import { normalised } from "../documents/document.ts";
import { notification } from "../documents/notification.ts";
import type { Handler, S3Request, Services } from "../exchange.ts";

/** What went wrong on the way speaks of the operator's network, which is not everybody's: it is told to the store's own account. */
async function mayKnowWhy({ authority }: S3Request, { accounts }: Services): Promise<boolean> {
  const { caller } = authority;
  if (caller === undefined) return true;
  return "account" in caller && caller.account === (await accounts.own()).account;
}

export const putBucketNotification: Handler = async (request, services) => {
  const { objects, destinations } = services;
  const { bucket, headers, origin, signal } = request;
  const { value, bytes } = normalised(notification, await request.xml());
  const { kind } = notification;
  const names = destinationsOf(value);
  if (headers["x-amz-skip-destination-validation"] !== "true" && names.length > 0) {
    // A bucket that is not there is said before anybody is told of it.
    await objects.bucket(bucket);
    const { requestId, hostId } = origin;
    const failed = await destinations.test(names, { bucket, requestId, hostId, signal });
    if (failed !== undefined) {
      const why = (await mayKnowWhy(request, services)) ? failed.why : "It did not take a test message.";
      throw unknownDestination(failed.name, why);
    }
  }
  const document = value.length === 0 ? undefined : bytes;
  await objects.setConfiguration({ bucket, kind, document, destinations: names });
  return { status: 200, headers: [] };
};
