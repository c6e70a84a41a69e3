/** Takes the pictures of docs/studio.md of the real page: `npm run pictures`, after a build. */
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Browser, BrowserContextOptions, Locator, Page } from "playwright-core";
import { afterAll, beforeAll, it } from "vitest";
import { ask, browse, clean, drawn, type Server, serve, visit } from "./house";

const OUT = process.env["PICTURES"] ?? "../docs/studio";
const PYTHON = process.env["PYTHON"] ?? "../.venv/bin/python";
const PATIENCE_MS = 240_000;

/** The model's own number of steps: what is shown is what everybody gets. */
const OWN = { settings: {} };
const PROMPTS = [
  ["a fox", 7],
  ["a blue butterfly", 3],
  ["a rocket above a house", 5],
  ["three red apples", 2],
  ["a cat on a green background", 4],
  ["a penguin", 8],
  ["a red car", 7],
] as const;

let server: Server;
let browser: Browser;
let fox = "";
const folder = mkdtempSync(join(tmpdir(), "unclip-pictures-"));

beforeAll(async () => {
  mkdirSync(OUT, { recursive: true });
  [server, browser] = await Promise.all([serve(), browse()]);
  for (const [prompt, seed] of PROMPTS) {
    const asked = await ask(server.url, { prompt, seed, n: 4, ...OWN });
    const [first = ""] = await drawn(server.url, asked);
    if (prompt === "a fox") fox = first;
  }
});

afterAll(async () => {
  await browser.close();
  await server.stop();
  clean(server);
  rmSync(folder, { recursive: true });
});

const DESK: BrowserContextOptions = {
  viewport: { width: 1240, height: 820 },
  deviceScaleFactor: 2,
  reducedMotion: "reduce",
};
const PHONE: BrowserContextOptions = {
  viewport: { width: 390, height: 844 },
  deviceScaleFactor: 2,
  hasTouch: true,
  isMobile: true,
  reducedMotion: "reduce",
};

async function at(place: string, options: BrowserContextOptions = DESK): Promise<Page> {
  const { page } = await visit(browser, `${server.url}/#/${place}`, options);
  page.setDefaultTimeout(PATIENCE_MS);
  await page.locator("main h1").first().waitFor({ state: "attached" });
  return page;
}

/** Save what the page shows, once its images are there. */
async function take(page: Page, name: string, width = 1240): Promise<void> {
  await page.waitForFunction(() => [...document.images].every((one) => one.complete));
  await page.mouse.move(1, 500); // no button is under the mouse
  await page.evaluate(() => scrollTo(0, 0));
  await page.waitForTimeout(400);
  const file = join(folder, `${name}.png`);
  await page.screenshot({ path: file });
  execFileSync(PYTHON, ["e2e/pictures.py", join(OUT, `${name}.webp`), String(width), file]);
  await page.context().close();
}

async function newest(): Promise<string> {
  const answer = await fetch(`${server.url}/v1/pictures?limit=1`);
  const { data } = (await answer.json()) as { data: { id: string }[] };
  return data[0]?.id ?? "";
}

const button = (page: Page, name: string) => page.getByRole("button", { name, exact: true });
const ended = (page: Page) => page.locator("section.job[data-state=done]").first().waitFor();

async function drag(page: Page, surface: Locator, ...points: [number, number][]): Promise<void> {
  const on = await surface.boundingBox();
  if (!on) throw new Error("it is not shown");
  const [first = [0, 0], ...others] = points;
  const to = ([x, y]: [number, number], steps: number) =>
    page.mouse.move(on.x + x * on.width, on.y + y * on.height, { steps });
  await to(first, 1);
  await page.mouse.down();
  for (const one of others) await to(one, 8);
  await page.mouse.up();
}

it("takes Make: light, dark, Chinese, and as a phone shows it", async () => {
  await take(await at("make"), "make-light");
  await take(await at("make", { ...DESK, colorScheme: "dark" }), "make-dark");
  await take(await at("make", { ...DESK, locale: "zh-CN" }), "make-zh");
  await take(await at("make", PHONE), "make-phone", 390);
  await take(await at("gallery", { ...PHONE, colorScheme: "dark" }), "gallery-phone", 390);
});

it("films a visit: make, vary, edit, outpaint", async () => {
  const size = { width: 960, height: 660 };
  const page = await at("make", { viewport: size, reducedMotion: "reduce" });
  const film: string[] = [];
  const frame = async (ms: number) => {
    const file = join(folder, `film-${film.length}.png`);
    await page.screenshot({ path: file });
    film.push(String(ms), file);
  };
  const until = async (end: Locator, most: number) => {
    for (let i = 0; i < most && !(await end.isVisible()); i += 1) {
      await frame(220);
      await page.waitForTimeout(600);
    }
    await end.waitFor();
    await page.waitForFunction(() => [...document.images].every((one) => one.complete));
    await page.waitForTimeout(300);
    await frame(1800);
  };
  const write = async (line: Locator, text: string) => {
    await line.fill("");
    for (const word of text.split(/(?<= )/)) {
      await line.pressSequentially(word);
      await frame(160);
    }
    await frame(500);
  };

  await page.waitForFunction(() => [...document.images].every((one) => one.complete));
  await frame(700);
  await page.getByRole("textbox", { name: "Prompt", exact: true }).click();
  await write(page.getByRole("textbox", { name: "Prompt", exact: true }), "an orange fox");
  await page.keyboard.press("Enter");
  const made = page.getByRole("region", { name: "an orange fox", exact: true });
  await made.waitFor();
  await until(made.and(page.locator("[data-state=done]")), 9);
  await made.locator("figure").nth(1).hover();
  await frame(900);
  await made.getByRole("link", { name: "Vary" }).nth(1).click();
  await page.waitForTimeout(500);
  await frame(900);
  await button(page, "Draw variations").click();
  const varied = page.locator("section.job").first();
  await varied.waitFor();
  await until(varied.and(page.locator("[data-state=done]")), 7);
  await varied.locator("figure").last().hover();
  await frame(700);
  await varied.getByRole("link", { name: "Edit" }).last().click();
  const surface = page.getByRole("application");
  await surface.waitFor();
  await page.waitForTimeout(500);
  await frame(800);
  await mask(page);
  await frame(900);
  await write(
    page.getByRole("textbox", { name: "What the whole picture shows" }),
    "an orange fox with a red hat",
  );
  await button(page, "Draw").click();
  await until(page.locator(".results [data-state=done] .choice").first(), 7);
  await page.goto(`${server.url}/#/outpaint/${await newest()}`);
  await surface.waitFor();
  await page.waitForTimeout(500);
  await frame(1000);
  await button(page, "Draw").click();
  await until(page.getByText("Choice 1 of 4"), 7);
  await button(page, "Next").click();
  await page.waitForTimeout(300);
  await frame(900);
  await button(page, "Accept").click();
  await page.waitForTimeout(500);
  await frame(2500);
  execFileSync(PYTHON, ["e2e/pictures.py", join(OUT, "visit.webp"), "800", ...film]);
  await page.context().close();
});

it("takes the gallery and a picture", async () => {
  await take(await at("gallery"), "gallery");
  await take(await at(`picture/${fox}`), "picture");
});

it("takes vary", async () => {
  const page = await at(`vary/${fox}`);
  await button(page, "Draw variations").click();
  await ended(page);
  await take(page, "vary");
});

it("takes the two of a way: interpolate and text diff", async () => {
  const page = await at("interpolate");
  await page.getByLabel("First prompt").fill("a fox");
  await page.getByLabel("Last prompt").fill("a red car");
  await button(page, "Draw the steps between").click();
  await ended(page);
  await take(page, "interpolate");
  const other = await at(`textdiff/${fox}`);
  await other.getByLabel("What it shows").fill("a fox");
  await other.getByLabel("What it becomes").fill("a cat");
  await other.getByLabel("How far it goes").fill("0.75");
  await button(other, "Change it").click();
  await ended(other);
  await other.getByLabel("Place in the film").fill("4");
  await take(other, "textdiff");
});

it("takes edit, outpaint, sweep and probe", async () => {
  const page = await at(`edit/${fox}`);
  await mask(page);
  await take(page, "edit");
  const board = await at(`outpaint/${fox}`);
  await button(board, "Draw").click();
  await board.getByText("Choice 1 of 4").waitFor();
  await take(board, "outpaint");
  const grid = await at("sweep");
  await grid.getByRole("textbox", { name: "Prompt", exact: true }).fill("a red fox");
  await grid.getByLabel("Across", { exact: true }).selectOption("words");
  await grid.getByLabel("Values, Across").fill("red | blue | green");
  await grid.getByLabel("Down", { exact: true }).selectOption("steps");
  await grid.getByLabel("Values, Down").fill("4, 12");
  await button(grid, "Draw the grid").click();
  await grid.locator("section[data-state=done]").waitFor();
  await take(grid, "sweep");
  const probe = await at(`probe/${fox}`);
  const caption = probe.getByLabel("Captions", { exact: true }).first();
  for (const one of ["a fox", "a cat", "a red car", "a rocket"]) {
    await caption.fill(one);
    await caption.press("Enter");
  }
  await button(probe, "Ask").click();
  await probe.locator(".bars li").first().waitFor();
  await take(probe, "probe");
});

/** Brush over the upper part of the picture that is edited. */
async function mask(page: Page): Promise<void> {
  const surface = page.getByRole("application");
  await surface.waitFor();
  for (let i = 0; i < 3; i += 1) await page.keyboard.press("]");
  await drag(page, surface, [0.22, 0.16], [0.5, 0.1], [0.78, 0.16]);
}
