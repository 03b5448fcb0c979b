import { existsSync, readFileSync, readdirSync } from "node:fs";
import { dirname, join } from "node:path";
import type { Plugin } from "vite";

const ALLOWED = ["MIT", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "ISC"];

/** Write LICENSES.txt beside the bundle: its npm packages and the texts of their licences. */
export function licences(): Plugin {
  return {
    name: "licences",
    generateBundle(_, bundle) {
      const folders = new Set<string>();
      for (const chunk of Object.values(bundle)) {
        if (chunk.type !== "chunk") continue;
        for (const module of Object.keys(chunk.modules)) {
          if (module.includes("/node_modules/")) folders.add(packageFolder(module));
        }
      }
      const source = [...folders].sort().map(describe).join("\n\n");
      this.emitFile({ type: "asset", fileName: "LICENSES.txt", source });
    },
  };
}

function packageFolder(module: string): string {
  let folder = dirname(module.replace(/^\0/, ""));
  while (!existsSync(join(folder, "package.json")) || !manifest(folder).version) {
    folder = dirname(folder);
  }
  return folder;
}

function manifest(folder: string): { name: string; version?: string; license?: string } {
  return JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
}

function describe(folder: string): string {
  const { name, version, license } = manifest(folder);
  if (!license || !ALLOWED.includes(license)) {
    throw new Error(`${name} has the licence ${license}; allowed: ${ALLOWED.join(", ")}`);
  }
  const file = readdirSync(folder).find((each) => /^licen[cs]e/i.test(each));
  if (!file) throw new Error(`${name} ships no text of its licence`);
  return `${name} ${version} (${license})\n\n${readFileSync(join(folder, file), "utf8").trim()}\n`;
}
