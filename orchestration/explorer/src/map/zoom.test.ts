import { expect, test } from "vitest";
import { afterKey, groupView, moved, readView, type View } from "./zoom";
import { viewText, wholeView, zoomed } from "./zoom";

const map = { x: [0, 1, 2, 4], y: [0, 1, 2, 8] };
const whole = wholeView(map);

const PAIRS = [
  ["+", "-"],
  ["-", "="],
  ["ArrowLeft", "ArrowRight"],
  ["ArrowUp", "ArrowDown"],
] as const;

test("all points are in the whole view, and none is needed", () => {
  expect(whole).toEqual([[0, 0], [4, 8]]);
  expect(wholeView({ x: [], y: [] })).toEqual([[0, 0], [1, 1]]);
});

test("a group's view holds most of the group", () => {
  expect(groupView(map, [0, 1, 2])).toEqual([[-0.4, -0.4], [2.4, 2.4]]);
  const [[left], [right]] = groupView(map, [3]);
  expect(left).toBeLessThan(right);
  const far = { x: [...Array(99).keys(), 1e6], y: Array<number>(100).fill(0) };
  expect(groupView(far, [...far.x.keys()])[1][0]).toBeLessThan(200);
});

test("keys zoom and move, and there is a way back", () => {
  for (const [there, back] of PAIRS) {
    const away = afterKey(there, whole, whole) as View;
    expect(viewText(away)).not.toBe(viewText(whole));
    const corners = (afterKey(back, away, whole) as View).flat();
    corners.forEach((value, i) => expect(value).toBeCloseTo(whole.flat()[i] as number));
  }
  expect(afterKey("0", moved(zoomed(whole, 0.1), 3, 3), whole)).toEqual(whole);
  expect(afterKey("ArrowUp", whole, whole)?.[0][1]).toBeGreaterThan(0);
  expect(afterKey("x", whole, whole)).toBeNull();
  const [[left], [right]] = zoomed(whole, 0);
  expect(left).toBeLessThan(right);
});

test("a view goes through an address", () => {
  expect(readView(viewText([[0, 0.5], [1.25, 2]]))).toEqual([[0, 0.5], [1.25, 2]]);
  for (const text of [null, "", "1,2,3", "1,2,1,3", "1,2,3,x", "0,0,1,1,1", "0,0,1,Infinity"]) {
    expect(readView(text)).toBeNull();
  }
});
