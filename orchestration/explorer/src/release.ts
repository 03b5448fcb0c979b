/** The release that the server serves. */

import { createContext } from "preact";
import { useContext } from "preact/hooks";
import type { Column } from "./filter";
import { isModality, type Level, type Modality } from "./query";
import { getJson } from "./server";

export interface Direction {
  query: Modality;
  gallery: Modality;
  method: string;
  reason: string;
}

export interface Release {
  number: number;
  created_at: string;
  space: string;
  dim: number;
  directions: Record<string, Direction>;
  /** The galleries of which windows or tiles can be searched. */
  with_moments: Modality[];
  /** The columns that a condition can name, by gallery. */
  columns: Partial<Record<Modality, Column[]>>;
}

export async function readRelease(signal: AbortSignal): Promise<Release> {
  const release = await getJson<Omit<Release, "columns">>("/release", signal);
  return { ...release, columns: await getJson<Release["columns"]>("/columns", signal) };
}

const Context = createContext<Release | null>(null);
export const ReleaseContext = Context.Provider;

/** The release. Views are shown only where there is one. */
export function useRelease(): Release {
  const release = useContext(Context);
  if (!release) throw new Error("no release has been read");
  return release;
}

export function galleries(release: Release): Modality[] {
  return Object.keys(release.columns) as Modality[];
}

/** Whether a search at this level can rank by moments. `auto` decides that itself. */
export function canSearchMoments(release: Release, level: Level): boolean {
  const known = release.with_moments;
  if (isModality(level)) return known.includes(level);
  return level !== "auto" && known.length > 0;
}

/** The columns of all galleries, each once. */
export function filterColumns(release: Release): Column[] {
  const columns = new Map<string, Column>();
  for (const gallery of Object.values(release.columns)) {
    for (const column of gallery) columns.set(column.name, column);
  }
  return [...columns.values()].sort((a, b) => a.name.localeCompare(b.name));
}
