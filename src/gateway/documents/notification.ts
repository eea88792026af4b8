/**
 * Who is told of what happens to a bucket's objects: the NotificationConfiguration document. Topics, queues and functions are
 * spelled as AWS spells them and are all the same here: destinations, by their ARNs. What an event falls under is judged by the
 * rules that come out (events/rules.ts).
 *
 * Source: PutBucketNotificationConfiguration of the S3 API reference; where it is silent, what AWS answers.
 */
import { createHash } from "node:crypto";
import { limits } from "../../core/limits.ts";
import {
  arnOf,
  destinationOfArn,
  knownEvents,
  overlap,
  type DestinationName,
  type EventRule,
} from "../../events/events.ts";
import { S3Error } from "../errors.ts";
import { invalidArgument } from "../params.ts";
import { childrenOf, childTexts, child, malformed, onlyChildren, requiredText, xmlElement, childText } from "../xml.ts";
import type { XmlElement } from "../xml.ts";
import type { DocumentKind } from "./document.ts";

/** The element of a rule, and the one in it that holds the ARN. The last one is how AWS spelled functions first. */
const forms = [
  { rule: "TopicConfiguration", arn: "Topic" },
  { rule: "QueueConfiguration", arn: "Queue" },
  { rule: "CloudFunctionConfiguration", arn: "CloudFunction" },
] as const;

type Form = (typeof forms)[number];
export type NotificationRule = EventRule & {
  readonly form: Form["rule"];
  /** As the ARN names it. */
  readonly kind: DestinationName["kind"];
};

const idCharsMax = 255;
const filterCharsMax = 1_024;

function readRule(form: Form, element: XmlElement): NotificationRule {
  onlyChildren(element, ["Id", form.arn, "Event", "Filter"]);
  const arn = requiredText(element, form.arn);
  const destination = destinationOfArn(arn);
  if (destination === undefined)
    throw new S3Error("InvalidArgument", "The ARN could not be parsed", {
      details: { ArgumentName: form.arn, ArgumentValue: arn },
    });
  const events = childTexts(element, "Event");
  if (events.length === 0) throw malformed();
  for (const event of events) checkEvent(event);
  if (new Set(events).size < events.length)
    throw invalidArgument("Event", events.join(","), "A notification configuration names each event once.");
  const filter = readFilter(child(element, "Filter"));
  const rule = { form: form.rule, destination: destination.name, events, ...filter };
  const id = childText(element, "Id") || idOf(rule);
  if (id.length > idCharsMax) throw invalidArgument("Id", id, `The Id must have at most ${idCharsMax} characters`);
  return { id, ...rule, kind: destination.kind };
}

function checkEvent(event: string): void {
  if (!knownEvents.includes(event))
    throw invalidArgument("Event", event, `The event '${event.slice(0, 100)}' is not supported for notifications`);
}

/** Of a rule that came without: the same whenever the same rule is set. */
function idOf(rule: Omit<NotificationRule, "id" | "kind">): string {
  return createHash("sha256").update(JSON.stringify(rule)).digest("base64url").slice(0, 22);
}

type Filter = Pick<EventRule, "prefix" | "suffix">;

function readFilter(filter: XmlElement | undefined): Filter {
  const found: { prefix: string | undefined; suffix: string | undefined } = { prefix: undefined, suffix: undefined };
  if (filter === undefined) return found;
  onlyChildren(filter, ["S3Key"]);
  const key = child(filter, "S3Key");
  if (key === undefined) return found;
  onlyChildren(key, ["FilterRule"]);
  for (const rule of childrenOf(key, "FilterRule")) {
    onlyChildren(rule, ["Name", "Value"]);
    const said = requiredText(rule, "Name");
    const name = said.toLowerCase();
    const value = requiredText(rule, "Value");
    if (name !== "prefix" && name !== "suffix")
      throw invalidArgument("FilterRule.Name", said, "filter rule name must be either prefix or suffix");
    if (found[name] !== undefined)
      throw invalidArgument("FilterRule.Name", said, `Cannot specify more than one ${name} rule in a filter.`);
    if (value.length > filterCharsMax)
      throw invalidArgument(
        "FilterRule.Value",
        value,
        `Size of filter rule value cannot exceed ${filterCharsMax} bytes`,
      );
    found[name] = value;
  }
  return found;
}

function readRules(root: XmlElement): readonly NotificationRule[] {
  onlyChildren(root, [...forms.map(({ rule }) => rule), "EventBridgeConfiguration"]);
  if (child(root, "EventBridgeConfiguration") !== undefined)
    throw new S3Error(
      "NotImplemented",
      "There is no EventBridge here that events could be sent to; name an event target as a queue, topic or function.",
    );
  const rules = forms.flatMap((form) => childrenOf(root, form.rule).map((element) => readRule(form, element)));
  checkTogether(rules);
  return rules;
}

function checkTogether(rules: readonly NotificationRule[]): void {
  if (rules.length > limits.notificationRulesMax)
    throw new S3Error(
      "InvalidArgument",
      `A bucket has at most ${limits.notificationRulesMax} notification configurations.`,
    );
  if (new Set(rules.map(({ id }) => id)).size < rules.length)
    throw new S3Error("InvalidArgument", "Same ID used for multiple configurations. IDs must be unique");
  if (new Set(rules.map(({ destination }) => destination)).size > limits.destinationsOfBucketMax)
    throw new S3Error(
      "InvalidArgument",
      `A bucket's events go to at most ${limits.destinationsOfBucketMax} event targets.`,
    );
  for (const [at, rule] of rules.entries())
    if (rules.slice(0, at).some((other) => overlap(other, rule)))
      throw new S3Error(
        "InvalidArgument",
        "Configurations overlap. Configurations on the same bucket cannot share a common event type.",
      );
}

function printRule({ form, id, destination, kind, events, prefix, suffix }: NotificationRule): string {
  const { arn } = forms.find(({ rule }) => rule === form)!;
  const filter = [
    ["prefix", prefix],
    ["suffix", suffix],
  ] as const;
  const rules = filter
    .filter(([, value]) => value !== undefined)
    .map(([name, value]) => `<FilterRule>${xmlElement("Name", name)}${xmlElement("Value", value!)}</FilterRule>`);
  return (
    `<${form}>${xmlElement("Id", id)}${xmlElement(arn, arnOf({ name: destination, kind }))}` +
    events.map((event) => xmlElement("Event", event)).join("") +
    (rules.length === 0 ? "" : `<Filter><S3Key>${rules.join("")}</S3Key></Filter>`) +
    `</${form}>`
  );
}

export const notification: DocumentKind<readonly NotificationRule[]> = {
  kind: "notification",
  root: "NotificationConfiguration",
  parse: readRules,
  print: (rules) => rules.map(printRule).join(""),
  absent: { value: [] },
};
