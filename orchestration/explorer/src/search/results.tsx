/** The raw and the corrected ranking side by side. */

import { Caption } from "../caption";
import { type Moment, momentInWords, tileOf, windowOf } from "../moment";
import { type Comparison, inWords, type Moved } from "../movement";
import { Recording, Thumbnail } from "../picture";
import type { Answer, Input, Query, Row } from "../query";
import { address } from "../route";
import { Why } from "./why";

export interface Rankings {
  query: Query;
  raw: Answer;
  corrected: Answer;
  comparison: Comparison;
}

interface Props {
  rankings: Rankings;
  onInput: (input: Input) => void;
}

export function Results({ rankings, onInput }: Props) {
  const { raw, corrected, fresh, depth } = rankings.comparison;
  const shared = { depth, rankings, onInput };
  return (
    <section aria-label="Results">
      <p class="status" role="status">
        {corrected.length === 0
          ? "No item satisfies the query."
          : newResults(fresh, corrected.length)}
      </p>
      <Notes answer={rankings.corrected} />
      <div class="both">
        <List title="Raw" name="raw" items={raw} {...shared} />
        <List title="Corrected" name="corrected" items={corrected} {...shared} />
      </div>
    </section>
  );
}

function newResults(fresh: number, all: number) {
  const verb = fresh === 1 ? "is" : "are";
  return `${fresh} of the ${all} corrected results ${verb} not among the raw ones.`;
}

function Notes({ answer }: { answer: Answer }) {
  const proof = answer.complete
    ? "The rows are proven to be the best."
    : `The index finds ${(100 * answer.recall).toFixed(1)}% of the best ten, as measured.`;
  return (
    <p class="hint">
      Release {answer.release}. {proof} {answer.notes.join(" ")}
    </p>
  );
}

interface ListProps extends Props {
  title: string;
  name: "raw" | "corrected";
  items: Moved[];
  depth: number;
}

function List({ title, name, items, depth, rankings, onInput }: ListProps) {
  return (
    <section class="ranking" aria-labelledby={`list-${name}`}>
      <h2 id={`list-${name}`}>{title}</h2>
      <ol>
        {items.map((item) => (
          <li class="card" key={item.rank}>
            <Media row={item.row} />
            <div>
              <p class="facts">
                <strong>{item.rank}</strong> <Movement item={item} name={name} depth={depth} />{" "}
                <Score row={item.row} name={name} />
              </p>
              <Caption text={item.row.caption} />
              <MomentText row={item.row} />
              <p class="row">
                <a href={address("sample", item.row.id)}>
                  <bdi>{item.row.key}</bdi>
                </a>
                <button type="button" onClick={() => onInput({ id: item.row.part_id, weight: 1 })}>
                  More like this
                </button>
                <button
                  type="button"
                  onClick={() => onInput({ id: item.row.part_id, weight: -0.5 })}
                >
                  Less like this
                </button>
              </p>
              {name === "corrected" && <Why query={rankings.query} row={item.rank - 1} />}
            </div>
          </li>
        ))}
      </ol>
    </section>
  );
}

function MomentText({ row }: { row: Moment }) {
  const words = momentInWords(row);
  return words ? <p class="hint">{words}</p> : null;
}

/** The thumbnail or the recording of a row, with its moment. A caption is shown in any case. */
export function Media({ row }: { row: Pick<Row, "modality" | "part_id" | "key"> & Moment }) {
  if (row.modality === "image") {
    return <Thumbnail partId={row.part_id} label={row.key} tile={tileOf(row)} />;
  }
  if (row.modality === "audio") {
    return <Recording path={`/audio/${row.part_id}`} window={windowOf(row)} />;
  }
  return <div class="thumbnail text">text</div>;
}

function Movement({ item, name, depth }: Pick<ListProps, "name" | "depth"> & { item: Moved }) {
  const direction = item.change === null ? "new" : Math.sign(item.change);
  const sign = { new: "★", "1": "▲", "-1": "▼", "0": "=" }[String(direction)];
  return (
    <span class={`movement move${direction}`}>
      <span aria-hidden="true">{sign}</span> {inWords(item, name, depth)}
    </span>
  );
}

function Score({ row, name }: { row: Row; name: "raw" | "corrected" }) {
  if (name === "raw") return <span class="score">score {row._raw_score.toFixed(3)}</span>;
  const bias = row._raw_score - row._score;
  return (
    <span class="score">
      score {row._score.toFixed(3)} = {row._raw_score.toFixed(3)} − bias {bias.toFixed(3)}
    </span>
  );
}
