/** Requests to the server of the corpus, with the API key of this tab. */

/** An error that the server answered with, or that there was no answer. */
export class ServerError extends Error {
  constructor(
    message: string,
    /** The HTTP status; 0 if there was no answer. */
    readonly status: number,
    /** After how many seconds the server wants the request again, if it named them. */
    readonly retryAfter = 0,
  ) {
    super(message);
  }
}

const KEY = "isotrope-api-key";
const WAITS = 3; // times that a busy server is tried again
const MOST_WAIT = 10; // seconds

export function storedKey(): string | null {
  return sessionStorage.getItem(KEY);
}

export function storeKey(key: string): void {
  sessionStorage.setItem(KEY, key.trim());
}

/** Read JSON from the server. A signal that aborts ends the request. */
export async function getJson<T>(path: string, signal?: AbortSignal): Promise<T> {
  return (await (await request(path, { signal })).json()) as T;
}

/** Send JSON to the server, and read the JSON of its answer. A busy server is tried again. */
export async function postJson<T>(
  path: string,
  body: unknown,
  signal?: AbortSignal,
  waits = WAITS,
): Promise<T> {
  const headers = { "content-type": "application/json" };
  const options = { method: "POST", headers, body: JSON.stringify(body), signal };
  return (await (await request(path, options, waits)).json()) as T;
}

/** Delete something of the server, and read the JSON of its answer. */
export async function deleteJson<T>(path: string): Promise<T> {
  return (await (await request(path, { method: "DELETE" })).json()) as T;
}

/** Read a file from the server. */
export async function getBlob(path: string, signal?: AbortSignal): Promise<Blob> {
  return await (await request(path, { signal })).blob();
}

async function request(
  path: string,
  options: RequestInit,
  waits = WAITS,
): Promise<Response> {
  for (let attempt = 0; ; attempt++) {
    try {
      return await send(path, options);
    } catch (error) {
      const isBusy = error instanceof ServerError && error.status === 429;
      if (!isBusy || attempt >= waits) throw error;
      const seconds = Math.min(MOST_WAIT, Math.max(1, error.retryAfter));
      await new Promise((resolve) => setTimeout(resolve, 1000 * seconds));
    }
  }
}

async function send(path: string, options: RequestInit): Promise<Response> {
  const headers = new Headers(options.headers);
  const key = storedKey();
  if (key) headers.set("authorization", `Bearer ${key}`);
  let answer: Response;
  try {
    answer = await fetch(path, { ...options, headers });
  } catch (error) {
    if (options.signal?.aborted) throw error;
    throw new ServerError("The server does not answer. Is it running?", 0);
  }
  if (answer.ok) return answer;
  const retryAfter = Number(answer.headers.get("retry-after")) || 0;
  throw new ServerError(await message(answer), answer.status, retryAfter);
}

async function message(answer: Response): Promise<string> {
  try {
    return String((await answer.json()).error.message);
  } catch {
    return `The server answered with the status ${answer.status}.`;
  }
}
