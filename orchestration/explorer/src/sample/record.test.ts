import { expect, test } from "vitest";
import { verdict } from "./record";

test("verdicts name the rule, the value and the limit", () => {
  const none = { rule: null, value: null, threshold: null };
  expect(verdict({ keep: null, ...none })).toBe("not decided yet");
  expect(verdict({ keep: true, ...none })).toBe("kept");
  const rule = { keep: false, rule: "image_min_side.min" };
  expect(verdict({ ...rule, value: "60", threshold: "64" })).toBe(
    "rejected by image_min_side.min: 60, the limit is 64",
  );
  expect(verdict({ ...rule, value: null, threshold: null })).toBe(
    "rejected by image_min_side.min",
  );
});
