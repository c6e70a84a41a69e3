/** The page finds its jobs and pictures again, whatever happened to it, the line or the server. */
import { connect, createServer, type Socket } from "node:net";
import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, expect, it } from "vitest";
import { ask, browse, clean, type Server, serve, visit } from "./house";

let browser: Browser;
let server: Server;

beforeAll(async () => {
  [server, browser] = await Promise.all([serve(), browse()]);
});

afterAll(async () => {
  await browser.close();
  await server.stop();
  clean(server);
});

const job = (page: Page, title: string, state: string) =>
  page.getByRole("region", { name: title, exact: true }).and(page.locator(`[data-state=${state}]`));
const prompt = (page: Page) => page.getByRole("textbox", { name: "Prompt", exact: true });
const offline = (page: Page) => page.getByRole("alert").filter({ hasText: "No connection" });

it("shows one's jobs in every tab, as they happen", async () => {
  const { page, errors } = await visit(browser, server.url);
  const other = await page.context().newPage();
  await other.goto(server.url);
  await prompt(other).waitFor();
  await prompt(page).fill("a red car");
  await prompt(page).press("Enter");
  await job(other, "a red car", "running").locator(".preview img").first().waitFor();
  await job(other, "a red car", "done").waitFor();
  expect(await job(other, "a red car", "done").getByRole("img").count()).toBe(4);

  const late = await page.context().newPage();
  await late.goto(server.url);
  await expect.poll(() => job(late, "a red car", "done").getByRole("img").count()).toBe(4);
  const card = job(page, "a red car", "done").locator("figure").first();
  await card.hover();
  await card.getByRole("button", { name: "Delete" }).click();
  await expect.poll(() => job(late, "a red car", "done").getByRole("img").count()).toBe(3);
  await page.getByRole("button", { name: "Undo" }).click();
  await expect.poll(() => job(late, "a red car", "done").getByRole("img").count()).toBe(4);
  expect(errors).toEqual([]);
});

it("says that the server is away, and goes on without a reload when it is back", async () => {
  const { page } = await visit(browser, server.url);
  await prompt(page).waitFor();
  await ask(server.url, { prompt: "a fox", n: 2, settings: { steps: 12 } });
  await ask(server.url, { prompt: "a cat", n: 2 });
  await job(page, "a fox", "running").locator(".preview img").first().waitFor();
  await page.evaluate(() => document.documentElement.setAttribute("data-same", "yes"));

  await server.stop("SIGKILL");
  await offline(page).waitFor();
  await prompt(page).fill("a dog");
  await prompt(page).press("Enter");
  await page.getByRole("status").getByText("The server does not answer.").waitFor();
  expect(await prompt(page).inputValue()).toBe("a dog");

  server = await serve([], server.data, Number(new URL(server.url).port));
  await offline(page).waitFor({ state: "detached" });
  await job(page, "a fox", "done").waitFor();
  await job(page, "a cat", "done").waitFor();
  expect(await job(page, "a cat", "done").getByRole("img").count()).toBe(2);
  await prompt(page).press("Enter");
  await job(page, "a dog", "done").waitFor();
  expect(await page.locator("html").getAttribute("data-same")).toBe("yes");
});

it("opens by itself where the server comes after the page", async () => {
  const { page } = await visit(browser, server.url);
  await prompt(page).waitFor();
  await page.route("**/v1/session", (route) => route.abort());
  await page.reload();
  await page.getByText("No connection to the server").waitFor();
  await page.unroute("**/v1/session");
  await prompt(page).waitFor();
});

it("says in words that the queue is full, and keeps what was typed", async () => {
  const small = await serve(["--most-queued", "1"]);
  const { page } = await visit(browser, small.url);
  await prompt(page).waitFor();
  await ask(small.url, { prompt: "a red car", n: 8, settings: { steps: 200 } });
  await job(page, "a red car", "running").waitFor();
  await prompt(page).fill("a blue boat");
  await prompt(page).press("Enter");
  await job(page, "a blue boat", "queued").waitFor();
  await prompt(page).fill("a green tree");
  await prompt(page).press("Enter");
  await page.getByRole("status").getByText("The queue is full.").waitFor();
  expect(await prompt(page).inputValue()).toBe("a green tree");
  await job(page, "a red car", "running")
    .getByRole("button", { name: "Cancel all others" })
    .click();
  await job(page, "a blue boat", "cancelled").waitFor();
  await job(page, "a red car", "running").getByRole("button", { name: "Cancel this" }).click();
  await job(page, "a red car", "cancelled").waitFor();
  await small.stop();
  clean(small);
});

it("finds what happened while the laptop slept", async () => {
  const line = await badLine(Number(new URL(server.url).port));
  const { page } = await visit(browser, "about:blank");
  await page.clock.install();
  await page.goto(line.url);
  await prompt(page).waitFor();
  await ask(server.url, { prompt: "an owl", n: 1 });
  await job(page, "an owl", "done").waitFor();

  line.freeze(); // nobody tells the page that its connections are dead
  await ask(server.url, { prompt: "a rocket", n: 2 });
  await page.waitForTimeout(1000);
  expect(await page.getByRole("region", { name: "a rocket" }).count()).toBe(0);
  await page.clock.fastForward("10:00");
  await job(page, "a rocket", "done").waitFor();
  await ask(server.url, { prompt: "a bee", n: 1 });
  await job(page, "a bee", "done").waitFor();
  line.close();
});

it("connects again where the stream was cut", async () => {
  const line = await badLine(Number(new URL(server.url).port));
  const { page } = await visit(browser, line.url);
  await prompt(page).waitFor();
  await ask(server.url, { prompt: "a whale", n: 1 });
  await job(page, "a whale", "done").waitFor();
  line.cut();
  await ask(server.url, { prompt: "a horse", n: 2 });
  await job(page, "a horse", "done").waitFor();
  await offline(page).waitFor({ state: "detached" });
  line.close();
});

/** A line to the server whose streams can be frozen, or all be cut; new connections work. */
async function badLine(port: number) {
  let pairs: [Socket, Socket][] = [];
  const streams = new Set<Socket>();
  const proxy = createServer((near) => {
    const far = connect(port, "127.0.0.1");
    pairs.push([near, far]);
    for (const one of [near, far]) one.on("error", () => undefined);
    near.on("data", (sent) => sent.includes("/v1/events") && streams.add(near));
    near.pipe(far).pipe(near);
  });
  await new Promise<void>((resolve) => proxy.listen(0, "127.0.0.1", resolve));
  const own = proxy.address();
  const each = (run: (one: Socket) => void) => {
    for (const one of pairs.flat()) run(one);
  };
  return {
    url: `http://127.0.0.1:${own && typeof own === "object" ? own.port : 0}`,
    freeze: () => {
      for (const [near, far] of pairs) {
        if (streams.has(near)) far.unpipe(near);
        else near.destroy(); // an idle connection is not used again after sleep
      }
    },
    cut: () => {
      each((one) => one.destroy());
      pairs = [];
    },
    close: () => {
      each((one) => one.destroy());
      proxy.close();
    },
  };
}
