/** How configurations name destinations: `arn:holdfast:sqs::NAME:KIND`. Pure. */
import { limits } from "../core/limits.ts";
import { destinationKinds, type DestinationKind } from "../meta/destinations.ts";

const name = /^[a-z0-9][a-z0-9_-]*$/;

/**
 * The name is what counts. The kind is kept as it was written, and says for whoever reads it what it was then: a destination that
 * becomes one of another kind is still the one that is named.
 */
export type DestinationName = { readonly name: string; readonly kind: DestinationKind };

export function isDestinationName(text: string): boolean {
  return text.length <= limits.destinationNameCharsMax && name.test(text);
}

export function arnOf(destination: DestinationName): string {
  return `arn:holdfast:sqs::${destination.name}:${destination.kind}`;
}

/** Undefined: it is the ARN of nothing that could be here. */
export function destinationOfArn(arn: string): DestinationName | undefined {
  const [, found, end] = /^arn:holdfast:sqs::([^:]+):([a-z]+)$/.exec(arn) ?? [];
  const kind = destinationKinds.find((each) => each === end);
  return found !== undefined && kind !== undefined && isDestinationName(found) ? { name: found, kind } : undefined;
}
