import { expect, test } from "vitest";
import { inWords, type Job, share } from "./job";

const job: Job = {
  id: "20260131-120000-00000000",
  state: "running",
  format: "parquet",
  samples: 1200,
  bytes: 1_500_000,
  expected_bytes: 3_000_000,
  error: null,
};

test("a running job is never all done", () => {
  expect(share(job)).toBe(0.5);
  expect(share({ ...job, bytes: 9e9 })).toBe(0.99);
  expect(share({ ...job, bytes: 0, expected_bytes: 0 })).toBe(0);
  expect(share({ ...job, state: "done" })).toBe(1);
});

test("a job in words", () => {
  expect(inWords(job)).toBe("1,200 samples as parquet: 1.5 MB of about 3.0 MB");
  expect(inWords({ ...job, state: "done", bytes: 500 })).toContain("1 kB, are in the folder 2026");
  expect(inWords({ ...job, state: "failed", error: "the disk is full" })).toBe("the disk is full");
  expect(inWords({ ...job, state: "cancelled" })).toContain("removed");
});
