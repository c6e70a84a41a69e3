import type { Browser } from "playwright-core";
import { afterAll, beforeAll, expect, it } from "vitest";
import { browse, clean, type Server, serve, visit } from "./house";

let server: Server;
let browser: Browser;

beforeAll(async () => {
  server = await serve();
  browser = await browse();
});

afterAll(async () => {
  await browser.close();
  await server.stop();
  clean(server);
});

it("draws four pictures of a prompt", async () => {
  const { page, errors } = await visit(browser, server.url);
  await page.getByRole("textbox", { name: "Prompt" }).fill("a red car");
  await page.getByRole("button", { name: "Draw" }).click();
  const job = page.getByRole("region", { name: "a red car" });
  await job.and(page.locator("[data-state=done]")).waitFor();
  expect(await job.getByRole("img").count()).toBe(4);
  expect(errors).toEqual([]);
});
