/** Search: the form of a query, and its raw and corrected results. */

import { useEffect, useMemo, useState } from "preact/hooks";
import { Problem, Status, useLoaded } from "../loading";
import { compare } from "../movement";
import { type Answer, bothRankings, fromLink, type Level, LEVELS, type Query } from "../query";
import { toLink, withInput } from "../query";
import { canSearchMoments, filterColumns, galleries, useRelease } from "../release";
import { address } from "../route";
import { postJson } from "../server";
import { Filters } from "./filters";
import { Inputs } from "./inputs";
import { type Rankings, Results } from "./results";
import { Share } from "./share";
import { Suggestions } from "./suggestions";

const EMPTY: Query = { inputs: [{ text: "" }] };
const MOST_ROWS = 1000;

export function SearchView({ params }: { params: URLSearchParams }) {
  const link = params.get("q");
  const [query, setQuery] = useState<Query | null>(null);
  const [draft, setDraft] = useState<Query>(EMPTY);
  const [problem, setProblem] = useState<Error | null>(null);
  const [runs, setRuns] = useState(0); // so that the same query can run again
  useEffect(() => {
    if (link === null) return;
    try {
      const read = fromLink(link);
      setQuery(read);
      setRuns((n) => n + 1);
      setDraft(read);
      setProblem(null);
    } catch (error) {
      setProblem(error as Error);
    }
  }, [link]);
  const run = (next: Query) => {
    setDraft(next);
    const text = toLink(next);
    const to = text && address("search", "", `q=${text}`);
    if (to === null) setQuery(next);
    if (to === null || to === location.hash) setRuns((n) => n + 1);
    else location.hash = to;
  };
  const key = useMemo(() => query && `${runs} ${JSON.stringify(query)}`, [query, runs]);
  const loaded = useLoaded(key, (signal) => rank(query as Query, signal));
  return (
    <>
      <h1>Search</h1>
      <QueryForm draft={draft} onChange={setDraft} onSubmit={run} />
      {problem && <Problem error={problem} />}
      {query && <Share query={query} />}
      {loaded.value && <Suggestions query={loaded.value.query} onQuery={run} />}
      {(loaded.loading || loaded.error) && <Status of={loaded} />}
      {loaded.value && (
        <Results
          rankings={loaded.value}
          onInput={(input) => run(withInput(loaded.value?.query ?? draft, input))}
        />
      )}
    </>
  );
}

async function rank(query: Query, signal: AbortSignal): Promise<Rankings> {
  const both = bothRankings(query);
  const [raw, corrected] = await Promise.all([
    postJson<Answer>("/search", both.raw, signal),
    postJson<Answer>("/search", both.corrected, signal),
  ]);
  const comparison = compare(raw.rows, corrected.rows, query.limit ?? 10, query.among);
  return { query, raw, corrected, comparison };
}

interface FormProps {
  draft: Query;
  onChange: (draft: Query) => void;
  onSubmit: (query: Query) => void;
}

function QueryForm({ draft, onChange, onSubmit }: FormProps) {
  const release = useRelease();
  const present = new Set<string>([...galleries(release), "any", "sample", "auto"]);
  const hasMoments = canSearchMoments(release, draft.among ?? "image");
  const set = (change: Partial<Query>) => onChange({ ...draft, ...change });
  const submit = (event: Event) => {
    event.preventDefault();
    const inputs = draft.inputs.filter((each) => each.text === undefined || each.text.trim());
    const moments = (hasMoments && draft.moments) || undefined;
    if (inputs.length) onSubmit({ ...draft, inputs, moments });
  };
  return (
    <form class="query" onSubmit={submit}>
      <Inputs inputs={draft.inputs} onChange={(inputs) => set({ inputs })} />
      <div class="row">
        <label>
          Among
          <select
            value={draft.among ?? "image"}
            onChange={(event) => set({ among: event.currentTarget.value as Level })}
          >
            {LEVELS.filter((level) => present.has(level)).map((level) => (
              <option value={level}>{level}</option>
            ))}
          </select>
        </label>
        {hasMoments && (
          <label title="Each recording or picture is ranked by its best window or tile">
            <input
              type="checkbox"
              checked={draft.moments ?? false}
              onChange={(event) => set({ moments: event.currentTarget.checked })}
            />
            Best moments
          </label>
        )}
        <label>
          Results
          <input
            type="number"
            min="1"
            max={MOST_ROWS}
            required
            value={draft.limit ?? 10}
            onInput={(event) => {
              const limit = event.currentTarget.valueAsNumber;
              if (Number.isInteger(limit)) set({ limit });
            }}
          />
        </label>
        <button type="submit" class="main">
          Search
        </button>
      </div>
      <Filters
        columns={filterColumns(release)}
        where={draft.where ?? ""}
        onChange={(where) => set({ where: where || undefined })}
      />
    </form>
  );
}
