/** Kept samples with the least and the greatest values of a signal. */

import { Thumbnail } from "../picture";
import { address } from "../route";
import { endNames, type Example, type Histogram, rounded } from "./policy";

export function Ends({ histogram }: { histogram: Histogram }) {
  const names = endNames(histogram);
  return (
    <>
      {(["lowest", "highest"] as const).map(
        (end) =>
          histogram[end].length > 0 && (
            <div class="end">
              <span>{names[end]}</span>
              <ul aria-label={`${names[end]} by ${histogram.name}`}>
                {histogram[end].map((example) => (
                  <li key={example.id}>
                    <Tile example={example} />
                  </li>
                ))}
              </ul>
            </div>
          ),
      )}
    </>
  );
}

/** A link to a sample. The name of the link says key and value, the picture nothing more. */
function Tile({ example }: { example: Example }) {
  const { id, key, part_id, value } = example;
  const short = rounded(value);
  return (
    <a href={address("sample", id)} aria-label={`${key}: ${short}`} title={`${key}: ${short}`}>
      {part_id ? (
        <Thumbnail partId={part_id} label="" />
      ) : (
        <bdi class="thumbnail text">{key.slice(0, 24)}</bdi>
      )}
      <small aria-hidden="true">{short}</small>
    </a>
  );
}
