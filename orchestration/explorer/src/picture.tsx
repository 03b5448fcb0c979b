/** Thumbnails and recordings of the release, read when they come into view. */

import { useEffect, useRef, useState } from "preact/hooks";
import { objectAddress } from "./files";
import { Status, useLoaded } from "./loading";
import { mediaAddress } from "./media";

interface ThumbnailProps {
  partId: string;
  label: string;
  /** Left, top, width and height of the tile that is framed, as shares of the picture. */
  tile?: [number, number, number, number] | null;
}

/** A thumbnail by the id of its part, or a placeholder where there is none. */
export function Thumbnail({ partId, label, tile }: ThumbnailProps) {
  const frame = useRef<HTMLDivElement>(null);
  const [source, setSource] = useState<string | null>(null);
  const [size, setSize] = useState<[number, number] | null>(null);
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
      {source && (
        <img
          src={source}
          alt={label}
          onLoad={({ currentTarget: { naturalWidth, naturalHeight } }) =>
            setSize([naturalWidth, naturalHeight])
          }
        />
      )}
      {source && tile && size && <Frame tile={tile} size={size} />}
    </div>
  );
}

/** A frame around a tile. The viewBox is the picture's, so both are scaled alike. */
function Frame({ tile, size: [width, height] }: { tile: number[]; size: [number, number] }) {
  const [x = 0, y = 0, w = 1, h = 1] = tile;
  return (
    <svg class="frame" viewBox={`0 0 ${width} ${height}`} aria-hidden="true">
      <rect x={x * width} y={y * height} width={w * width} height={h * height} />
    </svg>
  );
}

/** A picture as it was delivered. */
export function Original({ path, label }: { path: string; label: string }) {
  const loaded = useLoaded(path, () => mediaAddress(path));
  if (!loaded.value) return <Status of={loaded} />;
  return <img class="original" src={loaded.value} alt={label} />;
}

interface RecordingProps {
  path: string;
  /** Start and end, in seconds, of what is played first; the whole recording without it. */
  window?: [number, number] | null;
}

/** A player for a recording. The recording is read when it is wanted. */
export function Recording({ path, window }: RecordingProps) {
  const end = useRef<number | null>(null); // where the first playing stops
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
  return (
    <audio
      controls
      autoplay
      src={source}
      onLoadedMetadata={({ currentTarget }) => {
        if (!window) return;
        [currentTarget.currentTime, end.current] = window;
      }}
      onTimeUpdate={({ currentTarget }) => {
        if (end.current === null || currentTarget.currentTime < end.current) return;
        currentTarget.pause();
        end.current = null;
      }}
    />
  );
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
