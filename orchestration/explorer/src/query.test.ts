import { expect, test } from "vitest";
import { bothRankings, changedText, fromLink, inputKind, type Query } from "./query";
import { toLink, withInput } from "./query";

const query: Query = {
  inputs: [{ text: "a cat & a dog? #1 %20" }, { id: "3f", weight: -0.5 }],
  among: "any",
  where: "caption = 'it''s ünïcode 猫'",
  limit: 20,
  hybrid: { text: null, weight: 0.5 },
};

test("a link holds the whole query, also fields that the page has no control for", () => {
  const params = new URLSearchParams(`q=${toLink(query)}`);
  expect(fromLink(params.get("q") ?? "")).toEqual(query);
});

test("a query with a large file has no link", () => {
  expect(toLink({ inputs: [{ image: "A".repeat(200_000) }] })).toBeNull();
});

test.each(["", "{", "[]", "null", '"text"', "{}", '{"inputs": "x"}', '{"inputs": [null]}'])(
  "the address %j holds no query",
  (text) => {
    expect(() => fromLink(text)).toThrow();
  },
);

test("a suggestion takes the place of the first text that is not negative", () => {
  const negative = { text: "a dog", weight: -0.3 };
  const mixed = { ...query, inputs: [negative, ...query.inputs] };
  const changed = changedText(mixed, "a black cat");
  expect(changed?.inputs).toEqual([negative, { text: "a black cat" }, query.inputs[1]]);
  expect(changed?.where).toBe(query.where);
  expect(changedText({ inputs: [negative, { id: "3f" }] }, "a cat")).toBeNull();
});

test("both rankings differ in the correction alone", () => {
  const { raw, corrected } = bothRankings(query);
  expect({ ...raw, correct: "" }).toEqual({ ...corrected, correct: "" });
  expect([raw.correct, corrected.correct]).toEqual(["none", "auto"]);
  expect(raw.limit).toBe(100);
  expect(bothRankings({ ...query, correct: "csls", limit: 500 }).corrected).toMatchObject({
    correct: "csls",
    limit: 500,
  });
  expect(bothRankings({ ...query, correct: "none" }).corrected.correct).toBe("auto");
});

test("feedback on an item replaces the feedback on it before", () => {
  const liked = withInput(query, { id: "3f", weight: 1 });
  expect(liked.inputs).toEqual([query.inputs[0], { id: "3f", weight: 1 }]);
  expect(withInput(liked, { id: "40", weight: 1 }).inputs).toHaveLength(3);
});

test("kinds of inputs", () => {
  const kinds = [{ text: "" }, { image: "A" }, { audio: "A" }, { vector: [1] }, { id: "3" }];
  expect(kinds.map(inputKind)).toEqual(["text", "image", "audio", "vector", "id"]);
});
