import { expect, test } from "vitest";
import { asCurl, asPython } from "./code";

const server = "http://localhost:8000";

test("a simple query in the words of the client", () => {
  const query = { inputs: [{ text: 'a "cat"' }], among: "image" as const, limit: 20 };
  expect(asPython(query, server)).toBe(
    [
      "import isotrope",
      "",
      'corpus = isotrope.connect("http://localhost:8000")',
      'hits = corpus.search(text="a \\"cat\\"").among("image").limit(20)',
      "hits.show()",
      "",
    ].join("\n"),
  );
});

test("moments are a call without arguments", () => {
  const query = { inputs: [{ text: "a" }], among: "audio" as const, moments: true };
  expect(asPython(query, server)).toContain('search(text="a").among("audio").moments()\n');
  expect(asPython({ ...query, moments: false }, server)).not.toContain("moments");
});

test("several inputs are the same JSON", () => {
  const query = { inputs: [{ text: "a" }, { id: "3f", weight: -0.5 }] };
  const code = asPython(query, server);
  expect(code).toContain("from store.search.query import Query");
  expect(code).toContain(JSON.stringify(JSON.stringify(query)));
});

test("a command for a shell", () => {
  const query = { inputs: [{ text: "it's; $(rm)" }] };
  const command = asCurl(query, server, true);
  expect(command).toContain(`-d '{"inputs":[{"text":"it'\\''s; $(rm)"}]}'`);
  expect(command).toContain("$ISOTROPE_API_KEY");
  expect(asCurl(query, server, false)).not.toContain("authorization");
});

test("large files are named, not written out", () => {
  const query = { inputs: [{ image: "A".repeat(1000) }] };
  expect(asCurl(query, server, false)).toContain("<base64 of the image>");
  expect(asPython(query, server)).toContain('image="path of the file"');
});
