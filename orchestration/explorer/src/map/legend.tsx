/** The groups with their colours. A group can be shown alone, and the map zooms to it. */

import type { Colours, Colouring } from "./points";

interface Props {
  colouring: Colouring;
  entries: Colours["legend"];
  /** The label of the group that is shown alone. */
  group: string;
  onGroup: (label: string) => void;
}

export function Legend({ colouring, entries, group, onGroup }: Props) {
  return (
    <ul class="legend" aria-label={`Colours by ${colouring}`}>
      {entries.map(({ label, colour, count }) => (
        <li key={label}>
          <button type="button" aria-pressed={label === group} onClick={() => onGroup(label)}>
            <span class="swatch" style={{ backgroundColor: colour }} /> <bdi>{label}</bdi>{" "}
            {count.toLocaleString("en")}
          </button>
        </li>
      ))}
    </ul>
  );
}
