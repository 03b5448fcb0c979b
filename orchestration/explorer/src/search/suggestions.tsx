/** Suggested queries: small changes of the text, each of which leads to a group of the results. */

import { Problem, useLoaded } from "../loading";
import { changedText, isModality, type Query } from "../query";
import { postJson } from "../server";

interface Suggestion {
  text: string;
  rows: number;
}

interface Props {
  /** That was run. */
  query: Query;
  onQuery: (query: Query) => void;
}

export function Suggestions({ query, onQuery }: Props) {
  const hasText = changedText(query, "") !== null;
  const usable = hasText && isModality(query.among ?? "image") && !query.moments;
  const loaded = useLoaded(usable ? JSON.stringify(query) : null, (signal) =>
    postJson<Suggestion[]>("/suggest", query, signal),
  );
  if (loaded.error) return <Problem error={loaded.error} />;
  if (!usable || loaded.loading || !loaded.value?.length) return null;
  return (
    <nav class="row suggestions" aria-label="Suggested queries">
      <span class="hint">Groups among the results:</span>
      {loaded.value.map(({ text, rows }) => (
        <button
          type="button"
          title={`${rows} of the best 200 results`}
          onClick={() => onQuery(changedText(query, text) ?? query)}
        >
          <bdi>{text}</bdi>
        </button>
      ))}
    </nav>
  );
}
