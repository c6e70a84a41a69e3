import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import AxeBuilder from "@axe-core/playwright";
import type { Browser, BrowserContextOptions, Locator, Page } from "playwright-core";
import { afterAll, beforeAll, expect, it, vi } from "vitest";
import { browse, clean, type Server, serve, visit } from "./house";

const PATIENCE = 60_000; // a busy machine
vi.setConfig({ testTimeout: 2 * PATIENCE });

let server: Server;
let browser: Browser;
let fox: string;

beforeAll(async () => {
  server = await serve();
  browser = await browse();
  const { page } = await visit(browser, server.url);
  fox = await page.evaluate(drawFox);
  await page.context().close();
});

afterAll(async () => {
  await browser.close();
  await server.stop();
  clean(server);
});

/** In the page: draw a picture to work on. */
async function drawFox(): Promise<string> {
  const fields = { prompt: "a fox", n: 1, seed: 7 };
  const body = JSON.stringify({ ability: "generate", fields });
  const headers = { "content-type": "application/json" };
  const asked = await (await fetch("v1/jobs", { method: "POST", headers, body })).json();
  for (;;) {
    const job = await (await fetch(`v1/jobs/${asked.id}`)).json();
    if (job.state === "done") return job.pictures[0].id;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

/** Pixels of pictures, by their addresses or files as base64. */
async function pixels(page: Page, ...sources: string[]): Promise<number[][]> {
  return page.evaluate(async (urls) => {
    const all = [];
    for (const url of urls) {
      const image = new Image();
      image.src = url;
      await image.decode();
      const canvas = document.createElement("canvas");
      canvas.width = image.naturalWidth;
      canvas.height = image.naturalHeight;
      const context = canvas.getContext("2d");
      context?.drawImage(image, 0, 0);
      all.push([...(context?.getImageData(0, 0, canvas.width, canvas.height).data ?? [])]);
    }
    return all;
  }, sources);
}

/** A new visitor of a place of the page. */
async function at(place: string, options: BrowserContextOptions = {}) {
  const there = await visit(browser, `${server.url}/#/${place}`, options);
  there.page.setDefaultTimeout(PATIENCE);
  return there;
}

const fileOf = (id: string) => `${server.url}/v1/pictures/${id}/file`;
const asUrl = (path: string) => `data:image/png;base64,${readFileSync(path).toString("base64")}`;

async function downloaded(page: Page, button: Locator): Promise<string> {
  const [file] = await Promise.all([page.waitForEvent("download"), button.click()]);
  return file.path();
}

/** Drag across a surface, from and to parts of it. */
async function drag(page: Page, surface: Locator, ...points: [number, number][]): Promise<void> {
  const on = await surface.boundingBox();
  if (!on) throw new Error("it is not shown");
  const place = ([x, y]: [number, number]) => [on.x + x * on.width, on.y + y * on.height] as const;
  const [first = [0, 0], ...others] = points;
  await page.mouse.move(...place(first));
  await page.mouse.down();
  for (const one of others) await page.mouse.move(...place(one), { steps: 6 });
  await page.mouse.up();
}

/** Where two pictures of RGBA pixels differ: x and y. */
function differences(a: number[], b: number[], width: number): [number, number][] {
  const found: [number, number][] = [];
  for (let i = 0; i < a.length; i += 4) {
    if ([0, 1, 2].some((j) => a[i + j] !== b[i + j]))
      found.push([(i / 4) % width, Math.floor(i / 4 / width)]);
  }
  return found;
}

const button = (page: Page, name: string) => page.getByRole("button", { name, exact: true });

it("edits under a mask with undo; what is kept is the same to the pixel", async () => {
  const { page, errors } = await at(`edit/${fox}`);
  const surface = page.getByRole("application");
  await surface.waitFor();
  const prompt = page.getByRole("textbox", { name: "What the whole picture shows" });
  await page.waitForFunction(() => document.querySelector("textarea")?.value === "a fox");
  expect(await button(page, "Draw").isDisabled()).toBe(true);
  await drag(page, surface, [0.1, 0.9], [0.9, 0.9]); // a mistake
  await button(page, "Undo").click();
  expect(await button(page, "Draw").isDisabled()).toBe(true);
  await page.keyboard.press("]");
  await drag(page, surface, [0.3, 0.2], [0.7, 0.2]);
  await drag(page, surface, [0.3, 0.3], [0.7, 0.3]);
  await page.keyboard.press("Control+z");
  await page.keyboard.press("Control+Shift+Z");
  await page.keyboard.press("Control+z");

  const mask = await downloaded(page, button(page, "Download the mask"));
  await page.reload(); // the mask stays
  await surface.waitFor();
  const again = await downloaded(page, button(page, "Download the mask"));
  expect(readFileSync(again)).toEqual(readFileSync(mask));

  await prompt.fill("a fox with a hat");
  await page.getByRole("radio", { name: "2", exact: true }).check({ force: true });
  await button(page, "Draw").click();
  const results = page.locator(".results [data-state=done] .choice");
  await results.first().waitFor();
  expect(await results.count()).toBe(2);
  await page.getByText("Back to the mask").waitFor(); // the first is shown in the picture's place
  const result = await downloaded(page, button(page, "Download"));
  const [before = [], after = [], holes = []] = await pixels(
    page,
    fileOf(fox),
    asUrl(result),
    asUrl(mask),
  );
  const changed = differences(before, after, 256);
  const open = (x: number, y: number) => holes[4 * (256 * y + x) + 3] === 0;
  expect(changed.length).toBeGreaterThan(500);
  expect(changed.filter(([x, y]) => !open(x, y))).toEqual([]);
  expect(open(128, 51) && !open(128, 230)).toBe(true);

  await button(page, "Back to the mask").click();
  await page.reload(); // and what came of it is found again
  await results.first().waitFor();
  expect(errors).toEqual([]);
  await page.context().close();
});

it("takes a mask from a file: white where to paint", async () => {
  const { page, errors } = await at(`edit/${fox}`);
  await page.getByRole("application").waitFor();
  const white = await page.evaluate(() => {
    const canvas = document.createElement("canvas");
    canvas.width = canvas.height = 64;
    const context = canvas.getContext("2d");
    if (!context) throw new Error("no canvas");
    context.fillRect(0, 0, 64, 64);
    context.fillStyle = "#fff";
    context.fillRect(16, 0, 16, 64);
    return canvas.toDataURL("image/png").split(",")[1] ?? "";
  });
  const path = join(server.data, "white.png");
  writeFileSync(path, Buffer.from(white, "base64"));
  await page.getByLabel("Mask from a file").and(page.locator("input")).setInputFiles(path);
  const mask = await downloaded(page, button(page, "Download the mask"));
  const [read = []] = await pixels(page, asUrl(mask));
  const row = Array.from({ length: 256 }, (_, x) => (read[4 * (256 * 99 + x) + 3] === 0 ? 1 : 0));
  expect(row.join("")).toBe("0".repeat(64) + "1".repeat(64) + "0".repeat(128));
  expect(errors).toEqual([]);
  await page.context().close();
});

it("edits by keyboard alone", async () => {
  const { page, errors } = await at(`edit/${fox}`);
  const surface = page.getByRole("application");
  await surface.waitFor();
  await page.keyboard.press("r");
  await surface.focus();
  for (const key of ["ArrowLeft", "ArrowUp", "Shift+ArrowRight", "Shift+ArrowDown"])
    await page.keyboard.press(key);
  const told = "Rectangle: 60 from the left, 60 from the top, 132 wide, 132 high.";
  await page.getByText(told).waitFor({ state: "attached" });
  await page.keyboard.press("Enter");
  await page.keyboard.press("/");
  await page.keyboard.press("Control+A");
  await page.keyboard.type("a cat");
  await page.keyboard.press("Enter");
  await page
    .getByRole("region", { name: "a cat" })
    .and(page.locator("[data-state=done]"))
    .waitFor();
  const shown = page.getByRole("img", { name: "A result" });
  await shown.waitFor();
  const compare = button(page, "Hold: original");
  await compare.focus();
  await page.keyboard.down("c");
  await page.getByRole("img", { name: "The picture to edit" }).waitFor();
  await page.keyboard.up("c");
  await shown.waitFor();
  expect(errors).toEqual([]);
  await page.context().close();
});

it("outpaints: four choices, accept, undo, and a reload that keeps the canvas", async () => {
  const { page, errors } = await at(`outpaint/${fox}`);
  const board = page.getByRole("application");
  await board.waitFor();
  const known = (percent: number) => page.getByText(`${percent} % of the frame is known`).waitFor();
  await known(50); // the frame waits at the right edge
  await board.focus();
  await page.keyboard.press("Shift+ArrowRight");
  await known(25);
  await page.keyboard.press("Shift+ArrowLeft");
  await known(50);
  await button(page, "Draw").click();
  await button(page, "Cancel").waitFor();
  await page.reload(); // while it draws
  await page.getByText("Choice 1 of 4").waitFor();
  await button(page, "Next").click();
  await page.getByText("Choice 2 of 4").waitFor();
  await button(page, "Accept").click();
  await page.getByText("All of the frame is painted already").waitFor();

  const whole = await downloaded(page, button(page, "Download the canvas"));
  const [canvas = [], original = []] = await pixels(page, asUrl(whole), fileOf(fox));
  expect(canvas.length).toBe(4 * 384 * 256);
  const left = canvas.filter((_, i) => (i / 4) % 384 < 256);
  expect(differences(left, original, 256)).toEqual([]);
  const right = canvas.filter((_, i) => (i / 4) % 384 >= 256);
  expect(right.every((one, i) => i % 4 !== 3 || one === 255)).toBe(true);

  await page.reload();
  await page.getByText("All of the frame is painted already").waitFor();
  await button(page, "Undo").click();
  await known(50);
  await button(page, "Redo").click();
  await page.getByText("All of the frame is painted already").waitFor();
  await button(page, "Frame to the upper edge").click();
  await known(50);
  expect(errors).toEqual([]);
  await page.context().close();
});

it("outpaints by keyboard alone, erases, and begins on an empty canvas", async () => {
  const { page, errors } = await at("outpaint");
  await button(page, "Begin with an empty canvas").press("Enter");
  const board = page.getByRole("application");
  await board.waitFor();
  await page.getByText("0 % of the frame is known").waitFor();
  await page.keyboard.press("/");
  await page.keyboard.type("a red apple");
  await page.keyboard.press("Enter");
  await page.getByText("Choice 1 of 4").waitFor();
  await board.focus();
  await page.keyboard.press("ArrowRight");
  await page.getByText("Choice 2 of 4").waitFor();
  await page.keyboard.press("Enter");
  await page.getByText("All of the frame is painted already").waitFor();
  await button(page, "Erase, to paint it anew").click();
  await drag(page, board, [0.5, 0.4], [0.5, 0.6]);
  await page.getByText(/9\d % of the frame is known/).waitFor();
  await page.keyboard.press("Control+z");
  await page.getByText("All of the frame is painted already").waitFor();
  expect(errors).toEqual([]);
  await page.context().close();
});

it("has no accessibility finding, and is painted on by touch at phone width", async () => {
  const phone = { viewport: { width: 360, height: 740 }, hasTouch: true, isMobile: true };
  const { page, errors } = await at(`edit/${fox}`, phone);
  await page.getByRole("application").tap({ position: { x: 120, y: 120 } });
  await page.getByText("The checkered part is painted anew").waitFor();
  for (const tool of ["edit", "outpaint"]) {
    await page.goto(`${server.url}/#/${tool}/${fox}`);
    await page.getByRole("application").waitFor();
    const { violations } = await new AxeBuilder({ page }).analyze();
    expect(violations.map((one) => [one.id, one.nodes.map((each) => each.html)])).toEqual([]);
    const across = await page.evaluate(() => document.documentElement.scrollWidth);
    expect(across).toBe(360);
  }
  expect(errors).toEqual([]);
  await page.context().close();
});
