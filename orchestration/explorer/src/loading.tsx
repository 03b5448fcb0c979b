/** Values that come from the server, and how a view waits for them. */

import type { ComponentChildren } from "preact";
import { useEffect, useState } from "preact/hooks";
import { ServerError } from "./server";

export interface Loaded<T> {
  value?: T;
  error?: Error;
  loading: boolean;
}

/** Load a value, and again whenever `key` changes. The value before stays until then. */
export function useLoaded<T>(
  key: string | null,
  load: (signal: AbortSignal) => Promise<T>,
): Loaded<T> {
  const [state, setState] = useState<{ key: string | null; value?: T; error?: Error }>({
    key: null,
  });
  useEffect(() => {
    if (key === null) return;
    const ended = new AbortController();
    load(ended.signal).then(
      (value) => ended.signal.aborted || setState({ key, value }),
      (error: Error) => ended.signal.aborted || setState({ key, error }),
    );
    return () => ended.abort();
    // `load` is a new function at each call; `key` says what it loads.
  }, [key]);
  if (key === null) return { loading: false };
  if (state.key !== key) return { value: state.value, loading: true };
  return { value: state.value, error: state.error, loading: false };
}

/** The state of loading in words, for people and for screen readers. */
export function Status({ of, children }: { of: Loaded<unknown>; children?: ComponentChildren }) {
  if (of.error) return <Problem error={of.error} />;
  return (
    <p class="status" role="status">
      {of.loading ? "Loading …" : children}
    </p>
  );
}

export function Problem({ error }: { error: Error }) {
  const isExpected = error instanceof ServerError;
  return (
    <p class="problem" role="alert" data-status={isExpected ? error.status : undefined}>
      {error.message}
    </p>
  );
}
