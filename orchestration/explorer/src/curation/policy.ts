/** Changes of the policy's limits, and what the server answers about the curation. */

export interface Problem {
  stage: string;
  outcome: "failed" | "unmeasured" | "rejected";
  rule: string;
  records: number;
  key: string | null;
  value: string | null;
  threshold: string | null;
  error: string | null;
}

/** A sample at an end of a signal, of those that the decisions keep. */
export interface Example {
  id: string;
  key: string;
  part_id: string | null;
  value: number;
}

export interface Histogram {
  name: string;
  rows: number;
  valid: number;
  edges: number[];
  counts: number[];
  min: number | null;
  max: number | null;
  lowest: Example[];
  highest: Example[];
}

/** The values of a text signal, the most frequent first; `more` others are not listed. */
export interface Bars {
  name: string;
  rows: number;
  valid: number;
  values: { value: string; samples: number; rejected: boolean }[];
  more: number;
}

/** The newest run of a stage; without a drop it made all drops together. */
export interface StageRun {
  stage: string;
  drop: string | null;
  published_at: string;
  seconds: number;
  input: number;
  kept: number;
  rejected: number;
  failed: number;
}

export interface Overview {
  kept: number;
  rejected: number;
  policy: string;
  problems: Problem[];
  runs: StageRun[];
  histograms: Histogram[];
  bars: Bars[];
}

export interface Alternative {
  total: number;
  before: number;
  after: number;
  rules: { rule: string; before: number; after: number }[];
  policy: string;
}

export type End = "min" | "max";
export type Limits = Record<End, number | null>;

/** Changes of limits by "signal.min" and "signal.max"; null removes the limit. */
export type Changes = ReadonlyMap<string, number | null>;

const SETTING = /^([a-z0-9_]+\.(?:min|max))=(.*)$/;

/** The changes of an address, which has them as `set`. What is none is left out. */
export function readChanges(params: URLSearchParams): Changes {
  const changes = new Map<string, number | null>();
  for (const setting of params.getAll("set")) {
    const [, name, text = ""] = SETTING.exec(setting) ?? [];
    const value = text === "" ? null : Number(text);
    if (name && (value === null || Number.isFinite(value))) changes.set(name, value);
  }
  return changes;
}

/** The changes as parameters of an address and of `GET /whatif`. */
export function writeChanges(changes: Changes): string {
  const params = new URLSearchParams();
  for (const [name, value] of changes) params.append("set", `${name}=${value ?? ""}`);
  return params.toString();
}

/** The limits of a signal under the changes. */
export function limitsOf(histogram: Histogram, changes: Changes): Limits {
  const limit = (end: End) => {
    const changed = changes.get(`${histogram.name}.${end}`);
    return changed === undefined ? histogram[end] : changed;
  };
  return { min: limit("min"), max: limit("max") };
}

/** The changes with one limit set. A limit that is that of the policy again is no change. */
export function withLimit(
  changes: Changes,
  histogram: Histogram,
  end: End,
  value: number | null,
): Changes {
  const next = new Map(changes);
  next.delete(`${histogram.name}.${end}`);
  if (value !== histogram[end]) next.set(`${histogram.name}.${end}`, value);
  return next;
}

/** The place of a value among the bins: 0 is the first edge, the number of bins the last. */
export function placeOf(edges: readonly number[], value: number): number {
  const last = edges.length - 1;
  if (value <= (edges[0] as number)) return 0;
  for (let i = 0; i < last; i++) {
    const [low, high] = [edges[i] as number, edges[i + 1] as number];
    if (value < high) return i + (value - low) / (high - low);
  }
  return last;
}

/** About how many values are within the limits, from the bins. */
export function within(histogram: Histogram, limits: Limits): number {
  const { edges, counts } = histogram;
  const low = limits.min === null ? 0 : placeOf(edges, limits.min);
  const high = limits.max === null ? counts.length : placeOf(edges, limits.max);
  const parts = counts.map(
    (count, i) => count * Math.max(0, Math.min(i + 1, high) - Math.max(i, low)),
  );
  return Math.round(parts.reduce((sum, part) => sum + part, 0));
}

/** A value of an edge, short enough to read and to write into a policy. */
export function rounded(value: number): number {
  return Number(value.toPrecision(4));
}

/** The headings of both ends of a signal: a limit at one end alone says which one is bad. */
export function endNames(limits: Limits): { lowest: string; highest: string } {
  if (limits.min !== null && limits.max === null) return { lowest: "Worst", highest: "Best" };
  if (limits.min === null && limits.max !== null) return { lowest: "Best", highest: "Worst" };
  return { lowest: "Lowest", highest: "Highest" };
}
