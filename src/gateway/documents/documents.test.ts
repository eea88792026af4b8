/** Every kind of document: what is refused is an S3 error, and what is stored is read back as what was understood. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { S3Error } from "../errors.ts";
import { cors, matchCors } from "./cors.ts";
import { contentOf, normalised } from "./document.ts";
import type { DocumentKind } from "./document.ts";
import { bucketEncryption } from "./encryption.ts";
import { lifecycle } from "./lifecycle.ts";
import { bucketLogging } from "./logging.ts";
import { notification } from "./notification.ts";
import { accelerate, ownershipControls, publicAccessBlock, requestPayment } from "./switches.ts";
import { bucketTagging, taggingHeader } from "./tagging.ts";
import { website } from "./website.ts";

type Sample<T> = { readonly document: DocumentKind<T>; readonly text: string };

const rule =
  "<CORSRule><ID>i</ID><AllowedMethod>GET</AllowedMethod><AllowedOrigin>http://*.a</AllowedOrigin>" +
  "<AllowedHeader>x-*</AllowedHeader><MaxAgeSeconds>30</MaxAgeSeconds><ExposeHeader>etag</ExposeHeader></CORSRule>";
const arn = "arn:holdfast:sqs::hook:webhook";
const tag = "<Tag><Key>k</Key><Value>v &lt;</Value></Tag>";

function sample<T>(document: DocumentKind<T>, inner: string): Sample<unknown> {
  const text = `<?xml version="1.0"?><${document.root} xmlns="http://s3.amazonaws.com/doc/2006-03-01/">${inner}</${document.root}>`;
  return { document: document as DocumentKind<unknown>, text };
}

const samples: readonly Sample<unknown>[] = [
  sample(cors, rule + rule),
  sample(bucketTagging, `<TagSet>${tag.replace(" &lt;", "")}</TagSet>`),
  sample(publicAccessBlock, "<BlockPublicAcls>TRUE</BlockPublicAcls><IgnorePublicAcls>false</IgnorePublicAcls>"),
  sample(ownershipControls, "<Rule><ObjectOwnership>ObjectWriter</ObjectOwnership></Rule>"),
  sample(requestPayment, "<Payer>Requester</Payer>"),
  sample(
    bucketEncryption,
    "<Rule><ApplyServerSideEncryptionByDefault><SSEAlgorithm>aws:kms</SSEAlgorithm><KMSMasterKeyID>k</KMSMasterKeyID>" +
      "</ApplyServerSideEncryptionByDefault><BucketKeyEnabled>true</BucketKeyEnabled></Rule>",
  ),
  sample(accelerate, "<Status>Enabled</Status>"),
  sample(
    website,
    "<IndexDocument><Suffix>index.html</Suffix></IndexDocument><ErrorDocument><Key>e/&lt;</Key></ErrorDocument><RoutingRules>" +
      "<RoutingRule><Condition><KeyPrefixEquals>a/</KeyPrefixEquals></Condition><Redirect><ReplaceKeyPrefixWith>b/</ReplaceKeyPrefixWith></Redirect></RoutingRule>" +
      "<RoutingRule><Condition><HttpErrorCodeReturnedEquals>404</HttpErrorCodeReturnedEquals></Condition><Redirect>" +
      "<Protocol>https</Protocol><HostName>a.test</HostName><HttpRedirectCode>302</HttpRedirectCode><ReplaceKeyWith>k</ReplaceKeyWith></Redirect></RoutingRule>" +
      "</RoutingRules>",
  ),
  sample(
    website,
    "<RedirectAllRequestsTo><HostName>a.test</HostName><Protocol>http</Protocol></RedirectAllRequestsTo>",
  ),
  sample(
    lifecycle,
    "<Rule><ID>a&amp;</ID><Filter><And><Prefix>p/</Prefix><Tag><Key>k</Key><Value>v</Value></Tag><ObjectSizeLessThan>9</ObjectSizeLessThan></And></Filter>" +
      "<Status>Enabled</Status><Expiration><Date>2030-01-01</Date></Expiration></Rule><Rule><Filter/><Status>Disabled</Status>" +
      "<NoncurrentVersionExpiration><NoncurrentDays>3</NoncurrentDays><NewerNoncurrentVersions>2</NewerNoncurrentVersions></NoncurrentVersionExpiration>" +
      "<AbortIncompleteMultipartUpload><DaysAfterInitiation>7</DaysAfterInitiation></AbortIncompleteMultipartUpload></Rule>",
  ),
  sample(
    bucketLogging,
    "<LoggingEnabled><TargetBucket>logs</TargetBucket><TargetPrefix>p&amp;/</TargetPrefix><TargetGrants><Grant><Grantee>" +
      "<URI>http://acs.amazonaws.com/groups/global/AllUsers</URI></Grantee><Permission>READ</Permission></Grant></TargetGrants>" +
      "<TargetObjectKeyFormat><PartitionedPrefix><PartitionDateSource>EventTime</PartitionDateSource></PartitionedPrefix>" +
      "</TargetObjectKeyFormat></LoggingEnabled>",
  ),
  sample(
    notification,
    `<QueueConfiguration><Id>q</Id><Queue>${arn}</Queue><Event>s3:ObjectCreated:*</Event><Filter><S3Key><FilterRule><Name>prefix</Name><Value>a&amp;</Value></FilterRule></S3Key></Filter></QueueConfiguration>` +
      `<CloudFunctionConfiguration><CloudFunction>${arn}</CloudFunction><Event>s3:ObjectTagging:Put</Event></CloudFunctionConfiguration>`,
  ),
];

/** What is made of these bytes; undefined where they are refused. What is stored means the same, and is stored the same again. */
function judged(document: DocumentKind<unknown>, bytes: Buffer): unknown {
  let stored: ReturnType<typeof normalised<unknown>>;
  try {
    stored = normalised(document, bytes);
  } catch (error) {
    assert.ok(error instanceof S3Error && error.status === 400, String(error));
    return undefined;
  }
  assert.deepEqual(contentOf(document, { bytes: stored.bytes, modifiedMs: 0 }), stored.value);
  assert.deepEqual(normalised(document, stored.bytes), stored);
  return stored.value;
}

for (const { document, text } of samples) {
  test(`a ${document.kind} document is understood, and stored so that it says the same`, () => {
    assert.notEqual(judged(document, Buffer.from(text)), undefined);
  });

  test(`a ${document.kind} document that bytes were taken from, put into or changed in is refused or means something`, () => {
    const change = fc.record({
      at: fc.nat({ max: text.length }),
      taken: fc.nat({ max: 12 }),
      put: fc.oneof(
        fc.constantFrom(
          "",
          "<",
          ">",
          "</",
          "&",
          "*",
          "\0",
          "]]>",
          "<!--",
          "<a/>",
          "<a>",
          "\r\n",
          "%",
          "é",
          "\u{1f600}",
        ),
        fc.constantFrom(...(text.match(/<[^>]+>|[^<>]+/g) ?? [])),
        fc.string({ unit: "binary", maxLength: 4 }),
      ),
    });
    fc.assert(
      fc.property(fc.array(change, { minLength: 1, maxLength: 4 }), (changes) => {
        let spoiled = text;
        for (const { at, taken, put } of changes) spoiled = spoiled.slice(0, at) + put + spoiled.slice(at + taken);
        judged(document, Buffer.from(spoiled));
      }),
      { numRuns: 400 },
    );
  });

  test(`a ${document.kind} document with an element more, or a text where none belongs, is refused`, () => {
    const end = text.lastIndexOf("</");
    for (const more of ["<Other/>", "text"])
      assert.equal(judged(document, Buffer.from(text.slice(0, end) + more + text.slice(end))), undefined);
  });

  test(`a document of another root is no ${document.kind} document`, () => {
    for (const other of samples)
      if (other.document.root !== document.root)
        assert.equal(judged(document, Buffer.from(other.text)), undefined, other.text);
  });
}

test("random tags are read back from a document and from a header as they are, or refused by both", () => {
  const text = fc.string({ unit: "grapheme", maxLength: 6 });
  fc.assert(
    fc.property(fc.uniqueArray(fc.tuple(text, text), { maxLength: 5, selector: ([name]) => name }), (pairs) => {
      const header = pairs.map((pair) => pair.map(encodeURIComponent).join("=")).join("&");
      let fromHeader: [string, string][] | undefined;
      try {
        fromHeader = [...(taggingHeader(header) ?? [])];
      } catch (error) {
        assert.ok(error instanceof S3Error && error.status === 400);
      }
      const escaped = (one: string): string => `<![CDATA[${one.replaceAll("]]>", "]]]]><![CDATA[>")}]]>`;
      const inner = pairs.map(([k, v]) => `<Tag><Key>${escaped(k)}</Key><Value>${escaped(v)}</Value></Tag>`);
      const xml = `<Tagging><TagSet>${inner.join("")}</TagSet></Tagging>`;
      const value = judged(bucketTagging as DocumentKind<unknown>, Buffer.from(xml));
      if (fromHeader === undefined) return assert.equal(value, undefined);
      assert.deepEqual([...(value as Map<string, string>)], pairs);
      assert.deepEqual(
        fromHeader,
        pairs.toSorted(([a], [b]) => (a < b ? -1 : 1)),
      );
    }),
    { numRuns: 500 },
  );
});

test("a pattern matches exactly what a regular expression for it does", () => {
  const piece = fc.string({ unit: fc.constantFrom("a", "b", "."), maxLength: 4 });
  fc.assert(
    fc.property(piece, piece, fc.boolean(), piece, (head, tail, isWild, rest) => {
      const pattern = isWild ? `${head}*${tail}` : `${head}${tail}`;
      if (pattern === "") return;
      const quoted = pattern.replaceAll(".", "\\.").replace("*", ".*");
      for (const origin of [head + rest + tail, head + tail, rest, head + rest]) {
        const rules = [
          { id: undefined, origins: [pattern], methods: ["GET"], headers: [], exposed: [], maxAgeSeconds: undefined },
        ];
        const match = matchCors(rules, { origin, method: "GET", headers: [] });
        assert.equal(match !== undefined, new RegExp(`^${quoted}$`, "s").test(origin), `${pattern} ${origin}`);
      }
    }),
    { numRuns: 500 },
  );
});
