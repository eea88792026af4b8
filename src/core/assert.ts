/**
 * Assertions that stay on in production. They guard invariants and arguments of our own code.
 * Client input is validated, never asserted: a crash that client bytes can reach is a denial of service.
 */
export class AssertionError extends Error {
  override name = "AssertionError";
}

export function assert(condition: unknown, message: string): asserts condition {
  if (!condition) throw new AssertionError(message);
}

/** Marks the branch that the types say cannot be reached. */
export function unreachable(value: never): never {
  throw new AssertionError(`unreachable: ${JSON.stringify(value)}`);
}
