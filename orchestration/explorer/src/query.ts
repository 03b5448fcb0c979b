/** A query, in the JSON form of `POST /search`, of the Python client and of links. */

export type Modality = "image" | "text" | "audio";
export const MODALITIES: readonly Modality[] = ["image", "text", "audio"];
export const LEVELS = ["image", "text", "audio", "any", "sample", "auto"] as const;
export type Level = (typeof LEVELS)[number];

/** Exactly one of text, image, audio (files in base64), vector and id. */
export interface Input {
  text?: string;
  image?: string;
  audio?: string;
  vector?: number[];
  modality?: string;
  id?: string;
  weight?: number;
}

export interface Query {
  inputs: Input[];
  among?: Level;
  correct?: string;
  where?: string;
  limit?: number;
  /** Whether each part is ranked by its best window or tile. */
  moments?: boolean;
  [other: string]: unknown;
}

export interface Row {
  id: string;
  modality: Modality;
  part_id: string;
  rank: number;
  _score: number;
  _raw_score: number;
  _bias: number;
  _calibrated?: number;
  key: string;
  caption: string | null;
  /** The best window of a recording, in seconds, if moments were searched. */
  _start?: number | null;
  _end?: number | null;
  /** The best tile of an image: left, top, right and bottom as shares of width and height. */
  _box?: number[] | null;
}

export interface Answer {
  release: number;
  complete: boolean;
  notes: string[];
  recall: number;
  rows: Row[];
}

const MOST_LINK = 100_000; // characters: longer addresses do not survive being sent around
const COLUMNS = ["key", "caption", "part_id"];
const DEPTH = 100; // rows of each ranking that are compared, whatever the limit

export function isModality(value: unknown): value is Modality {
  return MODALITIES.includes(value as Modality);
}

/** The text of a query in an address; null if it would be too long. */
export function toLink(query: Query): string | null {
  const text = encodeURIComponent(JSON.stringify(query));
  return text.length > MOST_LINK ? null : text;
}

/** The query of an address. Throws an error if the text is none. */
export function fromLink(text: string): Query {
  const value: unknown = JSON.parse(text);
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new Error("The address holds no query.");
  }
  const inputs = (value as Query).inputs;
  if (!Array.isArray(inputs) || !inputs.every((each) => typeof each === "object" && each)) {
    throw new Error("The query of the address has no inputs.");
  }
  return value as Query;
}

/** The queries of both rankings, which differ in the correction alone. */
export function bothRankings(query: Query): { corrected: Query; raw: Query } {
  const limit = Math.max(query.limit ?? 10, DEPTH);
  const { correct, ...rest } = query;
  const deep = { ...rest, select: COLUMNS, limit };
  return {
    corrected: { ...deep, correct: correct === "none" ? "auto" : (correct ?? "auto") },
    raw: { ...deep, correct: "none" },
  };
}

/** The query with one more input, such as "more like this" (weight above 0) or "less". */
export function withInput(query: Query, input: Input): Query {
  const others = query.inputs.filter((each) => input.id === undefined || each.id !== input.id);
  return { ...query, inputs: [...others, input] };
}

/** The query with another text in the place of its first one; null if it has none. */
export function changedText(query: Query, text: string): Query | null {
  const first = query.inputs.findIndex((each) => each.text !== undefined && (each.weight ?? 1) > 0);
  if (first < 0) return null;
  const inputs = query.inputs.map((each, n) => (n === first ? { ...each, text } : each));
  return { ...query, inputs };
}

export function inputKind(input: Input): "text" | "image" | "audio" | "vector" | "id" {
  for (const kind of ["text", "image", "audio", "vector"] as const) {
    if (input[kind] !== undefined) return kind;
  }
  return "id";
}
