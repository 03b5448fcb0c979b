/** An export as the server answers it. */

import { deleteJson, getJson, postJson } from "../server";
import type { Query } from "../query";

export const FORMATS = ["webdataset", "parquet", "lance"] as const;
export type Format = (typeof FORMATS)[number];

export interface Job {
  id: string;
  state: "running" | "done" | "failed" | "cancelled";
  format: Format;
  samples: number;
  bytes: number;
  expected_bytes: number;
  error: string | null;
}

/** Which samples are exported: those of the best rows of a query, or those of a list. */
export type Subset = { query: Query } | { ids: string[] };

/** The job that is running, or null. Fails if the server exports nothing. */
export async function runningJob(): Promise<Job | null> {
  const jobs = await getJson<Job[]>("/exports");
  return jobs.find((job) => job.state === "running") ?? null;
}

/** Start to export samples. A busy server is not waited for. */
export function startJob(subset: Subset, format: Format): Promise<Job> {
  return postJson<Job>("/exports", { ...subset, format }, undefined, 0);
}

export function readJob(id: string): Promise<Job> {
  return getJson<Job>(`/exports/${id}`);
}

export function cancelJob(id: string): Promise<Job> {
  return deleteJson<Job>(`/exports/${id}`);
}

/** The share of a job that is done. The size is an estimate: a running job is never all done. */
export function share(job: Job): number {
  if (job.state === "done") return 1;
  return Math.min(0.99, job.bytes / Math.max(1, job.expected_bytes));
}

export function inWords(job: Job): string {
  const samples = `${job.samples.toLocaleString("en")} samples as ${job.format}`;
  switch (job.state) {
    case "running":
      return `${samples}: ${size(job.bytes)} of about ${size(job.expected_bytes)}`;
    case "done":
      return `${samples}, ${size(job.bytes)}, are in the folder ${job.id} of the server's exports.`;
    case "cancelled":
      return "The export was cancelled, and what it had written was removed.";
    case "failed":
      return job.error ?? "The export failed.";
  }
}

function size(bytes: number): string {
  return bytes < 1e6 ? `${Math.ceil(bytes / 1e3)} kB` : `${(bytes / 1e6).toFixed(1)} MB`;
}
