/** The address of a view is the part behind #, so that queries reach no log of a server. */

import { useEffect, useState } from "preact/hooks";

export interface Route {
  /** The view, such as "search" or "sample". */
  view: string;
  /** The rest of the path, such as the id of a sample. */
  item: string;
  params: URLSearchParams;
}

export function readRoute(hash: string): Route {
  const [path = "", query = ""] = hash.replace(/^#\/?/, "").split("?", 2);
  const [view, item] = path.split("/", 2);
  return { view: view || "search", item: decode(item ?? ""), params: new URLSearchParams(query) };
}

/** The address of a view, for links. Values of parameters must be encoded. */
export function address(view: string, item = "", params = ""): string {
  return `#/${view}${item && `/${encodeURIComponent(item)}`}${params && `?${params}`}`;
}

export function useRoute(): Route {
  const [route, setRoute] = useState(() => readRoute(location.hash));
  useEffect(() => {
    const update = () => setRoute(readRoute(location.hash));
    addEventListener("hashchange", update);
    return () => removeEventListener("hashchange", update);
  }, []);
  return route;
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return "";
  }
}
