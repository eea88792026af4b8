import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import { HoldfastError } from "../core/errors.ts";
import { limits } from "../core/limits.ts";
import { errorDocument, S3Error, toS3Error } from "./errors.ts";
import { childText, childrenOf, escapeXml, parseXml, readXml, requiredText, writeXml, xmlDocument } from "./xml.ts";
import type { XmlElement } from "./xml.ts";

const malformed = (error: unknown) => error instanceof S3Error && error.code === "MalformedXML";
const read = (text: string): XmlElement => readXml(Buffer.from(text));

test("a request body becomes a tree", () => {
  const body = `<?xml version="1.0" encoding="UTF-8"?>
    <Delete xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><!-- no -->
      <Quiet>true</Quiet>
      <Object><Key>a &amp; b&#x1;<![CDATA[<c>]]></Key></Object><s3:Object xmlns:s3="x"><Key> </Key></s3:Object>
    </Delete>`;
  const root = parseXml(Buffer.from(body), "Delete");
  assert.equal(childText(root, "Quiet"), "true");
  assert.equal(childText(root, "Nothing"), undefined);
  assert.deepEqual(
    childrenOf(root, "Object").map((each) => requiredText(each, "Key")),
    ["a & b\u0001<c>", " "],
  );
  assert.throws(() => requiredText(root, "Nothing"), malformed);
  assert.throws(() => childText(root, "Object"), malformed);
  assert.throws(() => parseXml(Buffer.from(body), "Tagging"), malformed);
});

test("what is refused", () => {
  const deep = "<a>".repeat(limits.xmlDepthMax + 1) + "</a>".repeat(limits.xmlDepthMax + 1);
  for (const text of [
    "",
    "text",
    "<a>",
    "<a></b>",
    "<a/><b/>",
    "<a>&lol;</a>",
    "<a>&#0;</a>",
    "<a x=1/>",
    '<!DOCTYPE a [<!ENTITY lol "lol">]><a>&lol;</a>',
    "<!DOCTYPE a><a/>",
    deep,
    `<a>${"<b/>".repeat(limits.xmlElementsMax)}</a>`,
  ])
    assert.throws(() => read(text), malformed, text.slice(0, 60));
  assert.throws(() => readXml(Buffer.from([0x3c, 0x61, 0x3e, 0xff])), malformed);
  assert.throws(() => readXml(Buffer.alloc(11), 10), malformed);
});

const name = fc.stringMatching(/^[A-Za-z][A-Za-z0-9]{0,5}$/);
const text = fc
  .oneof(
    fc.string({ unit: "binary", maxLength: 8 }),
    fc.constantFrom("&", "<", "]]>", "\r\n", '"', "\u0085", "\u2028", "\u0001"),
  )
  .filter((each) => each.isWellFormed() && !each.includes("\0") && !/[\ufffe\uffff]/.test(each));
const leaf: fc.Arbitrary<XmlElement> = fc.record({ name, text, children: fc.constant([]) }, { noNullPrototype: true });
const tree = fc.record(
  { name, text: fc.constant(""), children: fc.array(leaf, { minLength: 1, maxLength: 4 }) },
  { noNullPrototype: true },
);

test("what is written is read back", () => {
  fc.assert(
    fc.property(fc.oneof(leaf, tree), (element) => {
      assert.deepEqual(read(writeXml(element)), element);
      const inDocument = read(xmlDocument("Root", writeXml(element)));
      assert.deepEqual(inDocument.children, [element]);
    }),
    { numRuns: 500 },
  );
  assert.equal(escapeXml(`a<b>&"\u0001\r\u007f`), "a&lt;b&gt;&amp;&quot;&#x1;&#xD;&#x7F;");
});

test("any text is read or refused", () => {
  const piece = fc.oneof(
    fc.string({ maxLength: 5 }),
    fc.constantFrom("<a>", "</a>", "<", ">", "&", "&#x1;", "<![CDATA[", "]]>", "<?", "<!--"),
  );
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 12 }), (parts) => {
      try {
        read(parts.join(""));
      } catch (error) {
        if (!malformed(error)) throw error;
      }
    }),
    { numRuns: 1_000 },
  );
});

test("errors have S3's names and documents, and nothing from inside leaks", () => {
  const missing = toS3Error(new HoldfastError("no_such_key", "Gone.", { details: { key: "a<b", Other: 1 } }));
  assert.equal(missing.code, "NoSuchKey");
  assert.equal(missing.status, 404);
  const xml = errorDocument({
    code: missing.code,
    message: missing.message,
    details: missing.details,
    resource: "/b/a<b",
    requestId: "7",
  });
  const root = parseXml(Buffer.from(xml), "Error");
  assert.deepEqual(
    root.children.map((each) => [each.name, each.text]),
    [
      ["Code", "NoSuchKey"],
      ["Message", "Gone."],
      ["Key", "a<b"],
      ["Other", "1"],
      ["Resource", "/b/a<b"],
      ["RequestId", "7"],
    ],
  );
  for (const secret of [new Error("secret"), "secret", new HoldfastError("corrupt_chunk", "secret"), undefined]) {
    const { code, message, status } = toS3Error(secret);
    assert.deepEqual([code, status, message.includes("secret")], ["InternalError", 500, false]);
  }
  const own = new S3Error("SlowDown", "Later.");
  assert.equal(toS3Error(own), own);
});
