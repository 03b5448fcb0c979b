/** How a correction moves items between the raw and the corrected ranking. */

import type { Level, Row } from "./query";

/** A row of one ranking, and where it is in the other. */
export interface Moved {
  row: Row;
  /** Its rank in this list, from 1. */
  rank: number;
  /** Its rank in the other list; null if it is not among the rows that were compared. */
  other: number | null;
  /** Ranks that the correction lifts it (above 0) or lowers it; null if `other` is. */
  change: number | null;
}

export interface Comparison {
  raw: Moved[];
  corrected: Moved[];
  /** How many of the shown corrected rows are not among the shown raw rows. */
  fresh: number;
  /** Rows of each ranking that were compared. */
  depth: number;
}

type Identity = (row: Row) => string;

/** Compare two rankings, and keep the first `limit` rows of each. */
export function compare(
  raw: Row[],
  corrected: Row[],
  limit: number,
  among: Level = "image",
): Comparison {
  // A search of samples finds each by its best part, which the correction may change.
  const identity: Identity = (row) =>
    among === "sample" ? row.id : `${row.modality} ${row.part_id}`;
  const ranks = (rows: Row[]) => new Map(rows.map((row, i) => [identity(row), i + 1]));
  const [inRaw, inCorrected] = [ranks(raw), ranks(corrected)];
  const moved = (row: Row, rank: number, others: Map<string, number>, sign: number): Moved => {
    const other = others.get(identity(row)) ?? null;
    return { row, rank, other, change: other === null ? null : sign * (other - rank) };
  };
  const shown = corrected.slice(0, limit).map((row, i) => moved(row, i + 1, inRaw, 1));
  return {
    raw: raw.slice(0, limit).map((row, i) => moved(row, i + 1, inCorrected, -1)),
    corrected: shown,
    fresh: shown.filter(({ other }) => other === null || other > limit).length,
    depth: Math.max(raw.length, corrected.length),
  };
}

/** The movement in words, such as "up 3, from rank 8". */
export function inWords(item: Moved, list: "raw" | "corrected", depth: number): string {
  const preposition = list === "raw" ? "to" : "from";
  if (item.other === null) return `${preposition} beyond rank ${depth}`;
  if (item.change === 0) return "same rank";
  const steps = Math.abs(item.change ?? 0);
  return `${(item.change ?? 0) > 0 ? "up" : "down"} ${steps}, ${preposition} rank ${item.other}`;
}
