/** A caption. It comes from a stranger: it is a text node, isolated from the text around it. */

import { useState } from "preact/hooks";

const SHORT = 300; // characters that a list shows

export function Caption({ text, most = SHORT }: { text: string | null; most?: number }) {
  const [isOpen, setOpen] = useState(false);
  if (!text?.trim()) return <p class="caption none">no caption</p>;
  const isCut = text.length > most && !isOpen;
  return (
    <p class="caption">
      <bdi dir="auto">{isCut ? `${text.slice(0, most)} …` : text}</bdi>
      {text.length > most && (
        <button type="button" class="link" onClick={() => setOpen(!isOpen)}>
          {isOpen ? "show less" : `show all ${text.length.toLocaleString("en")} characters`}
        </button>
      )}
    </p>
  );
}
