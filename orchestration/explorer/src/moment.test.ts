import { expect, test } from "vitest";
import { momentInWords, tileOf, windowOf } from "./moment";

test("a window of a recording", () => {
  const row = { _start: 2, _end: 4.25 };
  expect(windowOf(row)).toEqual([2, 4.25]);
  expect(tileOf(row)).toBeNull();
  expect(momentInWords(row)).toBe("best from 2.0 to 4.3 s");
});

test("a tile of an image", () => {
  const row = { _start: null, _end: null, _box: [0.5, 0, 1, 0.25] };
  expect(tileOf(row)).toEqual([0.5, 0, 0.5, 0.25]);
  expect(windowOf(row)).toBeNull();
  expect(momentInWords(row)).toBe("best tile: 50% by 25%, 50% from the left, 0% from the top");
});

test("a part that was searched as a whole has no moment", () => {
  expect(momentInWords({})).toBe("");
  expect(tileOf({ _box: [] })).toBeNull();
});
