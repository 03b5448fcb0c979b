import { expect, test } from "vitest";
import { type Column, OPERATORS, toCondition } from "./filter";

const columns: Column[] = [
  { name: "image_width", kind: "number" },
  { name: "caption", kind: "text" },
  { name: "hub_text", kind: "flag" },
  { name: "drops", kind: "list" },
];

function where(column: string, operator: string, value = ""): string {
  return toCondition([{ column, operator, value }], columns);
}

test("tests of each kind of column", () => {
  expect(where("image_width", ">=", "256")).toBe("image_width >= 256");
  expect(where("image_width", "is null")).toBe("image_width IS NULL");
  expect(where("caption", "contains", "cat")).toBe("contains(caption, 'cat')");
  expect(where("hub_text", "is true")).toBe("hub_text");
  expect(where("hub_text", "is false")).toBe("NOT hub_text");
  expect(where("drops", "has", "first")).toBe("array_has(drops, 'first')");
});

test("quotes in values end no text", () => {
  expect(where("caption", "=", "it's' OR 1=1")).toBe("caption = 'it''s'' OR 1=1'");
});

test("a number must be one", () => {
  for (const value of ["", " ", "x", "1 OR 1=1", "Infinity"]) {
    expect(() => where("image_width", ">=", value)).toThrow("not a number");
  }
});

test("tests are joined, and unknown columns refused", () => {
  const tests = [
    { column: "image_width", operator: "<=", value: "1e3" },
    { column: "hub_text", operator: "is true", value: "" },
  ];
  expect(toCondition(tests, columns)).toBe("image_width <= 1000 AND hub_text");
  expect(() => where("x; DROP", "=", "1")).toThrow("no column");
});

test("every kind has operators", () => {
  expect(Object.values(OPERATORS).every((names) => names.length > 0)).toBe(true);
});
