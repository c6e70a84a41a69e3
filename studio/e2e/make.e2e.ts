/** The one visit that every check makes: pictures from a prompt to their variations. */
import type { Browser } from "playwright-core";
import { afterAll, beforeAll, expect, it } from "vitest";
import { browse, clean, type Server, serve, visit } from "./house";

let server: Server;
let browser: Browser;

beforeAll(async () => {
  [server, browser] = await Promise.all([serve(), browse()]);
});

afterAll(async () => {
  await browser.close();
  await server.stop();
  clean(server);
});

it("draws four pictures of a prompt, while another is cancelled and the page is loaded again", async () => {
  const { page, errors } = await visit(browser, server.url);
  const prompt = page.getByRole("textbox", { name: "Prompt", exact: true });
  const job = (title: string, state: string) =>
    page
      .getByRole("region", { name: title, exact: true })
      .and(page.locator(`[data-state=${state}]`));
  const previews = job("a red car", "running").locator(".preview img");

  await page.locator("summary", { hasText: "Settings" }).first().click();
  const steps = page.getByRole("textbox", { name: "Steps", exact: true }).first();
  await steps.fill("200");
  await prompt.fill("a red car");
  await prompt.press("Enter");
  await previews.first().waitFor();
  await steps.fill("");
  await prompt.fill("a blue boat");
  await page.getByRole("button", { name: "Draw" }).click();
  await job("a blue boat", "queued").waitFor();

  await page.reload();
  await previews.first().waitFor();
  await job("a red car", "running").getByRole("button", { name: "Cancel this" }).click();
  await job("a red car", "cancelled").waitFor();

  const done = job("a blue boat", "done");
  await done.waitFor();
  expect(await done.getByRole("img").count()).toBe(4);
  await done.locator("figure").first().hover();
  await done.getByRole("link", { name: "Vary" }).first().click();
  await page.waitForURL(/#\/vary\/[0-9a-f]{32}$/);
  const source = page.locator("main .drop img");
  await source.waitFor();
  await expect.poll(() => source.evaluate((one: HTMLImageElement) => one.naturalWidth)).toBe(256);
  expect(errors).toEqual([]);
});
