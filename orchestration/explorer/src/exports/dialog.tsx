/** A dialog that exports samples as files on the server, with progress. */

import { useEffect, useRef, useState } from "preact/hooks";
import { Problem } from "../loading";
import { cancelJob, type Format, FORMATS, inWords, type Job, readJob } from "./job";
import { runningJob, share, startJob, type Subset } from "./job";
import { ServerError } from "../server";

const PAUSE = 500; // milliseconds between looks at a running job
const MOST_ROWS = 10_000; // as the server allows by default

export function ExportDialog({ subset, name }: { subset: Subset; name: string }) {
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
        <h2 id="export-title">Export the samples of {name}</h2>
        {isOpen && <Export subset={subset} />}
        <button type="button" onClick={() => dialog.current?.close()}>
          Close
        </button>
      </dialog>
    </>
  );
}

function Export({ subset }: { subset: Subset }) {
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
          subset={subset}
          isBusy={isBusy}
          onStart={(chosen, format) => follow(startJob(chosen, format))}
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
  subset: Subset;
  isBusy: boolean;
  onStart: (subset: Subset, format: Format) => void;
}

function Order({ subset, isBusy, onStart }: OrderProps) {
  const isQuery = "query" in subset;
  const [most, setMost] = useState(isQuery ? (subset.query.limit ?? 10) : 0);
  const [format, setFormat] = useState<Format>("webdataset");
  const submit = (event: Event) => {
    event.preventDefault();
    onStart(isQuery ? { query: { ...subset.query, limit: most } } : subset, format);
  };
  return (
    <form class="row" onSubmit={submit}>
      {isQuery && (
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
      )}
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
