import { defineConfig } from "vitest/config";

// `npm run pictures` takes the pictures of docs/studio.md.
export default defineConfig({
  test: { include: ["e2e/pictures.ts"], testTimeout: 900_000, hookTimeout: 240_000 },
});
