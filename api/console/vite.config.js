// Builds ../bundle, which is committed: users and CI need no Node.js.
import { createHash } from "node:crypto";
import { readFileSync, readdirSync, writeFileSync } from "node:fs";
import { join, relative } from "node:path";
import { defineConfig } from "vite";

const root = import.meta.dirname;
const bundle = join(root, "../bundle");
const apart = new Set(["node_modules"]);

function files(folder) {
  const found = readdirSync(folder, { withFileTypes: true }).filter((each) => !apart.has(each.name));
  return found.flatMap((each) => {
    const path = join(folder, each.name);
    return each.isDirectory() ? files(path) : [path];
  });
}

const sha256 = (content) => createHash("sha256").update(content).digest("hex");

/** Return the hash of all sources; a test compares it with the committed bundle. */
function hashOfSources() {
  const names = files(root).map((path) => relative(root, path).replaceAll("\\", "/")).sort();
  return sha256(names.map((name) => `${name}\n${sha256(readFileSync(join(root, name)))}\n`).join(""));
}

/** Writes the manifest: the hashes of the served files and of the sources. */
const manifest = {
  name: "manifest",
  closeBundle() {
    const names = files(bundle).map((path) => relative(bundle, path)).filter((name) => name !== "manifest.json").sort();
    const listed = Object.fromEntries(names.map((name) => [name, { sha256: sha256(readFileSync(join(bundle, name))) }]));
    const content = { sources: hashOfSources(), files: listed };
    writeFileSync(join(bundle, "manifest.json"), `${JSON.stringify(content, null, 2)}\n`);
  },
};

export default defineConfig({
  root,
  base: "/console/",
  plugins: [manifest],
  // `npm run dev` proxies requests to a running installation.
  server: { proxy: { "/api": "http://127.0.0.1:8000" } },
  build: {
    outDir: bundle,
    emptyOutDir: true,
    assetsDir: "",
    assetsInlineLimit: 0,
    target: "es2022",
    modulePreload: { polyfill: false },
    reportCompressedSize: true,
    rollupOptions: { output: { entryFileNames: "console-[hash].js", assetFileNames: "console-[hash][extname]" } },
  },
});
