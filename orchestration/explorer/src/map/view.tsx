/** The map of a gallery: where its items are, which are hubs, and what the correction changes. */

import { useMemo } from "preact/hooks";
import { Status, useLoaded } from "../loading";
import { isModality, MODALITIES, type Modality } from "../query";
import { galleries, useRelease } from "../release";
import { address } from "../route";
import { getJson } from "../server";
import { MapCanvas } from "./canvas";
import { Chosen } from "./chosen";
import { ExportDialog } from "../exports/dialog";
import { Legend } from "./legend";
import { COLOURINGS, type Colouring, type CorpusMap, groupColours, hubness } from "./points";
import { greatestHubs, groupValues, inside, lassoText, readLasso } from "./points";
import { groupView, readView, STEP, type View, viewText, wholeView, zoomed } from "./zoom";

const HUBS = 20; // that are listed
const EVERYTHING = { group: "", zoom: "" };

/** The settings of the map, which are in its address. */
interface Settings {
  gallery: Modality;
  queries: Modality;
  colour: Colouring;
  ranking: "raw" | "corrected";
  lasso: string;
  /** The label of the group that is shown alone. */
  group: string;
  /** The view, as text; empty: all points. */
  zoom: string;
}

export function MapView({ params }: { params: URLSearchParams }) {
  const release = useRelease();
  const settings = readSettings(params, galleries(release));
  const { gallery, queries } = settings;
  const key = `/map?gallery=${gallery}&queries=${queries}`;
  const loaded = useLoaded(`${key} ${release.number}`, (signal) => getJson<CorpusMap>(key, signal));
  const set = (change: Partial<Settings>) => {
    const next = new URLSearchParams({ ...settings, ...change });
    const to = address("map", "", next.toString());
    if (Object.keys(change).join() !== "zoom") location.hash = to;
    else {
      history.replaceState(null, "", to); // no step back for each key
      dispatchEvent(new HashChangeEvent("hashchange"));
    }
  };
  return (
    <>
      <h1>Map</h1>
      <div class="row">
        <Choice
          label="Gallery"
          value={gallery}
          values={galleries(release)}
          onChange={(value) => set({ gallery: value, lasso: "", ...EVERYTHING })}
        />
        <Choice
          label="Queries"
          value={queries}
          values={MODALITIES}
          onChange={(value) => set({ queries: value })}
        />
        <Choice
          label="Colour"
          value={settings.colour}
          values={COLOURINGS}
          onChange={(value) => set({ colour: value, ...EVERYTHING })}
        />
        <span role="group" aria-label="Hubs by" class="row">
          {(["raw", "corrected"] as const).map((ranking) => (
            <button
              type="button"
              aria-pressed={settings.ranking === ranking}
              onClick={() => set({ ranking })}
            >
              {ranking} scores
            </button>
          ))}
        </span>
      </div>
      {loaded.value && !loaded.loading ? (
        <Drawn map={loaded.value} settings={settings} set={set} />
      ) : (
        <Status of={loaded} />
      )}
    </>
  );
}

interface DrawnProps {
  map: CorpusMap;
  settings: Settings;
  set: (change: Partial<Settings>) => void;
}

function Drawn({ map, settings, set }: DrawnProps) {
  const { colour, ranking, lasso, group, zoom } = settings;
  const counts = map[ranking];
  const groups = useMemo(() => {
    const values = groupValues(map, colour);
    return values && groupColours(values);
  }, [map, colour]);
  const greatest = useMemo(
    () => Math.max(hubness(map.raw).greatest, hubness(map.corrected).greatest),
    [map],
  );
  const corners = useMemo(() => readLasso(lasso), [lasso]);
  const members = useMemo(() => membersOf(groups?.labels ?? [], group), [groups, group]);
  const chosen = useMemo(
    () => (corners.length ? inside(map, corners) : members),
    [map, corners, members],
  );
  const ids = useMemo(() => [...new Set(chosen.map((i) => map.ids[i] as string))], [map, chosen]);
  const view = useMemo(() => readView(zoom) ?? wholeView(map), [map, zoom]);
  const show = (next: View) => set({ zoom: viewText(next) });
  const isChosen = corners.length > 0 || members.length > 0;
  const shown = isChosen ? chosen : greatestHubs(counts, HUBS);
  const title = isChosen
    ? `${chosen.length} points ${corners.length ? "in the lasso" : `of ${group}`}`
    : `The ${shown.length} points that most queries find, by ${ranking} scores`;
  return (
    <>
      <Summary map={map} />
      <MapCanvas
        map={map}
        colours={groups?.of ?? null}
        counts={counts}
        greatest={greatest}
        chosen={useMemo(() => new Set(chosen), [chosen])}
        lasso={corners}
        onLasso={(drawn) => set({ lasso: lassoText(drawn) })}
        view={view}
        onView={show}
      />
      <p class="row">
        <button type="button" onClick={() => show(zoomed(view, 1 / STEP))}>
          Zoom in
        </button>
        <button type="button" onClick={() => show(zoomed(view, STEP))}>
          Zoom out
        </button>
        <button type="button" disabled={!zoom && !group} onClick={() => set(EVERYTHING)}>
          Show all points
        </button>
        <span class="hint">On the map: + and − zoom, arrow keys move, 0 shows all points.</span>
      </p>
      {groups && (
        <Legend
          colouring={colour}
          entries={groups.legend}
          group={group}
          onGroup={(label) =>
            set(
              label === group
                ? EVERYTHING
                : {
                    group: label,
                    zoom: viewText(groupView(map, membersOf(groups.labels, label))),
                    lasso: "",
                  },
            )
          }
        />
      )}
      <p class="row">
        <span class="hint">Draw around points to choose them. The address holds the choice.</span>
        {corners.length > 0 && (
          <button type="button" onClick={() => set({ lasso: "" })}>
            Remove the lasso
          </button>
        )}
      </p>
      <Chosen title={title} map={map} points={shown}>
        {chosen.length > 0 && <ExportDialog subset={{ ids }} name={title} />}
      </Chosen>
    </>
  );
}

/** The indices of the points of a group. */
function membersOf(labels: string[], group: string): number[] {
  return labels.flatMap((label, i) => (label === group ? [i] : []));
}

function Summary({ map }: { map: CorpusMap }) {
  const sample = map.x.length < map.rows ? `a random ${map.x.length.toLocaleString("en")} of ` : "";
  const [first, second] = map.variance.map((share) => `${(100 * share).toFixed(0)}%`);
  const rankings = { raw: hubness(map.raw), corrected: hubness(map.corrected) };
  return (
    <div class="hint" role="status">
      <p>
        Release {map.release}: {sample}
        {map.rows.toLocaleString("en")} {map.gallery} parts by their first two principal components,
        which have {first} and {second} of the variance.
      </p>
      {map.bank === 0 && <p>The release has no bank of {map.queries} queries to find hubs with.</p>}
      {map.bank > 0 &&
        (["raw", "corrected"] as const).map((name) => (
          <p>
            By {name} scores{name === "corrected" && ` (${map.method})`}, of {map.bank}{" "}
            {map.queries} queries: one point is in {rankings[name].greatest} top tens, 1% of the
            points fill {(100 * rankings[name].top).toFixed(0)}% of all places, and{" "}
            {(100 * rankings[name].never).toFixed(0)}% are never found.
          </p>
        ))}
    </div>
  );
}

interface ChoiceProps<T extends string> {
  label: string;
  value: T;
  values: readonly T[];
  onChange: (value: T) => void;
}

function Choice<T extends string>({ label, value, values, onChange }: ChoiceProps<T>) {
  return (
    <label>
      {label}
      <select value={value} onChange={(event) => onChange(event.currentTarget.value as T)}>
        {values.map((each) => (
          <option value={each}>{each}</option>
        ))}
      </select>
    </label>
  );
}

function readSettings(params: URLSearchParams, present: Modality[]): Settings {
  const [gallery, queries] = [params.get("gallery"), params.get("queries")];
  const colour = COLOURINGS.find((each) => each === params.get("colour"));
  return {
    gallery: isModality(gallery) ? gallery : (present[0] ?? "image"),
    queries: isModality(queries) ? queries : "text",
    colour: colour ?? "occurrence",
    ranking: params.get("ranking") === "corrected" ? "corrected" : "raw",
    lasso: params.get("lasso") ?? "",
    group: params.get("group") ?? "",
    zoom: params.get("zoom") ?? "",
  };
}
