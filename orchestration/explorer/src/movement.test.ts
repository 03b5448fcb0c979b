import { expect, test } from "vitest";
import { compare, inWords } from "./movement";
import type { Row } from "./query";

function row(id: string, modality = "image"): Row {
  return { id, part_id: `part-${id}`, modality } as Row;
}

const raw = ["hub", "a", "b", "c"].map((id) => row(id));
const corrected = ["a", "c", "b", "hub"].map((id) => row(id));

test("every shown row has its rank in the other list", () => {
  const compared = compare(raw, corrected, 2);
  expect(compared.corrected.map(({ row, other, change }) => [row.id, other, change])).toEqual([
    ["a", 2, 1],
    ["c", 4, 2],
  ]);
  expect(compared.raw.map(({ row, other, change }) => [row.id, other, change])).toEqual([
    ["hub", 4, -3],
    ["a", 1, 1],
  ]);
});

test("rows that the raw list does not show are counted", () => {
  expect(compare(raw, corrected, 2).fresh).toBe(1);
  expect(compare(raw, raw, 4).fresh).toBe(0);
  expect(compare([], corrected, 4).fresh).toBe(4);
});

test("a row beyond the compared rows has no change", () => {
  const compared = compare([row("x")], corrected, 1);
  expect(compared.corrected[0]).toMatchObject({ other: null, change: null });
  expect(compared.depth).toBe(4);
});

test("parts of different galleries differ, but samples do not", () => {
  const other = [row("a", "text")];
  expect(compare([row("a")], other, 1, "any").corrected[0]?.other).toBeNull();
  expect(compare([row("a")], other, 1, "sample").corrected[0]?.other).toBe(1);
});

test("movement in words", () => {
  const [first, second] = compare(raw, corrected, 2).corrected;
  const [hub] = compare(raw, corrected, 2).raw;
  expect(first && inWords(first, "corrected", 4)).toBe("up 1, from rank 2");
  expect(second && inWords(second, "corrected", 4)).toBe("up 2, from rank 4");
  expect(hub && inWords(hub, "raw", 4)).toBe("down 3, to rank 4");
  expect(inWords({ row: row("x"), rank: 1, other: null, change: null }, "corrected", 100)).toBe(
    "from beyond rank 100",
  );
});
