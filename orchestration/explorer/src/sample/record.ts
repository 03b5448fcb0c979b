/** What `GET /samples/{id}` and `GET /samples/{id}/record` answer. */

import type { Modality } from "../query";
import { getJson } from "../server";

export interface HubShare {
  query: Modality;
  occurrence: number;
  mean: number;
  hub: boolean;
  bias: number;
}

export interface Part {
  modality: Modality;
  part_id: string;
  hubs: HubShare[];
}

export interface Delivery {
  drop: string;
  source: string;
  key: string;
  keep: boolean | null;
  rule: string | null;
  value: string | null;
  threshold: string | null;
  ledger: {
    stage: string;
    outcome: string;
    rule: string;
    value: string | null;
    threshold: string | null;
    error: string | null;
  }[];
}

export interface SampleRecord {
  id: string;
  parts: Part[];
  deliveries: Delivery[];
  signals: Record<string, number | string>;
  duplicates: {
    id: string;
    drop: string;
    kind: string;
    representative: boolean;
    similarity: number;
  }[];
  releases: { release: number; created_at: string; modalities: Modality[] }[];
}

export interface Sample {
  key: string;
  text: string | null;
  image_id: string | null;
  audio_id: string | null;
  meta: string | null;
}

export async function readSample(
  id: string,
  signal: AbortSignal,
): Promise<{ sample: Sample; record: SampleRecord }> {
  const path = `/samples/${encodeURIComponent(id)}`;
  const [sample, record] = await Promise.all([
    getJson<Sample>(path, signal),
    getJson<SampleRecord>(`${path}/record`, signal),
  ]);
  return { sample, record };
}

/** A verdict in words: what rejected the sample, with its value and the rule's limit. */
export function verdict(delivery: Pick<Delivery, "keep" | "rule" | "value" | "threshold">): string {
  if (delivery.keep === null) return "not decided yet";
  if (delivery.keep) return "kept";
  const value = delivery.value === null ? "" : `: ${delivery.value}`;
  const limit = delivery.threshold === null ? "" : `, the limit is ${delivery.threshold}`;
  return `rejected by ${delivery.rule}${value}${limit}`;
}
