/** The report that pytest writes with --junitxml, as far as the comparison needs it. */
import { SaxesParser } from "saxes";

export type Outcome = "passed" | "failed" | "skipped";

export type Case = {
  outcome: Outcome;
  /** Why it failed. */
  message: string;
  /** The suite's own words of what the test is about (s3_tests_markers.py). */
  readonly markers: Set<string>;
};

const passed = (): Case => ({ outcome: "passed", message: "", markers: new Set() });

/** By `file.test`, the parameters of a test included. */
export function readJunit(report: Buffer): Map<string, Case> {
  const cases = new Map<string, Case>();
  let current: Case = passed();
  const parser = new SaxesParser();
  parser.on("opentag", ({ name, attributes }) => {
    if (name === "testcase") {
      const test = `${attributes.classname!.split(".").at(-1)}.${attributes.name}`;
      // One test may have two entries: its own, and an error of what cleans up after it.
      current = cases.get(test) ?? passed();
      cases.set(test, current);
    } else if (name === "failure" || name === "error") {
      current.outcome = "failed";
      current.message ||= attributes.message?.split("\n", 1)[0] ?? "";
    } else if (name === "skipped" && current.outcome === "passed") current.outcome = "skipped";
    else if (name === "property" && attributes.name === "marker") current.markers.add(attributes.value!);
  });
  parser.write(report.toString("utf8")).close();
  return cases;
}
