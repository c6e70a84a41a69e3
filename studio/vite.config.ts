import preact from "@preact/preset-vite";
import { defineConfig } from "vitest/config";

// `npm run dev` serves the page with a server at UNCLIP_URL behind it.
const server = process.env["UNCLIP_URL"] ?? "http://127.0.0.1:8000";
// The server refuses pages of other origins: to it, the page comes from itself.
const proxied = { target: server, changeOrigin: true, headers: { origin: new URL(server).origin } };

export default defineConfig({
  base: "./",
  plugins: [preact({ devToolsEnabled: false })],
  build: {
    outDir: "../src/unclip/web",
    emptyOutDir: true,
    assetsDir: "static",
    assetsInlineLimit: 0, // the content security policy allows no data: but for pictures
    modulePreload: { polyfill: false },
    target: "es2022",
  },
  test: { environment: "happy-dom", include: ["tests/**/*.test.{ts,tsx}"] },
  server: { proxy: { "/v1": proxied, "/files": proxied } },
});
