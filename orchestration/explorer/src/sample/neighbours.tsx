/** The nearest items of each part of a sample, in every gallery of the release. */

import { Caption } from "../caption";
import { Status, useLoaded } from "../loading";
import type { Answer, Modality } from "../query";
import { galleries, useRelease } from "../release";
import { address } from "../route";
import { Media } from "../search/results";
import { postJson } from "../server";
import type { Part } from "./record";

const MOST = 5;

export function Neighbours({ parts }: { parts: Part[] }) {
  const release = useRelease();
  return (
    <section>
      <h2>Neighbours</h2>
      {parts.flatMap((part) =>
        galleries(release).map((gallery) => <Nearest part={part} gallery={gallery} />),
      )}
    </section>
  );
}

function Nearest({ part, gallery }: { part: Part; gallery: Modality }) {
  const query = {
    inputs: [{ id: part.part_id }],
    among: gallery,
    limit: MOST,
    select: ["key", "caption", "part_id"],
  };
  const loaded = useLoaded(JSON.stringify(query), (signal) =>
    postJson<Answer>("/search", query, signal),
  );
  const name = `${part.modality} → ${gallery}`;
  return (
    <section aria-label={`Neighbours ${name}`}>
      <h3>{name}</h3>
      {!loaded.value && <Status of={loaded} />}
      <ol class="plain tiles">
        {loaded.value?.rows.map((row) => (
          <li class="tile">
            <Media row={row} />
            <a href={address("sample", row.id)}>
              <bdi>{row.key}</bdi>
            </a>
            <Caption text={row.caption} most={100} />
          </li>
        ))}
      </ol>
    </section>
  );
}
