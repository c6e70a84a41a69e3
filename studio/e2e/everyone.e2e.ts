/** The page for everybody: screen readers, the keyboard alone, phones, two languages, less motion. */
import { readFileSync } from "node:fs";
import AxeBuilder from "@axe-core/playwright";
import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { ask, browse, clean, drawn, type Server, serve, visit } from "./house";

const TOOLS = [
  "make",
  "vary",
  "edit",
  "outpaint",
  "img2img",
  "textdiff",
  "upscale",
  "interpolate",
  "sweep",
  "probe",
  "gallery",
  "picture",
] as const;
const WITH_PICTURE = ["vary", "edit", "outpaint", "img2img", "textdiff", "upscale", "picture"];

let server: Server;
let browser: Browser;
let id = "";

beforeAll(async () => {
  [server, browser] = await Promise.all([serve(), browse()]);
  [id = ""] = await drawn(server.url, await ask(server.url, { prompt: "a red car", n: 2 }));
  await drawn(server.url, await ask(server.url, { prompt: `${"a very long prompt ".repeat(12)}` }));
});

afterAll(async () => {
  await browser.close();
  await server.stop();
  clean(server);
});

const prompt = (page: Page) => page.getByRole("textbox", { name: "Prompt", exact: true });

function address(tool: string): string {
  return `${server.url}/#/${tool}${WITH_PICTURE.includes(tool) ? `/${id}` : ""}`;
}

async function open(page: Page, tool: string): Promise<void> {
  await page.goto(address(tool));
  await page.locator("main h1").first().waitFor({ state: "attached" });
  for (const fold of await page.locator("main details.fold > summary").all()) await fold.click();
  await page.waitForLoadState("networkidle").catch(() => undefined);
  await page.waitForTimeout(250);
}

describe.each(["light", "dark"] as const)("%s", (colorScheme) => {
  it.each(TOOLS)("axe finds nothing serious: %s", async (tool) => {
    const { page, errors } = await visit(browser, address(tool), {
      colorScheme,
      reducedMotion: "reduce",
    });
    await open(page, tool);
    const { violations } = await new AxeBuilder({ page }).analyze();
    const serious = violations
      .filter((one) => one.impact === "serious" || one.impact === "critical")
      .map((one) => `${one.id}: ${one.nodes.map((node) => node.html).join(" | ")}`);
    expect(serious).toEqual([]);
    expect(errors).toEqual([]);
    await page.context().close();
  });
});

it("leads by the keyboard alone from the load to a picture on disk", async () => {
  const { page } = await visit(browser, server.url);
  await prompt(page).waitFor();
  const focused = () =>
    page.evaluate(() => {
      const one = document.activeElement;
      const name = one?.getAttribute("aria-label") ?? one?.textContent;
      return name || one?.querySelector("img")?.alt || "";
    });
  const tabTo = async (label: string, key = "Tab") => {
    for (let i = 0; i < 60; i += 1) {
      if ((await focused()) === label) return;
      await page.keyboard.press(key);
    }
    throw new Error(`${label} is not reached`);
  };
  await page.keyboard.press("Tab");
  expect(await focused()).toBe("Skip to the content");
  await page.keyboard.press("Enter");
  await tabTo("Prompt");
  await page.keyboard.type("a green tree");
  await page.keyboard.press("Enter");
  const job = page.getByRole("region", { name: "a green tree" });
  await job.and(page.locator("[data-state=done]")).waitFor();
  expect(await job.getByRole("img").count()).toBe(4);
  await page.getByRole("status").getByText("4 pictures are ready.").waitFor({ state: "attached" });
  await tabTo("Picture 2 of 4: a green tree");
  await tabTo("Download");
  const saved = page.waitForEvent("download");
  await page.keyboard.press("Enter");
  const file = await (await saved).path();
  expect(readFileSync(file).subarray(1, 4).toString()).toBe("PNG");
  const ring = await page.evaluate(() => {
    const style = getComputedStyle(document.activeElement as Element);
    return style.outlineStyle !== "none" || style.boxShadow !== "none";
  });
  expect(ring).toBe(true);
});

it("lists its shortcuts with ?, and they work", async () => {
  const { page } = await visit(browser, server.url);
  await prompt(page).waitFor();
  const dialog = page.getByRole("dialog", { name: "Keyboard shortcuts" });
  const listed = async () => {
    await page.keyboard.press("?"); // the page may just have appeared, and listen a moment later
    return dialog.getByText("All pictures", { exact: true }).isVisible();
  };
  await expect.poll(listed).toBe(true);
  await page.keyboard.press("Escape");
  await dialog.waitFor({ state: "detached" });
  await page.keyboard.press("g");
  await page.waitForURL(/#\/gallery/);
  await page.keyboard.press("m");
  await page.waitForURL(/#\/make/);
  await expect
    .poll(async () => {
      await page.keyboard.press("/"); // the focus first goes to the new place as a whole
      return prompt(page).evaluate((one) => one === document.activeElement);
    })
    .toBe(true);
  await prompt(page).fill("");
  await page.keyboard.type("g?m");
  expect(await prompt(page).inputValue()).toBe("g?m");
  expect(page.url()).toMatch(/#\/make/);
});

const phone = { viewport: { width: 360, height: 740 }, hasTouch: true, isMobile: true };

it.each(TOOLS)("fits a phone: %s", async (tool) => {
  const { page } = await visit(browser, address(tool), phone);
  await open(page, tool);
  const wider = await page.evaluate(() => {
    const most = document.documentElement.clientWidth;
    const scrolls = (one: Element | null): boolean =>
      one !== null &&
      one !== document.body &&
      (["auto", "scroll", "hidden", "clip"].includes(getComputedStyle(one).overflowX) ||
        scrolls(one.parentElement));
    return [...document.querySelectorAll("main *, header *")]
      .filter((one) => one.getBoundingClientRect().right > most + 1 && !scrolls(one.parentElement))
      .map((one) => one.outerHTML.slice(0, 120));
  });
  expect(wider).toEqual([]);
  expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBeLessThanOrEqual(360);
  const nav = page.getByRole("navigation");
  const here = await nav.locator("[aria-current=page]").boundingBox();
  expect(here && here.x >= 0 && here.x + here.width <= 361).toBe(true); // one sees where one is
  for (const name of ["Make", "Pictures"]) {
    const link = nav.getByRole("link", { name, exact: true });
    await link.scrollIntoViewIfNeeded();
    const box = await link.boundingBox();
    expect(box && box.x >= 0 && box.x + box.width <= 361 && box.y + box.height <= 741).toBe(true);
    expect(box?.height).toBeGreaterThanOrEqual(36);
  }
  await nav.getByRole("link", { name: "Make", exact: true }).tap();
  await page.waitForURL(/#\/make/);
  await page.context().close();
});

it("speaks the browser's language, and the other by a switch that stays", async () => {
  const { page } = await visit(browser, server.url, { locale: "zh-CN" });
  const html = page.locator("html");
  const nav = page.getByRole("navigation");
  await nav.getByRole("link", { name: "图片" }).waitFor();
  expect(await html.getAttribute("lang")).toMatch(/^zh/);
  await page.getByRole("button", { name: "English" }).click();
  await nav.getByRole("link", { name: "Pictures" }).waitFor();
  expect(await html.getAttribute("lang")).toBe("en");
  await page.reload();
  await nav.getByRole("link", { name: "Pictures" }).waitFor();
  await page.getByRole("button", { name: "中文" }).click();
  for (const tool of TOOLS) {
    await page.goto(address(tool));
    const title = page.locator("main h1").first();
    await expect.poll(() => title.textContent()).toMatch(/[\u4e00-\u9fff]/);
    expect(await nav.textContent()).not.toMatch(/[a-z]{4,}/i);
  }
});

it("is light or dark by the system, and the other by a switch that stays", async () => {
  const { page } = await visit(browser, server.url, { colorScheme: "dark" });
  const ground = () =>
    page.evaluate(() => getComputedStyle(document.documentElement).backgroundColor);
  await prompt(page).waitFor();
  const dark = await ground();
  await page.getByRole("button", { name: "Light" }).click();
  expect(await ground()).not.toBe(dark);
  await page.reload();
  await page.getByRole("button", { name: "Dark" }).click();
  expect(await ground()).toBe(dark);
});

it("draws a Chinese prompt", async () => {
  const { page, errors } = await visit(browser, server.url, { locale: "zh-CN" });
  const line = page.locator("main textarea").first();
  await line.fill("一只企鹅");
  await line.press("Enter");
  const job = page.getByRole("region", { name: "一只企鹅" });
  await job.and(page.locator("[data-state=done]")).waitFor();
  expect(errors).toEqual([]);
});

it("moves nothing where less motion is wanted", async () => {
  const { page } = await visit(browser, server.url, { reducedMotion: "reduce" });
  await prompt(page).waitFor();
  await ask(server.url, { prompt: "a blue boat", n: 4, settings: { steps: 60 } });
  const job = page.getByRole("region", { name: "a blue boat" });
  await job.locator(".card").first().waitFor();
  for (let i = 0; i < 5; i += 1) {
    const moving = await page.evaluate(
      () =>
        document.getAnimations().filter((one) => {
          const { duration, iterations } = one.effect?.getComputedTiming() ?? {};
          return one.playState === "running" && (Number(duration) > 20 || iterations === Infinity);
        }).length,
    );
    expect(moving).toBe(0);
    await page.waitForTimeout(100);
  }
  await job.getByRole("button", { name: "Cancel this" }).click();
});
