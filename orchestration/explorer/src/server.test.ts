import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { getJson, postJson, ServerError, storeKey } from "./server";

const fetched = vi.fn<typeof fetch>();

beforeEach(() => {
  sessionStorage.clear();
  fetched.mockReset();
  vi.stubGlobal("fetch", fetched);
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

function refusal(status: number, headers = {}): Response {
  const error = { type: "BusyError", message: "busy" };
  return new Response(JSON.stringify({ error }), { status, headers });
}

test("the key of the tab is sent", async () => {
  fetched.mockImplementation(async () => new Response("{}"));
  await getJson("/release");
  storeKey(" isotrope_x ");
  await postJson("/search", { inputs: [] });
  const sent = fetched.mock.calls.map(([, options]) => options?.headers as Headers);
  expect(sent.map((each) => each.get("authorization"))).toEqual([null, "Bearer isotrope_x"]);
});

test("an error has the server's message", async () => {
  fetched.mockResolvedValueOnce(refusal(422));
  await expect(getJson("/x")).rejects.toMatchObject({ message: "busy", status: 422 });
  fetched.mockResolvedValueOnce(new Response("<html>", { status: 502 }));
  await expect(getJson("/x")).rejects.toMatchObject({ status: 502 });
  fetched.mockRejectedValueOnce(new TypeError("network"));
  await expect(getJson("/x")).rejects.toBeInstanceOf(ServerError);
});

test("a busy server is tried again after the seconds that it names", async () => {
  fetched.mockResolvedValueOnce(refusal(429, { "retry-after": "2" }));
  fetched.mockResolvedValueOnce(new Response("[1]"));
  const answer = getJson("/x");
  await vi.advanceTimersByTimeAsync(1900);
  expect(fetched).toHaveBeenCalledTimes(1);
  await vi.advanceTimersByTimeAsync(200);
  expect(await answer).toEqual([1]);
});

test("a server that stays busy is given up", async () => {
  fetched.mockImplementation(async () => refusal(429));
  const answer = getJson("/x").catch((error: ServerError) => error.status);
  await vi.advanceTimersByTimeAsync(60_000);
  expect(await answer).toBe(429);
  expect(fetched).toHaveBeenCalledTimes(4);
});
