/** One sample: its content, what the tables say about it, and its neighbours. */

import { Caption } from "../caption";
import { Status, useLoaded } from "../loading";
import { Original, Recording } from "../picture";
import { toLink } from "../query";
import { address } from "../route";
import { Neighbours } from "./neighbours";
import { Deliveries, Duplicates, Hubs, Releases, Signals } from "./tables";
import { readSample, type Sample } from "./record";

export function SampleView({ id }: { id: string }) {
  const loaded = useLoaded(`sample ${id}`, (signal) => readSample(id, signal));
  if (!loaded.value || loaded.loading) {
    return (
      <>
        <h1>Sample</h1>
        <Status of={loaded} />
      </>
    );
  }
  const { sample, record } = loaded.value;
  const link = toLink({ inputs: [{ id }], among: "sample" }) ?? "";
  return (
    <article class="sample">
      <h1>
        <bdi>{sample.key}</bdi>
      </h1>
      <p class="row">
        <code>{id}</code> <a href={address("search", "", `q=${link}`)}>Search for more like this</a>
      </p>
      <Content id={id} sample={sample} />
      <Deliveries deliveries={record.deliveries} />
      <Hubs parts={record.parts} />
      <Duplicates duplicates={record.duplicates} />
      <Releases releases={record.releases} />
      <Neighbours parts={record.parts} />
      <Signals signals={record.signals} />
    </article>
  );
}

function Content({ id, sample }: { id: string; sample: Sample }) {
  return (
    <section aria-label="Content" class="content">
      {sample.image_id && <Original path={`/samples/${id}/image`} label={sample.key} />}
      <div>
        {sample.audio_id && <Recording path={`/samples/${id}/audio`} />}
        <Caption text={sample.text} most={5000} />
        {sample.meta && (
          <details>
            <summary>Metadata</summary>
            <pre dir="auto">{sample.meta}</pre>
          </details>
        )}
      </div>
    </section>
  );
}
