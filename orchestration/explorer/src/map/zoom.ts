/** Which part of the map is shown: a rectangle in the coordinates of the map. */

import type { CorpusMap, Point } from "./points";

/** The lower left and the upper right corner. */
export type View = readonly [Point, Point];

type Places = Pick<CorpusMap, "x" | "y">;

/** Of the zoom: how many times as long the sides become. */
export const STEP = 1.5;
const MARGIN = 0.2; // of a group's size, on each side
const TAIL = 0.05; // of a group's points that may be outside, on each side
const SMALLEST = 1e-6; // of a side

/** The view of all points. */
export function wholeView(map: Places): View {
  const [left, right] = range(map.x);
  const [bottom, top] = range(map.y);
  return [
    [left, bottom],
    [right, top],
  ];
}

/** The view of most of a group, by the indices of its points. */
export function groupView(map: Places, indices: readonly number[]): View {
  const [left, right] = middle(indices.map((i) => map.x[i] as number));
  const [bottom, top] = middle(indices.map((i) => map.y[i] as number));
  return [
    [left, bottom],
    [right, top],
  ];
}

/** The view with sides that are `factor` times as long, around the same centre. */
export function zoomed([[left, bottom], [right, top]]: View, factor: number): View {
  const [x, y] = [(left + right) / 2, (bottom + top) / 2];
  const [dx, dy] = [right - left, top - bottom].map((side) =>
    Math.max(SMALLEST, (side * factor) / 2),
  ) as [number, number];
  return [
    [x - dx, y - dy],
    [x + dx, y + dy],
  ];
}

/** The view moved by shares of its sides: right and up. */
export function moved([[left, bottom], [right, top]]: View, across: number, up: number): View {
  const [dx, dy] = [across * (right - left), up * (top - bottom)];
  return [
    [left + dx, bottom + dy],
    [right + dx, top + dy],
  ];
}

/** The view that a key leads to, or null if the key is none of the map's. */
export function afterKey(key: string, view: View, whole: View): View | null {
  const step = 0.2;
  switch (key) {
    case "+":
    case "=":
      return zoomed(view, 1 / STEP);
    case "-":
      return zoomed(view, STEP);
    case "0":
      return whole;
    case "ArrowLeft":
      return moved(view, -step, 0);
    case "ArrowRight":
      return moved(view, step, 0);
    case "ArrowUp":
      return moved(view, 0, step);
    case "ArrowDown":
      return moved(view, 0, -step);
    default:
      return null;
  }
}

/** A view as text for an address, and back. */
export function viewText(view: View): string {
  return view.flat().map((value) => Number(value.toPrecision(6))).join(",");
}

export function readView(text: string | null): View | null {
  if (!text) return null;
  const [left, bottom, right, top, ...rest] = text.split(",").map(Number);
  const isView =
    rest.length === 0 &&
    [left, bottom, right, top].every(Number.isFinite) &&
    (left as number) < (right as number) &&
    (bottom as number) < (top as number);
  if (!isView) return null;
  return [
    [left as number, bottom as number],
    [right as number, top as number],
  ];
}

function middle(values: readonly number[]): Point {
  const sorted = [...values].sort((a, b) => a - b);
  const cut = Math.floor(TAIL * sorted.length);
  const [low, high] = range(sorted.slice(cut, sorted.length - cut));
  const margin = MARGIN * Math.max(high - low, SMALLEST);
  return [low - margin, high + margin];
}

function range(values: readonly number[]): Point {
  let [low, high] = [Infinity, -Infinity];
  for (const value of values) {
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  return low <= high ? [low, high] : [0, 1];
}
