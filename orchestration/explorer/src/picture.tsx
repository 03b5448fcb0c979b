/** Thumbnails and recordings of the release, read when they come into view. */

import { useEffect, useRef, useState } from "preact/hooks";
import { objectAddress } from "./files";
import { Status, useLoaded } from "./loading";
import { mediaAddress } from "./media";

/** A thumbnail by the id of its part, or a placeholder where there is none. */
export function Thumbnail({ partId, label }: { partId: string; label: string }) {
  const frame = useRef<HTMLDivElement>(null);
  const [source, setSource] = useState<string | null>(null);
  useEffect(() => {
    let isCurrent = true;
    setSource(null);
    const watcher = new IntersectionObserver(
      (entries) => {
        if (!entries.some((entry) => entry.isIntersecting)) return;
        watcher.disconnect();
        mediaAddress(`/thumbnails/${partId}`).then(
          (made) => isCurrent && setSource(made),
          () => undefined, // the placeholder stays
        );
      },
      { rootMargin: "300px" },
    );
    if (frame.current) watcher.observe(frame.current);
    return () => {
      isCurrent = false;
      watcher.disconnect();
    };
  }, [partId]);
  return (
    <div class="thumbnail" ref={frame}>
      {source && <img src={source} alt={label} />}
    </div>
  );
}

/** A picture as it was delivered. */
export function Original({ path, label }: { path: string; label: string }) {
  const loaded = useLoaded(path, () => mediaAddress(path));
  if (!loaded.value) return <Status of={loaded} />;
  return <img class="original" src={loaded.value} alt={label} />;
}

/** A player for a recording. The recording is read when it is wanted. */
export function Recording({ path }: { path: string }) {
  const [source, setSource] = useState<string | null>(null);
  const [problem, setProblem] = useState("");
  const load = () =>
    mediaAddress(path).then(setSource, (error: Error) => setProblem(error.message));
  if (problem) return <span class="problem">{problem}</span>;
  if (!source) {
    return (
      <button type="button" onClick={load}>
        ▶ Load the recording
      </button>
    );
  }
  return <audio controls autoplay src={source} />;
}

/** A picture or recording of the user, in base64. */
export function OwnFile({ kind, data }: { kind: "image" | "audio"; data: string }) {
  const [source, setSource] = useState<string | null>(null);
  useEffect(() => {
    const made = objectAddress(data, kind === "image" ? "" : "audio/*");
    setSource(made);
    return () => URL.revokeObjectURL(made);
  }, [kind, data]);
  if (!source) return null;
  if (kind === "image") return <img src={source} alt="your picture" />;
  return <audio controls src={source} />;
}
