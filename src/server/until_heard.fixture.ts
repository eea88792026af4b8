/**
 * For tests that shorten the bounds of a port. A process that stands still for longer than one, with a connection before and its
 * request after, has ended it before anybody heard of it: then it is tried again.
 */
export async function untilHeard<T>(isHeard: () => boolean, attempt: () => Promise<T>): Promise<T> {
  for (;;) {
    const answer = await attempt();
    if (isHeard()) return answer;
  }
}
