/** RenameObject, and with a header of ours the rename of all keys below a prefix. */
import { limits } from "../../core/limits.ts";
import type { Handler, S3Request, Services } from "../exchange.ts";
import { newVersionHeader, readConditions, renameSourceConditions } from "../headers.ts";
import { needsOfRename } from "../needs.ts";
import { invalidArgument } from "../params.ts";
import { isPrefixRename, renameSource } from "../rename_source.ts";
import { partsOfRename } from "../reply_parts.ts";
import type { Reply } from "../respond.ts";
import { saidInRename } from "../said.ts";

export const renameObject: Handler = async (request, services) => {
  if (isPrefixRename(request)) return renamePrefix(request, services);
  const { bucket, key, headers, signal, origin } = request;
  const from = renameSource(request);
  const token = clientToken(request);
  const conditions = readConditions(headers);
  const sourceConditions = renameSourceConditions(headers);
  const result = await services.objects.rename({
    bucket,
    key,
    source: {
      key: from,
      ...(sourceConditions && { conditions: sourceConditions }),
      ...request.admission.of("source"),
    },
    signal,
    origin,
    ...(conditions && { conditions }),
    ...(token !== undefined && { token }),
  });
  return { status: 200, headers: newVersionHeader(result), parts: partsOfRename("REST", { from, to: key }) };
};

/** What may be renamed is judged key by key, as the keys are found. */
async function renamePrefix(request: S3Request, { objects }: Services): Promise<Reply> {
  const { bucket, key: to, headers, signal, authority, origin } = request;
  for (const name of ["x-amz-client-token", ...Object.keys(headers).filter((each) => each.startsWith(ofSource))])
    if (headers[name] !== undefined)
      throw invalidArgument(name, String(headers[name]), `${name} does not go with the rename of a prefix.`);
  const prefix = renameSource(request);
  const conditions = readConditions(headers);
  const said = saidInRename(headers);
  const renamed = await objects.renamePrefix({
    bucket,
    from: prefix,
    to,
    signal,
    origin,
    admit: (from, into) => {
      const { first, onSource } = needsOfRename(bucket, { from, to: into }, said);
      for (const permission of first) authority.require(permission);
      return (info) => onSource.forEach((permission) => authority.require(permission, { info }));
    },
    ...(conditions && { conditions }),
  });
  const parts = renamed.flatMap(({ key }) =>
    partsOfRename("BATCH", { from: Buffer.concat([prefix, key.subarray(to.length)]), to: key }),
  );
  return { status: 200, headers: ["x-holdfast-renamed", String(renamed.length)], parts };
}

const ofSource = "x-amz-rename-source-";

function clientToken({ headers }: S3Request): string | undefined {
  const token = headers["x-amz-client-token"];
  if (token === undefined) return undefined;
  const text = String(token);
  if (text !== "" && text.length <= limits.clientTokenCharsMax) return text;
  throw invalidArgument("x-amz-client-token", text, `A token has 1 to ${limits.clientTokenCharsMax} characters.`);
}
