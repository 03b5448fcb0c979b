import { render } from "preact";
import { afterEach, expect, test } from "vitest";
import { Caption } from "./caption";

const root = document.createElement("div");
afterEach(() => render(null, root));

test("markup in a caption is text", () => {
  const hostile = `<script>alert(1)</script><img src=x onerror="alert(1)">&lt;b&gt;`;
  render(<Caption text={hostile} />, root);
  expect(root.querySelectorAll("script, img, b")).toHaveLength(0);
  expect(root.querySelector("bdi")?.textContent).toBe(hostile);
});

test("a caption of another direction does not turn the text around it", () => {
  render(<Caption text={"\u202Eevil \u05D0\u05D1"} />, root);
  expect(root.querySelector("bdi")?.getAttribute("dir")).toBe("auto");
});

test("a long caption is cut until it is opened", async () => {
  render(<Caption text={"x".repeat(100_000)} />, root);
  expect(root.querySelector("bdi")?.textContent?.length).toBeLessThan(400);
  root.querySelector("button")?.click();
  await new Promise((resolve) => setTimeout(resolve));
  expect(root.querySelector("bdi")?.textContent?.length).toBe(100_000);
});

test("no caption is said to be none", () => {
  for (const text of [null, "", " \n"]) {
    render(<Caption text={text} />, root);
    expect(root.textContent).toBe("no caption");
  }
});
