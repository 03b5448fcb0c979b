/** The points on a canvas, the lasso that is drawn over them, and the keys that zoom and move. */

import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { type CorpusMap, Frame, heat, type Point } from "./points";
import { afterKey, type View, wholeView } from "./zoom";

const HEIGHT = 520;
const DOT = 2.5; // pixels
const COLOURED = 4; // pixels of a dot whose colour says its group
const GROWTH = 7; // pixels that the greatest hub is larger

interface Props {
  map: CorpusMap;
  /** The colours of groups; null: by how many queries find a point. */
  colours: string[] | null;
  counts: number[];
  /** The greatest count of both rankings. */
  greatest: number;
  chosen: ReadonlySet<number>;
  lasso: Point[];
  onLasso: (corners: Point[]) => void;
  view: View;
  onView: (view: View) => void;
}

export function MapCanvas(props: Props) {
  const { map, colours, counts, greatest, chosen, lasso, onLasso, view, onView } = props;
  const points = useRef<HTMLCanvasElement>(null);
  const over = useRef<HTMLCanvasElement>(null); // the lasso: points are not drawn for each move
  const [width, setWidth] = useState(800);
  const [drawn, setDrawn] = useState<Point[] | null>(null); // while the pointer is down
  const frame = useMemo(() => new Frame(view, width, HEIGHT), [view, width]);
  useEffect(() => {
    const element = points.current;
    if (!element) return;
    const watcher = new ResizeObserver(() => setWidth(element.clientWidth || 800));
    watcher.observe(element);
    return () => watcher.disconnect();
  }, []);
  useEffect(() => {
    const context = cleared(points.current, width);
    if (!context) return;
    const cold = colour(context, "--line");
    for (const i of drawingOrder(counts, colours)) {
      const share = colours ? 0 : heat(counts[i] as number, greatest);
      const size = colours ? COLOURED : DOT + GROWTH * share;
      const [x, y] = frame.toCanvas(map.x[i] as number, map.y[i] as number);
      context.globalAlpha = chosen.size && !chosen.has(i) ? 0.2 : 0.85;
      context.fillStyle = colours?.[i] ?? (share ? warm(share) : cold);
      context.fillRect(x - size / 2, y - size / 2, size, size);
    }
  }, [map, frame, width, colours, counts, greatest, chosen]);
  useEffect(() => {
    const context = cleared(over.current, width);
    const corners = drawn ?? lasso;
    if (!context || corners.length < 2) return;
    context.strokeStyle = colour(context, "--accent");
    context.lineWidth = 2;
    context.beginPath();
    for (const [x, y] of corners) context.lineTo(...frame.toCanvas(x, y));
    if (!drawn) context.closePath();
    context.stroke();
  }, [frame, width, lasso, drawn]);
  const place = (event: PointerEvent): Point => frame.toMap(event.offsetX, event.offsetY);
  return (
    <div
      class="map"
      role="group"
      aria-label="Map: + and − zoom, arrow keys move, 0 shows all points"
      tabIndex={0}
      onKeyDown={(event) => {
        if (event.ctrlKey || event.metaKey || event.altKey) return;
        const next = afterKey(event.key, view, wholeView(map));
        if (!next) return;
        event.preventDefault();
        onView(next);
      }}
    >
      <canvas
        ref={points}
        role="img"
        aria-label={`Map of ${map.x.length} points; the lists below say the same in words`}
      />
      <canvas
        ref={over}
        aria-hidden="true"
        onPointerDown={(event) => {
          event.currentTarget.setPointerCapture(event.pointerId);
          setDrawn([place(event)]);
        }}
        onPointerMove={(event) => drawn && setDrawn([...drawn, place(event)])}
        onPointerUp={() => {
          if (drawn) onLasso(drawn.length >= 3 ? drawn : []);
          setDrawn(null);
        }}
        onPointerCancel={() => setDrawn(null)}
      />
    </div>
  );
}

/** The context of an empty canvas of the present size, in CSS pixels. */
function cleared(canvas: HTMLCanvasElement | null, width: number) {
  const context = canvas?.getContext("2d");
  if (!canvas || !context) return null;
  const ratio = devicePixelRatio || 1;
  canvas.width = width * ratio;
  canvas.height = HEIGHT * ratio;
  context.scale(ratio, ratio);
  return context;
}

/** A colour of the style sheet. */
function colour(context: CanvasRenderingContext2D, name: string): string {
  return getComputedStyle(context.canvas).getPropertyValue(name);
}

/** Hubs are drawn last, so that they are on top. */
function drawingOrder(counts: number[], colours: string[] | null): number[] {
  const order = counts.map((_, i) => i);
  return colours ? order : order.sort((a, b) => (counts[a] as number) - (counts[b] as number));
}

/** From amber to red. Both are visible on a light and on a dark page. */
function warm(share: number): string {
  return `hsl(${40 - 40 * share} 85% ${48 - 6 * share}%)`;
}
