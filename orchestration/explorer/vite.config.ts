import { defineConfig } from "vitest/config";
import { licences } from "./licences";

// The server serves the built files at /explorer/, without a network: everything is in the bundle.
export default defineConfig({
  base: "/explorer/",
  esbuild: { jsx: "automatic", jsxImportSource: "preact" },
  plugins: [licences()],
  build: {
    outDir: "built",
    emptyOutDir: true,
    target: "es2022",
    modulePreload: { polyfill: false }, // it would be an inline script
    assetsInlineLimit: 0, // no data: addresses, which the content security policy refuses
  },
  test: { environment: "happy-dom", include: ["src/**/*.test.{ts,tsx}"] },
});
