/** The histogram of a signal, with the policy's limits as handles, and samples at both ends. */

import { Ends } from "./ends";
import { type End, type Histogram, type Limits, placeOf, rounded, within } from "./policy";

interface Props {
  histogram: Histogram;
  limits: Limits;
  onChange: (end: End, value: number | null) => void;
}

const HEIGHT = 60;
const BAR = 10;

export function SignalHistogram({ histogram, limits, onChange }: Props) {
  const { name, counts, edges, rows, valid } = histogram;
  const most = Math.max(...counts, 1);
  const width = BAR * counts.length;
  const kept = within(histogram, limits);
  const isChanged = limits.min !== histogram.min || limits.max !== histogram.max;
  return (
    <fieldset class={isChanged ? "signal changed" : "signal"}>
      <legend>{name}</legend>
      <svg
        viewBox={`0 0 ${width} ${HEIGHT}`}
        preserveAspectRatio="none"
        role="img"
        aria-label={`${valid} values from ${show(edges[0])} to ${show(edges.at(-1))}`}
      >
        {counts.map((count, i) => {
          const height = count && Math.max(1, (HEIGHT * count) / most);
          return (
            <rect
              class={isCut(i, edges, limits) ? "bar cut" : "bar"}
              x={i * BAR}
              y={HEIGHT - height}
              width={BAR - 1}
              height={height}
            />
          );
        })}
        {(["min", "max"] as const).map((end) => {
          const limit = limits[end];
          if (limit === null) return null;
          const x = BAR * placeOf(edges, limit);
          return <line class="limit" x1={x} x2={x} y1={0} y2={HEIGHT} />;
        })}
      </svg>
      <Handle end="min" {...{ histogram, limits, onChange }} />
      <Handle end="max" {...{ histogram, limits, onChange }} />
      <p class="hint">
        {limits.min === null && limits.max === null
          ? `${valid.toLocaleString("en")} of ${rows.toLocaleString("en")} samples have a value`
          : `about ${kept.toLocaleString("en")} of ${valid.toLocaleString("en")} are within`}
      </p>
      <Ends histogram={histogram} />
    </fieldset>
  );
}

/** A slider over the edges of the bins, and a field for an exact value. Empty: no limit. */
function Handle({ end, histogram, limits, onChange }: Props & { end: End }) {
  const { edges, name } = histogram;
  const last = edges.length - 1;
  const limit = limits[end];
  const rest = end === "min" ? 0 : last; // where the slider is without a limit
  return (
    <div class="handle">
      <input
        type="range"
        min="0"
        max={last}
        value={limit === null ? rest : Math.round(placeOf(edges, limit))}
        aria-label={`${end} of ${name}`}
        aria-valuetext={limit === null ? "no limit" : String(limit)}
        onInput={(event) => {
          const at = event.currentTarget.valueAsNumber;
          onChange(end, at === rest ? null : rounded(edges[at] as number));
        }}
      />
      <label>
        {end}
        <input
          type="number"
          step="any"
          aria-label={`exact ${end} of ${name}`}
          value={limit ?? ""}
          onChange={(event) => {
            const value = event.currentTarget.valueAsNumber;
            onChange(end, Number.isFinite(value) ? value : null);
          }}
        />
      </label>
    </div>
  );
}

function isCut(i: number, edges: readonly number[], limits: Limits): boolean {
  const [low, high] = [edges[i] as number, edges[i + 1] as number];
  return (
    (limits.min !== null && high <= limits.min) || (limits.max !== null && low >= limits.max)
  );
}

function show(value: number | undefined): string {
  return value === undefined ? "" : String(rounded(value));
}
