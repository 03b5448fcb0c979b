/** The moment by which a result was ranked: a window of a recording or a tile of an image. */

import type { Row } from "./query";

export type Moment = Pick<Row, "_start" | "_end" | "_box">;

/** Left, top, width and height of a tile, as shares of the picture; null if the row has none. */
export function tileOf(row: Moment): [number, number, number, number] | null {
  if (row._box?.length !== 4) return null;
  const [left, top, right, bottom] = row._box as [number, number, number, number];
  return [left, top, right - left, bottom - top];
}

/** Start and end of a window in seconds; null if the row has none. */
export function windowOf(row: Moment): [number, number] | null {
  const { _start: start, _end: end } = row;
  return typeof start === "number" && typeof end === "number" ? [start, end] : null;
}

/** The moment in words, such as "best from 2.0 to 4.0 s"; empty if the row has none. */
export function momentInWords(row: Moment): string {
  const span = windowOf(row);
  if (span) return `best from ${span[0].toFixed(1)} to ${span[1].toFixed(1)} s`;
  const tile = tileOf(row);
  if (!tile) return "";
  const [left, top, width, height] = tile.map((share) => Math.round(100 * share)) as number[];
  return `best tile: ${width}% by ${height}%, ${left}% from the left, ${top}% from the top`;
}
