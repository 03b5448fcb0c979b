/** Curation: what was lost and why, and what other limits would keep. */

import { useEffect, useState } from "preact/hooks";
import { Caption } from "../caption";
import { Status, useLoaded } from "../loading";
import { address } from "../route";
import { Table } from "../sample/tables";
import { getJson } from "../server";
import { SignalBars } from "./bars";
import { SignalHistogram } from "./histogram";
import { type Alternative, type Changes, type Histogram, limitsOf, type Overview } from "./policy";
import { Runs } from "./runs";
import { type Problem, readChanges, withLimit, writeChanges } from "./policy";

const PAUSE = 150; // milliseconds that a handle rests before the server is asked

export function CurationView({ params }: { params: URLSearchParams }) {
  const changes = readChanges(params);
  const loaded = useLoaded("curation", (signal) => getJson<Overview>("/curation", signal));
  const set = (next: Changes) => {
    const query = writeChanges(next);
    history.replaceState(null, "", address("curation", "", query));
    dispatchEvent(new HashChangeEvent("hashchange"));
  };
  if (!loaded.value) {
    return (
      <>
        <h1>Curation</h1>
        <Status of={loaded} />
      </>
    );
  }
  const { kept, rejected, policy, problems, runs, histograms, bars } = loaded.value;
  const total = kept + rejected;
  return (
    <>
      <h1>Curation</h1>
      <p>
        The newest decisions keep {kept.toLocaleString("en")} of {total.toLocaleString("en")}{" "}
        samples.
      </p>
      <Problems problems={problems} />
      <h2>What if</h2>
      <p class="hint">
        Move a limit to see what another policy would keep. Nothing is changed: copy the policy into
        corpus.yaml, and run <code>isotrope run</code>. Beside each signal: kept samples at both
        ends.
      </p>
      <WhatIf changes={changes} policy={policy} onReset={() => set(new Map())} />
      <div class="signals">
        {inOrder(histograms).map((histogram) => (
          <SignalHistogram
            key={histogram.name}
            histogram={histogram}
            limits={limitsOf(histogram, changes)}
            onChange={(end, value) => set(withLimit(changes, histogram, end, value))}
          />
        ))}
      </div>
      {bars.length > 0 && <h2>Signals that are words</h2>}
      <div class="signals">
        {bars.map((each) => (
          <SignalBars key={each.name} bars={each} />
        ))}
      </div>
      <Runs runs={runs} />
    </>
  );
}

/** Signals with limits first. The order does not change while limits are moved. */
function inOrder(histograms: Histogram[]): Histogram[] {
  const hasLimit = (each: Histogram) => Number(each.min !== null || each.max !== null);
  return [...histograms].sort((a, b) => hasLimit(b) - hasLimit(a));
}

function Problems({ problems }: { problems: Problem[] }) {
  const rows = problems.map((each) => [
    <strong class={each.outcome === "failed" ? "problem" : undefined}>{each.outcome}</strong>,
    each.stage,
    each.rule,
    each.records.toLocaleString("en"),
    <bdi>{each.key}</bdi>,
    <Caption text={detail(each)} />,
  ]);
  const columns = ["outcome", "stage", "rule", "records", "such as", "value or error"];
  return <Table title="Lost records" columns={columns} rows={rows} none="No record was lost." />;
}

function detail(problem: Problem): string {
  if (problem.error !== null) return problem.error;
  const limit = problem.threshold === null ? "" : `, the limit is ${problem.threshold}`;
  return `${problem.value ?? "no value"}${limit}`;
}

interface WhatIfProps {
  changes: Changes;
  policy: string;
  onReset: () => void;
}

function WhatIf({ changes, policy, onReset }: WhatIfProps) {
  const query = useRested(writeChanges(changes));
  const loaded = useLoaded(query, (signal) => getJson<Alternative>(`/whatif?${query}`, signal));
  const { value } = loaded;
  return (
    <section class="whatif" aria-label="Another policy">
      {loaded.error && <Status of={loaded} />}
      <p role="status">
        {value && (
          <>
            <strong>{value.after.toLocaleString("en")}</strong> of{" "}
            {value.total.toLocaleString("en")} samples would be kept; the policy of corpus.yaml
            keeps {value.before.toLocaleString("en")}.
          </>
        )}
      </p>
      {value && changes.size > 0 && (
        <Table
          title="Rejected by rule"
          columns={["rule", "corpus.yaml", "with the changes"]}
          rows={value.rules.map((each) => [each.rule, each.before, each.after])}
          none="No rule rejects a sample."
        />
      )}
      <details>
        <summary>The policy as YAML</summary>
        <pre>{value?.policy ?? policy}</pre>
      </details>
      <p class="row">
        <Copy text={value?.policy ?? policy} />
        <button type="button" disabled={changes.size === 0} onClick={onReset}>
          Remove the changes
        </button>
      </p>
    </section>
  );
}

function Copy({ text }: { text: string }) {
  const [message, setMessage] = useState("");
  const copy = () =>
    navigator.clipboard.writeText(text).then(
      () => setMessage("Copied"),
      () => setMessage("The browser does not allow this page to copy."),
    );
  return (
    <>
      <button type="button" onClick={copy}>
        Copy the policy
      </button>
      <span role="status" class="hint">
        {message}
      </span>
    </>
  );
}

/** A value that changes only when it has rested. */
function useRested<T>(value: T): T {
  const [rested, setRested] = useState(value);
  useEffect(() => {
    const timer = setTimeout(() => setRested(value), PAUSE);
    return () => clearTimeout(timer);
  }, [value]);
  return rested;
}
