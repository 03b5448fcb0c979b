/** A dialog that exports the samples of a query as files on the server, with progress. */

import { useEffect, useRef, useState } from "preact/hooks";
import { Problem } from "../loading";
import type { Query } from "../query";
import { cancelJob, type Format, FORMATS, inWords, type Job, readJob } from "./job";
import { runningJob, share, startJob } from "./job";
import { ServerError } from "../server";

const PAUSE = 500; // milliseconds between looks at a running job
const MOST_ROWS = 10_000; // as the server allows by default

export function ExportDialog({ query }: { query: Query }) {
  const dialog = useRef<HTMLDialogElement>(null);
  const [isOpen, setOpen] = useState(false);
  const open = () => {
    setOpen(true);
    dialog.current?.showModal();
  };
  return (
    <>
      <button type="button" onClick={open}>
        Export …
      </button>
      <dialog ref={dialog} aria-labelledby="export-title" onClose={() => setOpen(false)}>
        <h2 id="export-title">Export the samples of this query</h2>
        {isOpen && <Export query={query} />}
        <button type="button" onClick={() => dialog.current?.close()}>
          Close
        </button>
      </dialog>
    </>
  );
}

function Export({ query }: { query: Query }) {
  const [job, setJob] = useState<Job | null>(null);
  const [problem, setProblem] = useState<Error | null>(null);
  const [isBusy, setBusy] = useState(true); // an answer of the server is waited for
  const follow = (answer: Promise<Job | null>) => {
    setBusy(true);
    setProblem(null);
    void answer.then(setJob, setProblem).then(() => setBusy(false));
  };
  useEffect(() => follow(runningJob()), []);
  const isRunning = job?.state === "running";
  const isOff = problem instanceof ServerError && problem.status === 404;
  useEffect(() => {
    if (!job || !isRunning) return;
    let isCurrent = true;
    const timer = setTimeout(
      () =>
        readJob(job.id).then(
          (next) => isCurrent && setJob(next),
          (error: Error) => isCurrent && setProblem(error),
        ),
      PAUSE,
    );
    return () => {
      isCurrent = false;
      clearTimeout(timer);
    };
  }, [job]);
  return (
    <>
      {problem && <Problem error={problem} />}
      {!isRunning && !isOff && (
        <Order
          rows={query.limit ?? 10}
          isBusy={isBusy}
          onStart={(rows, format) => follow(startJob(query, rows, format))}
        />
      )}
      {job && (
        <>
          <progress max={1} value={share(job)} aria-label="Progress of the export" />
          <p class={job.state === "failed" ? "status problem" : "status"} role="status">
            {inWords(job)}
          </p>
        </>
      )}
      {isRunning && (
        <p>
          <button type="button" disabled={isBusy} onClick={() => follow(cancelJob(job.id))}>
            Cancel the export
          </button>{" "}
          <span class="hint">It goes on if this dialog or this page is closed.</span>
        </p>
      )}
    </>
  );
}

interface OrderProps {
  rows: number;
  isBusy: boolean;
  onStart: (rows: number, format: Format) => void;
}

function Order({ rows, isBusy, onStart }: OrderProps) {
  const [most, setMost] = useState(rows);
  const [format, setFormat] = useState<Format>("webdataset");
  const submit = (event: Event) => {
    event.preventDefault();
    onStart(most, format);
  };
  return (
    <form class="row" onSubmit={submit}>
      <label>
        Best results
        <input
          type="number"
          min="1"
          max={MOST_ROWS}
          required
          value={most}
          onInput={(event) => {
            const value = event.currentTarget.valueAsNumber;
            if (Number.isInteger(value)) setMost(value);
          }}
        />
      </label>
      <label>
        Format
        <select
          value={format}
          onChange={(event) => setFormat(event.currentTarget.value as Format)}
        >
          {FORMATS.map((each) => (
            <option value={each}>{each}</option>
          ))}
        </select>
      </label>
      <button type="submit" class="main" disabled={isBusy}>
        Start the export
      </button>
    </form>
  );
}
