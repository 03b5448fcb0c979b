/** The frame of all views: the key, the release, the navigation. */

import { useEffect, useState } from "preact/hooks";
import { Problem, useLoaded } from "./loading";
import { CurationView } from "./curation/view";
import { MapView } from "./map/view";
import { readRelease, type Release, ReleaseContext } from "./release";
import { address, type Route, useRoute } from "./route";
import { ServerError, storedKey, storeKey } from "./server";
import { SampleView } from "./sample/view";
import { SearchView } from "./search/view";

const VIEWS = [
  ["search", "Search"],
  ["map", "Map"],
  ["curation", "Curation"],
] as const;
const AGAIN = 5; // seconds until a missing release or server is looked for again

export function App() {
  const route = useRoute();
  const [attempt, setAttempt] = useState(0);
  const again = () => setAttempt((n) => n + 1);
  const release = useLoaded(`release ${attempt}`, readRelease);
  const status = release.error instanceof ServerError ? release.error.status : null;
  const isMissing = status === 0 || status === 404 || status === 503;
  useEffect(() => {
    if (!isMissing) return;
    const timer = setTimeout(again, 1000 * AGAIN);
    return () => clearTimeout(timer);
  }, [isMissing, attempt]);
  return (
    <>
      <a class="skip" href="#main">
        Skip to the content
      </a>
      <Header release={release.value} view={route.view} />
      <main id="main" tabIndex={-1}>
        {status === 401 && <KeyForm refused={storedKey() !== null} onKey={again} />}
        {release.error && status !== 401 && <Problem error={release.error} />}
        {isMissing && <p class="hint">This page looks again every {AGAIN} seconds.</p>}
        {release.value && !release.error && (
          <ReleaseContext value={release.value}>
            <View route={route} />
          </ReleaseContext>
        )}
        {status === 404 && route.view === "curation" && <View route={route} />}
      </main>
    </>
  );
}

function View({ route }: { route: Route }) {
  switch (route.view) {
    case "search":
      return <SearchView params={route.params} />;
    case "curation":
      return <CurationView params={route.params} />;
    case "map":
      return <MapView params={route.params} />;
    case "sample":
      return <SampleView id={route.item} key={route.item} />;
    default:
      return <p class="problem">There is no such page.</p>;
  }
}

function Header({ release, view }: { release?: Release; view: string }) {
  return (
    <header class="bar">
      <strong>isotrope</strong>
      <nav aria-label="Views">
        {VIEWS.map(([name, title]) => (
          <a href={address(name)} aria-current={view === name ? "page" : undefined}>
            {title}
          </a>
        ))}
      </nav>
      {release && (
        <span class="release">
          release {release.number}, space {release.space}
        </span>
      )}
    </header>
  );
}

function KeyForm({ refused, onKey }: { refused: boolean; onKey: () => void }) {
  const [key, setKey] = useState("");
  const submit = (event: Event) => {
    event.preventDefault();
    storeKey(key);
    onKey();
  };
  return (
    <form class="key" onSubmit={submit}>
      <label for="key">API key</label>
      <input
        id="key"
        type="password"
        autocomplete="off"
        required
        value={key}
        aria-describedby="key-hint"
        onInput={(event) => setKey(event.currentTarget.value)}
      />
      <button type="submit">Use this key</button>
      <p id="key-hint" class="hint">
        {refused ? "The server refused the key of this tab. " : "This server needs a key. "}
        <code>isotrope serve --new-key NAME</code> makes one. It is kept until this tab is closed.
      </p>
    </form>
  );
}
