import { expect, test } from "vitest";
import {
  endNames,
  type Histogram,
  limitsOf,
  placeOf,
  readChanges,
  rounded,
  withLimit,
  within,
  writeChanges,
} from "./policy";

const histogram: Histogram = {
  name: "image_width",
  rows: 12,
  valid: 10,
  edges: [0, 10, 20, 40],
  counts: [2, 3, 5],
  min: 5,
  max: null,
  lowest: [],
  highest: [],
};

test("changes go through an address", () => {
  const changes = new Map([
    ["image_width.min", 12.5],
    ["image_width.max", null],
  ]);
  expect(readChanges(new URLSearchParams(writeChanges(changes)))).toEqual(changes);
  const hostile = "set=x.min=1e400&set=concepts.names=/etc&set=a.min=x&set=&set=A.min=1";
  expect(readChanges(new URLSearchParams(hostile)).size).toBe(0);
});

test("a changed limit is in force, and one that is changed back is no change", () => {
  expect(limitsOf(histogram, new Map())).toEqual({ min: 5, max: null });
  const raised = withLimit(new Map(), histogram, "min", 10);
  expect(limitsOf(histogram, raised)).toEqual({ min: 10, max: null });
  const removed = withLimit(raised, histogram, "min", null);
  expect(limitsOf(histogram, removed).min).toBeNull();
  expect(withLimit(removed, histogram, "min", 5).size).toBe(0);
});

test("values have places among the bins, of whatever width", () => {
  expect([-1, 0, 5, 10, 30, 40, 99].map((value) => placeOf(histogram.edges, value))).toEqual([
    0, 0, 0.5, 1, 2.5, 3, 3,
  ]);
});

test("the values within the limits are estimated from the bins", () => {
  expect(within(histogram, { min: null, max: null })).toBe(10);
  expect(within(histogram, { min: 10, max: null })).toBe(8);
  expect(within(histogram, { min: 5, max: 20 })).toBe(4);
  expect(within(histogram, { min: 50, max: null })).toBe(0);
});

test("edges are rounded", () => {
  expect(rounded(0.123456)).toBe(0.1235);
  expect(rounded(1233.5)).toBe(1234);
});

test("a limit at one end alone says which samples are bad", () => {
  expect(endNames({ min: 1, max: null })).toEqual({ lowest: "Worst", highest: "Best" });
  expect(endNames({ min: null, max: 1 })).toEqual({ lowest: "Best", highest: "Worst" });
  expect(endNames({ min: 1, max: 2 })).toEqual({ lowest: "Lowest", highest: "Highest" });
});
