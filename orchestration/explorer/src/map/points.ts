/** Points of a map: their places on the canvas, their colours, and which a lasso holds. */

import type { Modality } from "../query";
import type { View } from "./zoom";

/** What `GET /map` answers. All lists have one value a point. */
export interface CorpusMap {
  release: number;
  gallery: Modality;
  queries: Modality;
  method: string;
  rows: number;
  bank: number;
  variance: [number, number];
  part_ids: string[];
  ids: string[];
  keys: string[];
  drops: string[];
  languages: (string | null)[];
  /** Numbers of clusters, from 0. */
  clusters: number[];
  /** Words of the captions of each cluster; empty where none is typical. */
  cluster_names: string[];
  x: number[];
  y: number[];
  raw: number[];
  corrected: number[];
}

export const COLOURINGS = ["occurrence", "cluster", "drop", "language"] as const;
export type Colouring = (typeof COLOURINGS)[number];
export type Point = [number, number];

/** Okabe and Ito's colours, which colour-blind people can tell apart; then one for all others. */
const PALETTE = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#b3a100"];
const OTHERS = "#8a959b";
const OTHER = "others";
const MOST_CORNERS = 60; // of a lasso in an address

/** How places of a view become places on a canvas, with the same scale on both axes. */
export class Frame {
  private readonly scale: number;
  private readonly left: number;
  private readonly top: number;

  constructor(
    [[low, bottom], [high, up]]: View,
    width: number,
    private readonly height: number,
  ) {
    const margin = 12;
    this.scale = Math.min(
      (width - 2 * margin) / (high - low || 1),
      (height - 2 * margin) / (up - bottom || 1),
    );
    this.left = (width - this.scale * (high - low)) / 2 - this.scale * low;
    this.top = (height - this.scale * (up - bottom)) / 2 - this.scale * bottom;
  }

  toCanvas(x: number, y: number): Point {
    return [this.left + this.scale * x, this.height - (this.top + this.scale * y)];
  }

  toMap(x: number, y: number): Point {
    return [(x - this.left) / this.scale, (this.height - y - this.top) / this.scale];
  }
}

/** The indices of the points inside a polygon, by counting crossings. */
export function inside(map: Pick<CorpusMap, "x" | "y">, corners: readonly Point[]): number[] {
  const found: number[] = [];
  if (corners.length < 3) return found;
  for (let i = 0; i < map.x.length; i++) {
    if (contains(corners, map.x[i] as number, map.y[i] as number)) found.push(i);
  }
  return found;
}

function contains(corners: readonly Point[], x: number, y: number): boolean {
  let isInside = false;
  let [px, py] = corners[corners.length - 1] as Point;
  for (const [cx, cy] of corners) {
    if (cy > y !== py > y && x < ((px - cx) * (y - cy)) / (py - cy) + cx) isInside = !isInside;
    [px, py] = [cx, cy];
  }
  return isInside;
}

/** A lasso as text for an address, and back. Long ones lose corners. */
export function lassoText(corners: readonly Point[]): string {
  const step = Math.max(1, Math.ceil(corners.length / MOST_CORNERS));
  const kept = corners.filter((_, i) => i % step === 0);
  return kept.map(([x, y]) => `${x.toFixed(4)},${y.toFixed(4)}`).join(";");
}

export function readLasso(text: string | null): Point[] {
  const corners = (text ?? "").split(";").map((corner) => corner.split(",").map(Number));
  const isLasso = corners.every((each) => each.length === 2 && each.every(Number.isFinite));
  return isLasso && corners.length >= 3 ? (corners as Point[]) : [];
}

/** The indices of the points that most queries find, most first. */
export function greatestHubs(counts: readonly number[], most: number): number[] {
  return counts
    .map((_, i) => i)
    .filter((i) => (counts[i] as number) > 0)
    .sort((a, b) => (counts[b] as number) - (counts[a] as number))
    .slice(0, most);
}

/** The values that points are grouped by; null: they are not. */
export function groupValues(map: CorpusMap, colouring: Colouring): (string | null)[] | null {
  if (colouring === "occurrence") return null;
  if (colouring === "drop") return map.drops;
  if (colouring === "language") return map.languages;
  return map.clusters.map((number) => {
    const words = map.cluster_names[number];
    return `cluster ${number + 1}${words ? `: ${words}` : ""}`;
  });
}

export interface Colours {
  of: string[];
  /** The label of each point's entry in the legend. */
  labels: string[];
  legend: { label: string; colour: string; count: number }[];
}

/** A colour for each group of a category; the smallest groups share one. */
export function groupColours(values: readonly (string | null)[]): Colours {
  const counts = new Map<string, number>();
  for (const value of values) counts.set(value ?? "none", (counts.get(value ?? "none") ?? 0) + 1);
  const ordered = [...counts].sort((a, b) => b[1] - a[1]);
  const colours = new Map(ordered.map(([name], i) => [name, PALETTE[i] ?? OTHERS]));
  const legend = ordered
    .slice(0, PALETTE.length)
    .map(([label, count]) => ({ label, count, colour: colours.get(label) ?? OTHERS }));
  const rest = ordered.slice(PALETTE.length).reduce((sum, [, count]) => sum + count, 0);
  if (rest) legend.push({ label: OTHER, count: rest, colour: OTHERS });
  const listed = new Set(legend.map((each) => each.label));
  return {
    of: values.map((value) => colours.get(value ?? "none") ?? OTHERS),
    labels: values.map((value) => (listed.has(value ?? "none") ? (value ?? "none") : OTHER)),
    legend,
  };
}

/** A share from 0 to 1 of the greatest count of both rankings, so that they can be compared. */
export function heat(count: number, greatest: number): number {
  return greatest > 0 ? Math.sqrt(count / greatest) : 0;
}

export interface Hubness {
  greatest: number;
  /** The share of the points that no query finds. */
  never: number;
  /** The share of all finds that the 1% of points that are found most have. */
  top: number;
}

export function hubness(counts: readonly number[]): Hubness {
  const sorted = [...counts].sort((a, b) => b - a);
  const total = sorted.reduce((sum, count) => sum + count, 0);
  const first = sorted.slice(0, Math.max(1, Math.round(sorted.length / 100)));
  return {
    greatest: sorted[0] ?? 0,
    never: sorted.filter((count) => count === 0).length / (sorted.length || 1),
    top: first.reduce((sum, count) => sum + count, 0) / (total || 1),
  };
}
