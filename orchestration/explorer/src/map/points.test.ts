import { expect, test } from "vitest";
import {
  Frame,
  greatestHubs,
  groupColours,
  heat,
  hubness,
  inside,
  lassoText,
  type Point,
  readLasso,
} from "./points";
import { wholeView } from "./zoom";

const map = { x: [0, 1, 2, 0.5], y: [0, 1, 2, 1.5] };

test("places go to the canvas and back", () => {
  const frame = new Frame(wholeView(map), 300, 200);
  for (let i = 0; i < map.x.length; i++) {
    const [x, y] = frame.toCanvas(map.x[i] as number, map.y[i] as number);
    expect(x).toBeGreaterThanOrEqual(0);
    expect(x).toBeLessThanOrEqual(300);
    expect(y).toBeGreaterThanOrEqual(0);
    expect(y).toBeLessThanOrEqual(200);
    const [back, up] = frame.toMap(x, y);
    expect(back).toBeCloseTo(map.x[i] as number);
    expect(up).toBeCloseTo(map.y[i] as number);
  }
  expect(frame.toCanvas(0, 2)[1]).toBeLessThan(frame.toCanvas(0, 0)[1]);
});

test("one point, or none, has a place", () => {
  for (const few of [{ x: [3], y: [4] }, { x: [], y: [] }]) {
    expect(new Frame(wholeView(few), 100, 100).toCanvas(3, 4).every(Number.isFinite)).toBe(true);
  }
});

test("a lasso holds the points inside", () => {
  const square: Point[] = [[-0.1, -0.1], [1.1, -0.1], [1.1, 1.1], [-0.1, 1.1]];
  expect(inside(map, square)).toEqual([0, 1]);
  expect(inside(map, square.slice(0, 2))).toEqual([]);
  const arrow: Point[] = [[0, -1], [3, 3], [0, 1], [-1, 3]]; // not convex
  expect(inside(map, arrow)).toEqual([0, 1, 2]);
});

test("a lasso goes through an address", () => {
  const corners: Point[] = [[0, 0.12345], [1, -2], [3, 4]];
  expect(readLasso(lassoText(corners))).toEqual([[0, 0.1235], [1, -2], [3, 4]]);
  const long = Array.from({ length: 1000 }, (_, i): Point => [i, i]);
  expect(readLasso(lassoText(long)).length).toBeLessThanOrEqual(60);
  for (const text of [null, "", "1,2", "1,2;3,4", "1,2;x,3;4,5", "1,2;3;4,5"]) {
    expect(readLasso(text)).toEqual([]);
  }
});

test("hubs are the points that most queries find", () => {
  expect(greatestHubs([0, 5, 2, 9], 2)).toEqual([3, 1]);
  expect(greatestHubs([0, 0], 2)).toEqual([]);
  expect(hubness([0, 0, 2, 8])).toEqual({ greatest: 8, never: 0.5, top: 0.8 });
  expect(hubness([])).toEqual({ greatest: 0, never: 0, top: 0 });
  expect([heat(0, 9), heat(9, 9), heat(0, 0)]).toEqual([0, 1, 0]);
});

test("the smallest groups share a colour", () => {
  const values = ["a", "a", null, ..."bcdefghij".split("")];
  const { of, labels, legend } = groupColours(values);
  expect(labels.slice(0, 3)).toEqual(["a", "a", "none"]);
  expect(labels.at(-1)).toBe("others");
  expect(of[0]).toBe(of[1]);
  expect(legend[0]).toMatchObject({ label: "a", count: 2 });
  expect(legend.at(-1)?.label).toBe("others");
  expect(legend.reduce((sum, each) => sum + each.count, 0)).toBe(values.length);
});
