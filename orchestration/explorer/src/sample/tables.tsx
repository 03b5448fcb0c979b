/** The tables of a sample's page. */

import type { ComponentChildren } from "preact";
import { Caption } from "../caption";
import { address } from "../route";
import { type Part, type SampleRecord, verdict } from "./record";

interface TableProps {
  title: string;
  columns: string[];
  rows: ComponentChildren[][];
  none: string;
}

export function Table({ title, columns, rows, none }: TableProps) {
  if (rows.length === 0) {
    return (
      <section>
        <h2>{title}</h2>
        <p class="hint">{none}</p>
      </section>
    );
  }
  return (
    <section>
      <h2>{title}</h2>
      <div class="scroll">
        <table>
          <thead>
            <tr>
              {columns.map((column) => (
                <th scope="col">{column}</th>
              ))}
            </tr>
          </thead>
          <tbody>
            {rows.map((row) => (
              <tr>
                {row.map((cell) => (
                  <td>{cell}</td>
                ))}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </section>
  );
}

export function Deliveries({ deliveries }: Pick<SampleRecord, "deliveries">) {
  const rows = deliveries.flatMap((each) => [
    [each.drop, <bdi>{each.source}</bdi>, "decisions", <bdi>{verdict(each)}</bdi>],
    ...each.ledger.map((entry) => [
      each.drop,
      <bdi>{each.source}</bdi>,
      entry.stage,
      <Caption
        text={`${entry.outcome} by ${entry.rule}: ${entry.error ?? entry.value ?? "no value"}`}
      />,
    ]),
  ]);
  const columns = ["drop", "source", "stage", "verdict"];
  return <Table title="Verdicts" columns={columns} rows={rows} none="It was not delivered." />;
}

export function Hubs({ parts }: { parts: Part[] }) {
  const rows = parts.flatMap((part) =>
    part.hubs.map((hub) => [
      `${hub.query} → ${part.modality}`,
      `${hub.occurrence} (mean ${hub.mean.toFixed(2)})`,
      hub.hub ? <strong>yes</strong> : "no",
      hub.bias.toFixed(3),
    ]),
  );
  const columns = ["direction", "in raw top tens of the bank", "hub", "bias"];
  const none = "The release has no bank of queries to count in.";
  return <Table title="Hubs" columns={columns} rows={rows} none={none} />;
}

export function Duplicates({ duplicates }: Pick<SampleRecord, "duplicates">) {
  const rows = duplicates.map((each) => [
    <a href={address("sample", each.id)}>{each.id.slice(0, 12)}</a>,
    each.drop,
    each.kind,
    each.similarity.toFixed(3),
    each.representative ? "yes" : "no: another sample represents it",
  ]);
  const columns = ["sample", "drop", "kind", "similarity", "stays"];
  return <Table title="Duplicates" columns={columns} rows={rows} none="No duplicates are known." />;
}

export function Releases({ releases }: Pick<SampleRecord, "releases">) {
  const rows = [...releases]
    .reverse()
    .map((each) => [
      `release ${each.release}`,
      new Date(each.created_at).toISOString().slice(0, 16).replace("T", " "),
      each.modalities.join(", ") || "not in it",
    ]);
  const columns = ["release", "published (UTC)", "parts in it"];
  return <Table title="Releases" columns={columns} rows={rows} none="No release is kept." />;
}

export function Signals({ signals }: Pick<SampleRecord, "signals">) {
  const rows = Object.entries(signals).map(([name, value]) => [
    name,
    <bdi>{typeof value === "number" ? Number(value.toPrecision(6)) : value}</bdi>,
  ]);
  return <Table title="Signals" columns={["signal", "value"]} rows={rows} none="None measured." />;
}
