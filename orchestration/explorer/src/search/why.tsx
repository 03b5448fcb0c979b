/** Why a row has its rank: what the server's explanation says. */

import { useState } from "preact/hooks";
import { Status, useLoaded } from "../loading";
import { bothRankings, type Query } from "../query";
import { postJson } from "../server";

interface Part {
  modality: string;
  method: string;
  reason: string;
  occurrence: number | null;
  mean_occurrence: number | null;
  hub: boolean | null;
}

interface Neighbour {
  key: string;
  caption: string | null;
  similarity: number;
}

interface Explanation {
  rank: number;
  raw_rank: number | null;
  parts: Part[];
  items: Neighbour[];
}

export function Why({ query, row }: { query: Query; row: number }) {
  const [isOpen, setOpen] = useState(false);
  return (
    <details onToggle={(event) => setOpen(event.currentTarget.open)}>
      <summary>Why this rank?</summary>
      {isOpen && <Details query={query} row={row} />}
    </details>
  );
}

function Details({ query, row }: { query: Query; row: number }) {
  const corrected = bothRankings(query).corrected;
  const loaded = useLoaded(JSON.stringify([corrected, row]), (signal) =>
    postJson<Explanation>(`/explain?row=${row}`, corrected, signal),
  );
  const { value } = loaded;
  if (!value) return <Status of={loaded} />;
  return (
    <>
      {value.parts.map((part) => (
        <p>
          {part.modality} queries: {part.method}. {hubness(part)}
        </p>
      ))}
      <p>Nearest items:</p>
      <ul>
        {value.items.map((item) => (
          <li>
            {item.similarity.toFixed(3)} <bdi>{(item.caption ?? item.key).slice(0, 100)}</bdi>
          </li>
        ))}
      </ul>
    </>
  );
}

function hubness(part: Part): string {
  if (part.occurrence === null) return "Top tens of bank queries were not counted for it.";
  const kind = part.hub ? "it is a hub" : "it is no hub";
  const mean = part.mean_occurrence?.toFixed(2);
  return `In ${part.occurrence} raw top tens of the bank, where the mean is ${mean}: ${kind}.`;
}
