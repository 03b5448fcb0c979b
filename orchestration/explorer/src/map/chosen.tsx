/** The chosen points as a list. */

import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";
import { address } from "../route";
import { Media } from "../search/results";
import type { CorpusMap } from "./points";

const PAGE = 48;

interface Props {
  title: string;
  map: CorpusMap;
  points: number[];
  /** Shown above the list. */
  children?: ComponentChildren;
}

export function Chosen({ title, map, points, children }: Props) {
  const [most, setMost] = useState(PAGE);
  return (
    <section aria-label="Points">
      <h2>{title}</h2>
      {children}
      <ol class="plain tiles">
        {points.slice(0, most).map((i) => (
          <li class="tile" key={map.part_ids[i]}>
            <Media
              row={{
                modality: map.gallery,
                part_id: map.part_ids[i] as string,
                key: map.keys[i] as string,
              }}
            />
            <a href={address("sample", map.ids[i])}>
              <bdi>{map.keys[i]}</bdi>
            </a>
            <span class="hint">
              raw {map.raw[i]}, corrected {map.corrected[i]}
            </span>
          </li>
        ))}
      </ol>
      {points.length > most && (
        <button type="button" onClick={() => setMost(most + PAGE)}>
          Show more
        </button>
      )}
    </section>
  );
}
