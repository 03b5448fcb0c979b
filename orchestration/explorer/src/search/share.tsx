/** A query to take along: its link, and the same query as Python and as curl. */

import { useState } from "preact/hooks";
import { asCurl, asPython } from "../code";
import { ExportDialog } from "../exports/dialog";
import { type Query, toLink } from "../query";
import { storedKey } from "../server";

export function Share({ query }: { query: Query }) {
  const [message, setMessage] = useState("");
  const copy = async (name: string, text: string) => {
    try {
      await navigator.clipboard.writeText(text);
      setMessage(`Copied: ${name}`);
    } catch {
      setMessage("The browser does not allow this page to copy.");
    }
  };
  const isLinked = toLink(query) !== null;
  const server = location.origin;
  return (
    <div class="row share">
      <button type="button" disabled={!isLinked} onClick={() => copy("link", location.href)}>
        Copy the link
      </button>
      <button type="button" onClick={() => copy("Python", asPython(query, server))}>
        Copy as Python
      </button>
      <button
        type="button"
        onClick={() => copy("curl", asCurl(query, server, storedKey() !== null))}
      >
        Copy as curl
      </button>
      <ExportDialog subset={{ query }} name="this query" />
      <span role="status" class="hint">
        {message || (isLinked ? "" : "A file of the query is too large for a link.")}
      </span>
    </div>
  );
}
