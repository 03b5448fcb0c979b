/** The values of a text signal as bars, and which of them the policy rejects. */

import type { Bars } from "./policy";

export function SignalBars({ bars }: { bars: Bars }) {
  const { name, rows, valid, values, more } = bars;
  const most = Math.max(...values.map((each) => each.samples), 1);
  return (
    <section class="signal words" aria-labelledby={`words-${name}`}>
      <h3 id={`words-${name}`}>{name}</h3>
      <ol class="plain">
        {values.map(({ value, samples, rejected }) => (
          <li key={value}>
            <bdi>{value}</bdi>
            <svg viewBox={`0 0 ${most} 1`} preserveAspectRatio="none" aria-hidden="true">
              <rect class={rejected ? "bar cut" : "bar"} width={samples} height="1" />
            </svg>
            <span>
              {samples.toLocaleString("en")}
              {rejected && " rejected"}
            </span>
          </li>
        ))}
      </ol>
      <p class="hint">
        {more > 0 && `${more.toLocaleString("en")} more values; `}
        {valid.toLocaleString("en")} of {rows.toLocaleString("en")} samples have a value
      </p>
    </section>
  );
}
