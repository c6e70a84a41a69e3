import { readFileSync } from "node:fs";
import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, expect, it } from "vitest";
import { browse, clean, type Server, serve, visit } from "./house";

const PATIENCE_MS = 90_000; // a machine may have much else to do

let server: Server;
let browser: Browser;
let picture: string;

beforeAll(async () => {
  server = await serve();
  browser = await browse();
  picture = await drawn("a red fox");
});

afterAll(async () => {
  await browser?.close();
  if (!server) return;
  await server.stop();
  clean(server);
});

/** The id of a picture, drawn without the page. */
async function drawn(prompt: string): Promise<string> {
  const ask = (path: string, body?: object) =>
    fetch(`${server.url}/v1/${path}`, {
      ...(body && { method: "POST", body: JSON.stringify(body) }),
      headers: { "content-type": "application/json" },
    }).then((answer) => answer.json());
  const { id } = await ask("jobs", { ability: "generate", fields: { prompt, seed: 7 } });
  for (;;) {
    const job = await ask(`jobs/${id}`);
    if (job.state === "done") return job.pictures[0].id;
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}

async function at(place: string): Promise<{ page: Page; errors: string[] }> {
  const visitor = await visit(browser, `${server.url}/#/${place}`);
  visitor.page.setDefaultTimeout(PATIENCE_MS);
  visitor.page.setDefaultNavigationTimeout(PATIENCE_MS);
  return visitor;
}

const done = (page: Page) => page.locator("section.job[data-state=done]").first().waitFor();

/** A job that draws long enough to be caught at it. */
async function drawLong(page: Page, prompt: string): Promise<void> {
  await page.getByRole("textbox", { name: "Prompt", exact: true }).fill(prompt);
  await page.getByText("8", { exact: true }).click();
  await page.getByText("Settings", { exact: true }).click();
  await page.getByLabel("Steps", { exact: true }).first().fill("200");
  await page.getByRole("button", { name: "Draw", exact: true }).click();
  const job = page.getByRole("region", { name: prompt });
  await job.and(page.locator("[data-state=running]")).waitFor();
}

it("varies a picture, beside the original; eta 0 gives it back", async () => {
  const { page, errors } = await at(`vary/${picture}`);
  await page.getByText("1", { exact: true }).click();
  await page.getByLabel("How much is left to chance").fill("0");
  await page.getByText("The same picture comes back.").waitFor();
  await page.getByRole("button", { name: "Draw variations" }).click();
  await done(page);
  const job = page.locator("section.job").first();
  await job.getByRole("img", { name: "Original" }).waitFor();
  expect(await job.locator("figure").count()).toBe(2);
  const differ = await page.evaluate(async () => {
    const images = [...document.querySelectorAll<HTMLImageElement>("section.job figure img")];
    const [a, b] = await Promise.all(
      images.map(async (image) => {
        await image.decode();
        const canvas = new OffscreenCanvas(64, 64);
        const pen = canvas.getContext("2d") as OffscreenCanvasRenderingContext2D;
        pen.drawImage(image, 0, 0, 64, 64);
        return pen.getImageData(0, 0, 64, 64).data;
      }),
    );
    if (!a || !b) return 255;
    return a.reduce((all, one, i) => all + Math.abs(one - (b[i] ?? 0)), 0) / a.length;
  });
  expect(differ).toBeLessThan(3);
  expect(errors).toEqual([]);
});

it("plays the way between two prompts, and saves it as an animation", async () => {
  const { page, errors } = await at("interpolate");
  await page.getByLabel("First prompt").fill("a fox");
  await page.getByLabel("Last prompt").fill("a car");
  await page.getByText("8", { exact: true }).click();
  await page.getByRole("button", { name: "Draw the steps between" }).click();
  await done(page);
  const slider = page.getByLabel("Place in the film");
  await page.getByRole("button", { name: "Pause" }).waitFor(); // it plays by itself
  const before = await slider.inputValue();
  await expect.poll(() => slider.inputValue()).not.toBe(before);
  await page.getByRole("button", { name: "Pause" }).click();
  await page.getByRole("button", { name: /^Frame 1 of 8/ }).click();
  await slider.focus();
  await page.keyboard.press("ArrowRight");
  await page.keyboard.press("ArrowRight");
  expect(await slider.getAttribute("aria-valuetext")).toMatch(/^Frame 3 of 8/);
  const [film] = await Promise.all([
    page.waitForEvent("download"),
    page.getByRole("button", { name: "Animation (PNG)" }).click(),
  ]);
  const bytes = readFileSync(await film.path());
  expect(bytes.subarray(1, 4).toString()).toBe("PNG");
  expect(bytes.includes("acTL")).toBe(true);
  expect(errors).toEqual([]);
});

it("changes a picture by a difference of captions, from it to the changed one", async () => {
  const { page, errors } = await at(`textdiff/${picture}`);
  await page.getByLabel("What it shows").fill("a red fox");
  await page.getByLabel("What it becomes").fill("a red fox");
  await page.getByText("there is no difference").waitFor();
  await page.getByLabel("What it becomes").fill("a blue fox");
  await page.getByRole("button", { name: "Change it" }).click();
  await done(page);
  const opacities = () =>
    page
      .locator(".film-screen img")
      .evaluateAll((all) => all.map((one) => Number(getComputedStyle(one).opacity)));
  expect(await opacities()).toEqual([1, 0, 0, 0, 0, 0]);
  await page.getByLabel("Place in the film").fill("1.5");
  expect(await opacities()).toEqual([1, 1, 0.5, 0, 0, 0]);
  await page.getByLabel("Place in the film").fill("5");
  expect(await opacities()).toEqual([1, 1, 1, 1, 1, 1]);
  expect(errors).toEqual([]);
});

it("enlarges a picture and compares it by keyboard", async () => {
  const { page, errors } = await at(`upscale/${picture}`);
  await page.getByRole("button", { name: "Enlarge" }).click();
  await done(page);
  await page.getByText("1024 × 1024 pixels").waitFor();
  const divider = page.getByLabel("Divider between before and after");
  await divider.focus();
  await page.keyboard.press("Home");
  expect(await divider.inputValue()).toBe("0");
  expect(errors).toEqual([]);
});

it("asks which caption fits", async () => {
  const { page, errors } = await at(`probe/${picture}`);
  const caption = page.getByLabel("Captions", { exact: true }).first();
  for (const one of ["a car", "a fox", "a house"]) {
    await caption.fill(one);
    await page.keyboard.press("Enter");
  }
  await page.getByRole("button", { name: "Remove the caption: a house" }).click();
  await page.getByRole("button", { name: "Ask", exact: true }).click();
  await page.getByText("“a fox” fits best").waitFor();
  const first = await page.locator(".bars li").first().textContent();
  expect(first).toContain("a fox");
  expect(await page.locator(".bars li").count()).toBe(2);
  expect(errors).toEqual([]);
});

it("draws a grid of two by two with one seed, and finds it after a reload", async () => {
  const { page, errors } = await at("sweep");
  await page.getByRole("textbox", { name: "Prompt", exact: true }).fill("a red fox");
  await page.getByLabel("Across", { exact: true }).selectOption("words");
  await page.getByLabel("Values, Across").fill("green | blue");
  await page.getByText("The prompt does not have “green”.").waitFor();
  await page.getByLabel("Values, Across").fill("red | blue");
  await page.getByLabel("Down", { exact: true }).selectOption("steps");
  await page.getByLabel("Values, Down").fill("2, 4");
  await page.getByText("4 pictures.").waitFor();
  await page.getByRole("button", { name: "Draw the grid" }).click();
  await page.locator(".sweep td img").first().waitFor();
  await page.reload();
  await page.locator("section[data-state=done]").waitFor();
  expect(await page.locator(".sweep td a.card img").count()).toBe(4);
  const { data } = (await (await fetch(`${server.url}/v1/jobs?limit=5`)).json()) as {
    data: { fields: { prompt: string; seed: number; settings?: { steps: number } } }[];
  };
  const cells = data.map(({ fields }) => `${fields.prompt} ${fields.settings?.steps}`);
  // A cell that was being asked for when the page went is asked for again.
  const asked = ["a red fox 2", "a blue fox 2", "a red fox 4", "a blue fox 4"];
  expect(cells).toEqual(expect.arrayContaining(asked));
  const own = data.filter(({ fields }) => / fox$/.test(fields.prompt) && fields.settings?.steps);
  expect(new Set(own.map(({ fields }) => fields.seed)).size).toBe(1);
  const [sheet] = await Promise.all([
    page.waitForEvent("download"),
    page.getByRole("button", { name: "One picture (PNG)" }).click(),
  ]);
  expect(
    readFileSync(await sheet.path())
      .subarray(1, 4)
      .toString(),
  ).toBe("PNG");
  await page.goto(`${server.url}/#/make`);
  expect(await page.getByRole("region", { name: "a blue fox" }).count()).toBe(0);
  expect(errors).toEqual([]);
});

it("asks before it draws many, and is cancelled as a whole", async () => {
  const { page, errors } = await at("sweep");
  await page.getByRole("textbox", { name: "Prompt", exact: true }).fill("a red fox");
  await page.getByLabel("Across", { exact: true }).selectOption("steps");
  await page.getByLabel("Values, Across").fill("150..158");
  await page.getByLabel("Values, Down").fill("1..8");
  await page.getByRole("button", { name: "Draw the grid" }).click();
  const dialog = page.getByRole("dialog", { name: "Draw 72 pictures?" });
  await dialog.getByRole("button", { name: "Cancel" }).click();
  expect(await page.locator(".sweep").count()).toBe(0);
  await page.getByLabel("Values, Down").fill("1..2");
  await page.getByRole("button", { name: "Draw the grid" }).click();
  await page.locator(".sweep .waiting, .sweep .preview").nth(1).waitFor();
  await page.getByRole("button", { name: "Cancel the sweep" }).click();
  await page.getByRole("button", { name: "Go on" }).waitFor();
  expect(await page.locator(".sweep .lost").count()).toBe(18);
  const open = async () => {
    const answer = await fetch(`${server.url}/v1/jobs?limit=30`);
    const { data } = (await answer.json()) as { data: { state: string }[] };
    return data.filter(({ state }) => state === "queued" || state === "running").length;
  };
  await expect.poll(open, { timeout: PATIENCE_MS }).toBe(0);
  expect(errors).toEqual([]);
});

it("cancels while it draws", async () => {
  const { page, errors } = await at("make");
  await drawLong(page, "a green house");
  const job = page.getByRole("region", { name: "a green house" });
  await job.locator(".preview img").first().waitFor();
  await job.getByRole("button", { name: "Cancel this" }).click();
  await job.and(page.locator("[data-state=cancelled]")).waitFor();
  await job.getByRole("button", { name: "Again" }).waitFor();
  expect(errors).toEqual([]);
});

it("finds what it draws after a reload, and its badge on another tool", async () => {
  const { page, errors } = await at("make");
  await drawLong(page, "a yellow star");
  await page.reload();
  const job = page.getByRole("region", { name: "a yellow star" });
  await job.and(page.locator("[data-state=running]")).waitFor();
  await page.goto(`${server.url}/#/probe`);
  await page.getByRole("link", { name: "1 waiting or drawing" }).click();
  await job.getByRole("button", { name: "Cancel this" }).click();
  await job.and(page.locator("[data-state=cancelled]")).waitFor();
  expect(errors).toEqual([]);
});

it("puts a known word in the place of an unknown one", async () => {
  const { page, errors } = await at("make");
  const prompt = page.getByRole("textbox", { name: "Prompt", exact: true });
  await prompt.fill("a red elephent");
  await page.getByRole("button", { name: "Write “elephant” in place of “elephent”" }).click();
  expect(await prompt.inputValue()).toBe("a red elephant");
  expect(errors).toEqual([]);
});
