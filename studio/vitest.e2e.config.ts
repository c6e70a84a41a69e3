import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["e2e/**/*.e2e.ts"],
    fileParallelism: false, // one server draws at a time
    testTimeout: 240_000,
    hookTimeout: 120_000,
  },
});
