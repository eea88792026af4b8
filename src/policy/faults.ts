/** What can be wrong with a policy document, in the words of S3 (for bucket policies) and of IAM (for those of users). */
import { HoldfastError } from "../core/errors.ts";

/** What a document is for: `identity` for policies of users, groups, roles, boundaries and sessions; `trust` for a role's own. */
export type PolicyUse = "bucket" | "identity" | "trust";

const messages = {
  too_large: () => "Policy exceeds the maximum allowed document size.",
  first_byte: () => "Policies must be valid JSON and the first byte must be '{'",
  json: () => "This policy contains invalid Json",
  version: () => "The policy must contain a valid version string",
  unknown_field: (name: string) => `Unknown field ${name}`,
  missing_field: (name: string) => `Missing required field ${name}`,
  both_fields: (name: string) => `Only one of ${name} and Not${name} is allowed in a statement`,
  no_statement: () => "Could not parse the policy: Statement is empty!",
  too_many: (name: string) => `Policy has too many entries: ${name}`,
  value: (name: string) => `Invalid value of ${name} in policy`,
  sid: () => "Statement IDs (SID) in a single policy must be unique.",
  effect: (effect: string) => `Invalid effect: ${effect}`,
  principal: () => "Invalid principal in policy",
  not_principal: () => "Allow with NotPrincipal is not allowed",
  unwanted_principal: () => "Policy document should not specify a principal.",
  unwanted_resource: () => "Has prohibited field Resource",
  action: () => "Policy has invalid action",
  resource: () => "Policy has invalid resource",
  mismatch: () => "Action does not apply to any resource(s) in statement",
  condition_type: (name: string) => `Invalid Condition type : ${name}`,
  condition_key: () => "Policy has an invalid condition key",
  condition_mismatch: () => "Conditions do not apply to combination of actions and resources in statement",
  condition_value: (name: string) => `Invalid value in Conditions for operator ${name}`,
  ip_address: () => "Invalid IP address in Conditions",
} as const satisfies Record<string, (detail: string) => string>;

export type Fault = keyof typeof messages;

const wordsOfIam: Partial<Record<Fault, (detail: string) => string>> = {
  first_byte: () => "Syntax errors in policy.",
  json: () => "Syntax errors in policy.",
  version: () => "Syntax errors in policy.",
  unknown_field: () => "Syntax errors in policy.",
  no_statement: () => "Syntax errors in policy.",
  effect: () => "Syntax errors in policy.",
  action: () => "Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc.",
  resource: (resource) => `Resource ${resource} must be in ARN format or "*".`,
  missing_field: (name) => {
    if (name === "Action") return "Policy statement must contain actions.";
    return name === "Resource" ? "Policy statement must contain resources." : "Syntax errors in policy.";
  },
};

/** The error to throw. `detail` is a name or value from the document. */
export function malformed(fault: Fault, detail = "", use: PolicyUse = "bucket"): HoldfastError {
  const words = (use === "bucket" ? undefined : wordsOfIam[fault]) ?? messages[fault];
  return new HoldfastError("malformed_policy", words(shortened(detail)));
}

/** Of what a client sent an error repeats as much as helps. */
function shortened(text: string): string {
  return text.length > 200 ? `${text.slice(0, 200)}…` : text;
}
