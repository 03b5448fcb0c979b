/** The newest run of each stage, those with failures first. */

import { Table } from "../sample/tables";
import type { StageRun } from "./policy";

export function Runs({ runs }: { runs: StageRun[] }) {
  const rows = runs.map((each) => [
    each.stage,
    each.drop === null ? "all" : <bdi>{each.drop}</bdi>,
    <time dateTime={each.published_at}>{shortTime(each.published_at)}</time>,
    each.seconds.toFixed(1),
    count(each.input),
    count(each.kept),
    count(each.rejected),
    each.failed ? <strong class="problem">{count(each.failed)}</strong> : "0",
  ]);
  const columns = ["stage", "drop", "end", "seconds", "in", "kept", "rejected", "failed"];
  return <Table title="Runs" columns={columns} rows={rows} none="No stage has run yet." />;
}

function count(number: number): string {
  return number.toLocaleString("en");
}

/** Date and time to the minute, in UTC as the server gives it. */
function shortTime(time: string): string {
  return time.slice(0, 16).replace("T", " ");
}
