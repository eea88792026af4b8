/** Put and get of a bucket's lifecycle document, with the header about transitions that AWS's answers bear. */
import { contentOf, normalised, printDocument } from "../documents/document.ts";
import { lifecycle, transitionSizes, type TransitionSize } from "../documents/lifecycle.ts";
import { S3Error } from "../errors.ts";
import type { Handler, S3Request } from "../exchange.ts";
import { invalidArgument } from "../params.ts";
import { xmlReply } from "../respond.ts";
import { malformed } from "../xml.ts";

const sizeHeader = "x-amz-transition-default-minimum-object-size";

function transitionSizeOf({ headers }: S3Request): TransitionSize {
  const text = headers[sizeHeader];
  if (text === undefined) return transitionSizes[0];
  const size = transitionSizes.find((known) => known === text);
  if (size === undefined)
    throw invalidArgument(sizeHeader, String(text), `It must be one of ${transitionSizes.join(", ")}.`);
  return size;
}

export const putBucketLifecycle: Handler = async (request, { objects }) => {
  const transitionSize = transitionSizeOf(request);
  const { value } = normalised(lifecycle, await request.xml());
  // What the stored document has for the header is nothing that a client's may have.
  if (value.transitionSize !== transitionSizes[0]) throw malformed();
  const { bytes } = normalised(lifecycle, Buffer.from(printDocument(lifecycle, { ...value, transitionSize })));
  await objects.setConfiguration({ bucket: request.bucket, kind: lifecycle.kind, document: bytes });
  return { status: 200, headers: [sizeHeader, transitionSize] };
};

export const getBucketLifecycle: Handler = async ({ bucket }, { objects }) => {
  const found = await objects.configuration(bucket, lifecycle.kind);
  if (found === undefined)
    throw new S3Error("NoSuchLifecycleConfiguration", "The lifecycle configuration does not exist", {
      details: { BucketName: bucket },
    });
  const { rules, transitionSize } = contentOf(lifecycle, found);
  const shown = printDocument(lifecycle, { rules, transitionSize: transitionSizes[0] });
  return xmlReply(shown, [sizeHeader, transitionSize]);
};
