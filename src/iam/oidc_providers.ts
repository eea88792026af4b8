/** IAM's actions on OpenID Connect providers. All of them are named by ARNs. */
import { escapeXml, xmlElement } from "../gateway/xml.ts";
import { oidcArn, oidcNameOf, type OidcChange, type OidcProvider } from "../identity/oidc_providers.ts";
import type { OidcProviderRecord } from "../identity/oidc_record.ts";
import { dateElement, list, tagList } from "./answer.ts";
import type { Action, Call, Target } from "./call.ts";
import { QueryError } from "./faults.ts";
import { asked, whereThere, withoutTags, withTags } from "./users.ts";

const arnOf = ({ form }: Call): string => form.required("OpenIDConnectProviderArn");

function provider(call: Call): Promise<OidcProvider> {
  return call.identity.directory.oidcProvider(call.actor.caller.account, arnOf(call));
}

async function target(call: Call): Promise<Target> {
  const there = await whereThere(provider(call));
  return { arn: arnOf(call), ...asked(call, there && { tags: there.tags, boundary: undefined }) };
}

function newTarget({ form, actor }: Call): Target {
  return { arn: oidcArn(actor.caller.account, oidcNameOf(form.required("Url"))), requestTags: form.tags() };
}

async function create(call: Call): Promise<string> {
  const { form, identity, actor, allowsPlainLoopback } = call;
  const url = form.required("Url");
  if (!url.startsWith("https://") && !allowsPlainLoopback)
    throw new QueryError("ValidationError", "The URL of a provider begins with https://.");
  const made = await identity.directory.createOidcProvider({
    account: actor.caller.account,
    url,
    clientIds: form.members("ClientIDList"),
    thumbprints: form.members("ThumbprintList"),
    tags: form.tags(),
  });
  return xmlElement("OpenIDConnectProviderArn", made.arn) + tagList(made.tags);
}

async function get(call: Call): Promise<string> {
  const { name, url, clientIds, thumbprints, createdMs, tags } = await provider(call);
  const texts = (values: readonly string[]) => values.map((each) => escapeXml(each));
  return [
    xmlElement("Url", url.startsWith("https://") ? name : url),
    dateElement("CreateDate", createdMs),
    list("ClientIDList", texts(clientIds)),
    list("ThumbprintList", thumbprints),
    tagList(tags),
  ].join("");
}

async function listAll({ identity, actor }: Call): Promise<string> {
  const found = await identity.directory.oidcProviders(actor.caller.account);
  return list(
    "OpenIDConnectProviderList",
    found.map(({ arn }) => xmlElement("Arn", arn)),
  );
}

async function set(call: Call, change: (provider: OidcProviderRecord) => OidcChange): Promise<string> {
  await call.identity.directory.setOidcProvider(call.actor.caller.account, arnOf(call), change);
  return "";
}

function addClient(call: Call): Promise<string> {
  const id = call.form.required("ClientID");
  return set(call, ({ clientIds }) => ({ clientIds: [...new Set([...clientIds, id])] }));
}

/** One that is not there is no error. */
function removeClient(call: Call): Promise<string> {
  const id = call.form.required("ClientID");
  return set(call, ({ clientIds }) => ({ clientIds: clientIds.filter((each) => each !== id) }));
}

function setThumbprints(call: Call): Promise<string> {
  const thumbprints = call.form.members("ThumbprintList");
  if (thumbprints.length === 0)
    throw new QueryError("MissingParameter", "The request must contain the parameter ThumbprintList.");
  return set(call, () => ({ thumbprints }));
}

export const oidcActions: Readonly<Record<string, Action>> = {
  CreateOpenIDConnectProvider: { target: newTarget, run: create },
  GetOpenIDConnectProvider: { target, run: get },
  ListOpenIDConnectProviders: {
    target: ({ actor }) => ({ arn: oidcArn(actor.caller.account, "") }),
    run: listAll,
  },
  DeleteOpenIDConnectProvider: {
    target,
    run: async (call) => {
      await call.identity.directory.deleteOidcProvider(call.actor.caller.account, arnOf(call));
      return "";
    },
  },
  AddClientIDToOpenIDConnectProvider: { target, run: addClient },
  RemoveClientIDFromOpenIDConnectProvider: { target, run: removeClient },
  UpdateOpenIDConnectProviderThumbprint: { target, run: setThumbprints },
  TagOpenIDConnectProvider: {
    target,
    run: (call) => set(call, ({ tags }) => ({ tags: withTags(tags, call.form.tags() ?? []) })),
  },
  UntagOpenIDConnectProvider: {
    target,
    run: (call) => set(call, ({ tags }) => ({ tags: withoutTags(tags, call.form.members("TagKeys")) })),
  },
  ListOpenIDConnectProviderTags: {
    target,
    run: async (call) => `${tagList((await provider(call)).tags)}<IsTruncated>false</IsTruncated>`,
  },
};
