import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import AxeBuilder from "@axe-core/playwright";
import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { browse, clean, type Server, serve, visit } from "./house";

const PYTHON = process.env["PYTHON"] ?? "../.venv/bin/python";

let browser: Browser;

beforeAll(async () => {
  browser = await browse();
});

afterAll(() => browser.close());

const cells = (page: Page) => page.getByRole("gridcell");
const cell = (page: Page, i: number) => cells(page).nth(i).getByRole("link");

/** Ask the server itself for pictures. */
async function make(server: Server, prompt: string, n = 1): Promise<string[]> {
  const asked = { ability: "generate", fields: { prompt, n, seed: 5, settings: { steps: 2 } } };
  const headers = { "content-type": "application/json" };
  const body = JSON.stringify(asked);
  const made = await fetch(`${server.url}/v1/jobs`, { method: "POST", headers, body });
  expect(made.status).toBe(202);
  let job = (await made.json()) as { id: string; state: string; pictures: { id: string }[] };
  while (job.state === "queued" || job.state === "running") {
    await new Promise((resolve) => setTimeout(resolve, 200));
    job = await (await fetch(`${server.url}/v1/jobs/${job.id}`)).json();
  }
  expect(job.state).toBe("done");
  return job.pictures.map((one) => one.id);
}

/** Drop a file on the page, as a mouse does. */
async function drop(page: Page, data: Buffer, type = "image/png"): Promise<void> {
  const files = await page.evaluateHandle(
    ([text, kind]) => {
      const bytes = Uint8Array.from(atob(text as string), (one) => one.charCodeAt(0));
      const carried = new DataTransfer();
      carried.items.add(new File([bytes], "one", { type: kind as string }));
      return carried;
    },
    [data.toString("base64"), type],
  );
  for (const kind of ["dragenter", "dragover", "drop"]) {
    await page.dispatchEvent("main", kind, { dataTransfer: files });
  }
}

describe("the gallery", () => {
  let server: Server;
  let page: Page;
  let errors: string[];

  beforeAll(async () => {
    server = await serve();
    await make(server, "a red car", 4);
    await make(server, "a blue bird", 2);
    ({ page, errors } = await visit(browser, server.url));
    await page.context().grantPermissions(["clipboard-read", "clipboard-write"]);
  });

  afterAll(async () => {
    await server.stop();
    clean(server);
  });

  it("finds pictures as one types; the search is kept over a reload", async () => {
    await page.goto(`${server.url}/#/gallery`);
    await expect.poll(() => cells(page).count()).toBe(6);
    await page.getByRole("searchbox").fill("blue");
    await expect.poll(() => cells(page).count()).toBe(2);
    expect(page.url()).toContain("#/gallery?q=blue");
    await page.reload();
    await expect.poll(() => cells(page).count()).toBe(2);
    expect(await page.getByRole("searchbox").inputValue()).toBe("blue");
    await page.getByRole("searchbox").fill("a zebra");
    await page.getByText("No picture found.").waitFor();
    await page.getByRole("button", { name: "Show all pictures" }).click();
    await expect.poll(() => cells(page).count()).toBe(6);
  });

  it("is used by keys alone: move, choose a range, mark, open, and come back", async () => {
    await cell(page, 0).focus();
    await page.keyboard.press("ArrowRight");
    expect(await cell(page, 1).evaluate((one) => one === document.activeElement)).toBe(true);
    await page.keyboard.press("Space");
    await page.keyboard.press("Shift+ArrowRight");
    await page.getByText("2 chosen").last().waitFor();
    expect(await cells(page).nth(2).getAttribute("aria-selected")).toBe("true");
    await page.keyboard.press("Escape");
    await expect.poll(() => page.locator("[aria-selected=true]").count()).toBe(0);
    await page.keyboard.press("Control+a");
    await page.getByText("6 chosen").last().waitFor();
    await page.keyboard.press("Escape");
    await page.keyboard.press("f");
    await page.getByText("Marked as a favourite.").waitFor();
    await page.getByRole("button", { name: "Favourites" }).click();
    await expect.poll(() => cells(page).count()).toBe(1);
    await page.goBack();
    await expect.poll(() => cells(page).count()).toBe(6);
    await cell(page, 0).focus();
    await page.keyboard.press("Enter");
    await page.getByRole("button", { name: "Use these settings" }).waitFor();
    await page.goBack();
    await expect.poll(() => cells(page).count()).toBe(6);
  });

  it("tags and collects what is chosen, and takes it out again", async () => {
    await page
      .getByRole("checkbox", { name: /^Choose: a blue/ })
      .first()
      .click({ force: true });
    await page
      .getByRole("checkbox", { name: /^Choose: a blue/ })
      .nth(1)
      .click({ force: true });
    await page.getByRole("button", { name: "Tags", exact: true }).click();
    await page.getByRole("textbox", { name: "New tag" }).fill("sky, <b>birds</b>");
    await page.keyboard.press("Enter");
    await page.getByRole("button", { name: "Remove the tag <b>birds</b>" }).click();
    await page.getByRole("button", { name: "Close" }).click();
    await page.getByRole("button", { name: "Collections", exact: true }).click();
    await page.getByRole("textbox", { name: "New collection" }).fill("Zoo");
    await page.keyboard.press("Enter");
    await expect.poll(() => page.getByRole("checkbox", { name: "Zoo" }).isChecked()).toBe(true);
    await page.getByRole("button", { name: "Close" }).click();
    await page.keyboard.press("Escape");
    await page.getByRole("button", { name: /^sky/ }).click();
    await expect.poll(() => cells(page).count()).toBe(2);
    await page.getByRole("button", { name: /^Zoo/ }).click();
    await expect.poll(() => cells(page).count()).toBe(2);
    await page.getByRole("button", { name: "Rename" }).click();
    await page.getByRole("textbox", { name: "Name" }).fill("Ark");
    await page.keyboard.press("Enter");
    await page.getByRole("heading", { name: "Ark" }).waitFor();
    await page.getByRole("button", { name: "Remove the collection" }).click();
    await page.getByRole("dialog").getByRole("button", { name: "Remove", exact: true }).click();
    await expect.poll(() => cells(page).count()).toBe(6);
    expect(await page.getByRole("button", { name: /^Ark/ }).count()).toBe(0);
  });

  it("deletes with undo, and restores what was deleted before", async () => {
    await page.goto(`${server.url}/#/gallery`);
    await cell(page, 0).focus();
    await page.keyboard.press("Delete");
    await expect.poll(() => cells(page).count()).toBe(5);
    await page.getByRole("button", { name: "Undo" }).click();
    await expect.poll(() => cells(page).count()).toBe(6);
    await cell(page, 0).focus();
    await page.keyboard.press("Delete");
    await expect.poll(() => cells(page).count()).toBe(5);
    await page.getByRole("button", { name: "Deleted", exact: true }).click();
    await expect.poll(() => cells(page).count()).toBe(1);
    await page.getByRole("checkbox", { name: /^Choose/ }).click({ force: true });
    await page.getByRole("button", { name: "Restore" }).click();
    await expect.poll(() => cells(page).count()).toBe(0);
    await page.getByRole("button", { name: "Deleted", exact: true }).click();
    await expect.poll(() => cells(page).count()).toBe(6);
  });

  it("downloads many as a ZIP file", async () => {
    await page
      .getByRole("checkbox", { name: /^Choose/ })
      .first()
      .click({ force: true });
    await page
      .getByRole("checkbox", { name: /^Choose/ })
      .nth(2)
      .click({ force: true });
    await page.getByRole("button", { name: "Download" }).click();
    const waiting = page.waitForEvent("download");
    await page.getByRole("button", { name: "Download as ZIP" }).click();
    const file = await (await waiting).path();
    const code = "import sys, zipfile; print(len(zipfile.ZipFile(sys.argv[1]).namelist()))";
    expect(execFileSync(PYTHON, ["-c", code, file]).toString().trim()).toBe("2");
    await page.keyboard.press("Escape");
  });

  it("hears of what another tab does, and does not move what one looks at", async () => {
    const other = await page.context().newPage();
    await other.goto(`${server.url}/#/gallery`);
    await expect.poll(() => cells(other).count()).toBe(6);
    await cell(other, 0).focus();
    await other.keyboard.press("Delete");
    await expect.poll(() => cells(page).count()).toBe(5);
    await other.getByRole("button", { name: "Undo" }).click();
    await expect.poll(() => cells(page).count()).toBe(6);
    await other.close();
    await page.setViewportSize({ width: 560, height: 400 });
    await page.evaluate(() => scrollTo(0, 240));
    const before = await page.evaluate(() => scrollY);
    const top = await cells(page).nth(4).boundingBox();
    await make(server, "a green tree");
    const fresh = page.getByRole("button", { name: "1 new picture" });
    await fresh.waitFor();
    expect(await page.evaluate(() => scrollY)).toBe(before);
    expect(await cells(page).nth(4).boundingBox()).toEqual(top);
    await fresh.click();
    await expect
      .poll(() => cell(page, 0).getByRole("img").getAttribute("alt"))
      .toBe("a green tree");
    await page.setViewportSize({ width: 1280, height: 720 });
  });

  it("shows one picture; looking changes no form, and its settings are taken over when asked for", async () => {
    await page.goto(`${server.url}/#/make`);
    await page.getByRole("textbox", { name: "Prompt" }).fill("half a sentence");
    await page.goto(`${server.url}/#/gallery?q=car`);
    await cell(page, 0).click();
    await page.getByRole("heading", { name: "a red car" }).waitFor();
    const first = page.url();
    await page.keyboard.press("ArrowRight");
    await expect.poll(() => page.url()).not.toBe(first);
    await expect
      .poll(async () => {
        await page.keyboard.press("ArrowLeft"); // at the first picture it does nothing
        return page.url();
      })
      .toBe(first);
    await page.goto(`${server.url}/#/make`);
    const prompt = page.getByRole("textbox", { name: "Prompt" });
    expect(await prompt.inputValue()).toBe("half a sentence");
    await page.goto(first);
    await page.getByRole("button", { name: "Use these settings" }).click();
    await expect.poll(() => prompt.inputValue()).toBe("a red car");
    const toast = page.locator(".toast", { hasText: "Settings filled in." });
    await toast.getByRole("button", { name: "Undo" }).click();
    await expect.poll(() => prompt.inputValue()).toBe("half a sentence");
  });

  it("copies a command that draws the picture again", async () => {
    await page.goto(`${server.url}/#/gallery?q=car`);
    await cell(page, 0).click();
    await page.getByRole("tab", { name: "curl" }).click();
    await page.getByRole("button", { name: "Copy" }).click();
    await page.getByText("Copied.").waitFor();
    expect(await page.evaluate(() => navigator.clipboard.readText())).toContain("curl");
    await page.getByRole("tab", { name: "Command line" }).click();
    expect(await page.getByRole("tabpanel").textContent()).toContain("a red car");
  });

  it("reads how a dropped picture was made; one that does not say it goes on too", async () => {
    await page.goto(`${server.url}/#/gallery?q=car`);
    await cell(page, 0).click();
    const waiting = page.waitForEvent("download");
    await page.getByRole("button", { name: "Download", exact: true }).click();
    const file = readFileSync(await (await waiting).path());
    await page.goto(`${server.url}/#/make`);
    const prompt = page.getByRole("textbox", { name: "Prompt" });
    await prompt.fill("being typed");
    await drop(page, file);
    const dialog = page.getByRole("dialog", { name: "Your picture" });
    await dialog.getByRole("heading", { name: "a red car" }).waitFor();
    expect(await prompt.inputValue()).toBe("being typed");
    await dialog.getByRole("button", { name: "Use these settings" }).click();
    await expect.poll(() => prompt.inputValue()).toBe("a red car");
    const plain = join(mkdtempSync(join(tmpdir(), "unclip-")), "plain.png");
    const code = "import sys; from PIL import Image; Image.new('RGB', (64, 64)).save(sys.argv[1])";
    execFileSync(PYTHON, ["-c", code, plain]);
    await drop(page, readFileSync(plain));
    await page.getByText("This picture does not say how it was made.").waitFor();
    await dialog.getByRole("link", { name: "Vary" }).waitFor();
    await page.getByRole("button", { name: "Close" }).click();
    await drop(page, Buffer.from("hello"), "text/plain");
    await page.getByText("That is no PNG, JPEG or WebP.").waitFor();
  });

  it("recalls an earlier prompt by arrow-up", async () => {
    await page.goto(`${server.url}/#/make`);
    const prompt = page.getByRole("textbox", { name: "Prompt" });
    await prompt.fill("");
    await prompt.press("ArrowUp");
    expect(await prompt.inputValue()).toBe("a green tree");
    await prompt.press("ArrowUp");
    expect(await prompt.inputValue()).toBe("a blue bird");
    await prompt.press("ArrowDown");
    await prompt.press("ArrowDown");
    expect(await prompt.inputValue()).toBe("");
  });

  it("has no serious fault of accessibility, in either theme, and no error on the console", async () => {
    for (const scheme of ["light", "dark"] as const) {
      await page.emulateMedia({ colorScheme: scheme });
      for (const there of ["#/gallery", "#/gallery?q=car"]) {
        await page.goto(`${server.url}/${there}`);
        await cell(page, 0).waitFor();
        await page
          .getByRole("checkbox", { name: /^Choose/ })
          .first()
          .click({ force: true });
        await audit(page);
        await page.keyboard.press("Escape");
      }
      await cell(page, 0).click();
      await page.getByRole("button", { name: "Use these settings" }).waitFor();
      await audit(page);
    }
    expect(errors).toEqual([]);
  });
});

async function audit(page: Page): Promise<void> {
  await page.waitForTimeout(300); // until transitions are over
  const { violations } = await new AxeBuilder({ page }).analyze();
  const bad = violations.filter((one) => one.impact === "serious" || one.impact === "critical");
  expect(bad.map((one) => [one.id, one.nodes.map((node) => node.html)])).toEqual([]);
}

/** Pictures of the data folder with which scrolling is measured. */
const MANY = 10_000;

describe(`a gallery of ${MANY} pictures`, () => {
  let server: Server;

  beforeAll(async () => {
    const folder = mkdtempSync(join(tmpdir(), "unclip-studio-"));
    execFileSync(PYTHON, ["e2e/fill.py", folder, String(MANY)]);
    server = await serve([], folder);
  }, 240_000);

  afterAll(async () => {
    await server.stop();
    clean(server);
  });

  it("scrolls to its end; what is in the document stays small; a reload keeps the place", async () => {
    const { page, errors } = await visit(browser, `${server.url}/#/gallery`);
    await cell(page, 0).waitFor();
    const figures = await page.evaluate(scrollDown);
    const session = await page.context().newCDPSession(page);
    await session.send("HeapProfiler.collectGarbage");
    const heap = (await session.send("Runtime.getHeapUsage")).usedSize / 2 ** 20;
    const told = { ...figures, heapMB: Math.round(10 * heap) / 10 };
    console.log(JSON.stringify(told));
    if (process.env["FIGURES"]) writeFileSync(process.env["FIGURES"], JSON.stringify(told));
    const rows = Number(await page.getByRole("grid").getAttribute("aria-rowcount"));
    const columns = Number(await page.getByRole("grid").getAttribute("aria-colcount"));
    expect(rows).toBe(Math.ceil(MANY / columns));
    expect(figures.nodes).toBeLessThan(1500);
    expect(heap).toBeLessThan(60);
    expect(await page.getByRole("img", { name: "a red car 0" }).count()).toBe(4);
    await page.evaluate(() => scrollTo(0, document.documentElement.scrollHeight * 0.3));
    await page.waitForTimeout(500);
    const seen = await page.locator(".cell img").first().getAttribute("alt");
    await page.reload();
    await page
      .getByRole("img", { name: seen ?? "" })
      .first()
      .waitFor();
    expect(await page.evaluate(() => scrollY)).toBeGreaterThan(1000);
    expect(errors).toEqual([]);
  });
});

/** In the page: scroll to the end; how long frames took, and how many nodes there were. */
async function scrollDown() {
  const frames: number[] = [];
  let nodes = 0;
  let long = 0;
  new PerformanceObserver((list) => {
    long += list.getEntries().length;
  }).observe({ type: "longtask" });
  const grid = document.querySelector("[role=grid]");
  const begun = performance.now();
  let last = begun;
  for (let still = 0; still < 120; ) {
    scrollBy(0, 400);
    await new Promise(requestAnimationFrame);
    const now = performance.now();
    frames.push(now - last);
    last = now;
    nodes = Math.max(nodes, document.querySelectorAll("*").length);
    const end = scrollY + innerHeight >= document.documentElement.scrollHeight - 2;
    still = end && grid?.getAttribute("aria-rowcount") !== "-1" ? still + 1 : 0;
  }
  frames.sort((a, b) => a - b);
  return {
    seconds: Math.round((last - begun) / 100) / 10,
    frames: frames.length,
    median: Math.round(frames[Math.floor(frames.length / 2)] ?? 0),
    over50: frames.filter((one) => one > 50).length,
    worst: Math.round(frames.at(-1) ?? 0),
    longTasks: long,
    nodes,
  };
}
