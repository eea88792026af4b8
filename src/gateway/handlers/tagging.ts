/** Tags of objects. */
import { objectTags, printTags } from "../documents/tagging.ts";
import type { Handler } from "../exchange.ts";
import { versionHeader } from "../headers.ts";
import { versionParam } from "../params.ts";
import { xmlReply } from "../respond.ts";
import { parseXml, xmlDocument } from "../xml.ts";

export const getObjectTagging: Handler = async ({ bucket, key, query, admission }, { objects }) => {
  const info = await objects.describe({ bucket, key, ...versionParam(query), ...admission.of("target") });
  return xmlReply(xmlDocument("Tagging", printTags(info.tags)), versionHeader(info));
};

export const putObjectTagging: Handler = async (request, { objects }) => {
  const { bucket, key, query, admission } = request;
  const tags = objectTags(parseXml(await request.xml(), "Tagging"));
  const judged = admission.of("target", { tags });
  const tagged = await objects.setTags({
    bucket,
    key,
    ...versionParam(query),
    tags,
    ...judged,
    origin: request.origin,
  });
  return { status: 200, headers: versionHeader(tagged) };
};

export const deleteObjectTagging: Handler = async ({ bucket, key, query, admission, origin }, { objects }) => {
  const asked = { bucket, key, ...versionParam(query), ...admission.of("target") };
  const tagged = await objects.setTags({ ...asked, tags: new Map(), origin });
  return { status: 204, headers: versionHeader(tagged) };
};
