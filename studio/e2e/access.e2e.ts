/** Who may use the page, and what it never does with what is typed into it. */
import { writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { ask, browse, clean, drawn, type Server, serve, type Visit, visit } from "./house";

const KEY = "sesame-4e1f0d52c9ab";
const OTHER = "barley-77a0c2d14e6b";
const EVIL = "<img src=x onerror=alert(1)>";
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
];

let browser: Browser;

beforeAll(async () => {
  browser = await browse();
});

afterAll(() => browser.close());

const prompt = (page: Page) => page.getByRole("textbox", { name: "Prompt", exact: true });

describe("with keys", () => {
  let server: Server;

  beforeAll(async () => {
    const file = join(tmpdir(), `unclip-keys-${process.pid}`);
    writeFileSync(file, `${KEY}\n${OTHER}\n`, { mode: 0o600 });
    server = await serve(["--api-key-file", file]);
  });

  afterAll(async () => {
    await server.stop();
    clean(server);
  });

  async function logIn(key: string): Promise<Visit> {
    const visitor = await visit(browser, server.url);
    await visitor.page.getByLabel("API key").fill(key);
    await visitor.page.getByRole("button", { name: "Log in" }).click();
    return visitor;
  }

  it("lets nobody in with a wrong key, and says so", async () => {
    const { page } = await logIn("not-a-key-of-this-server");
    await page.getByText("That key is not known here.").waitFor();
    expect(await page.getByLabel("API key").getAttribute("aria-invalid")).toBe("true");
    expect(await page.getByLabel("API key").inputValue()).toBe("");
    expect(await page.getByRole("navigation").count()).toBe(0);
  });

  it("stays logged in over a reload, and sends its token with what it asks for", async () => {
    const { page, errors } = await logIn(KEY);
    await prompt(page).waitFor();
    await page.reload();
    const asked = page.waitForRequest((one) => one.url().endsWith("/v1/jobs"));
    await prompt(page).fill("a red car");
    await prompt(page).press("Enter");
    expect((await asked).headers()["x-csrf-token"]).toMatch(/.{16,}/);
    const job = page.getByRole("region", { name: "a red car" });
    await job.and(page.locator("[data-state=done]")).waitFor();
    const image = job.getByRole("img").first();
    const width = () => image.evaluate((one: HTMLImageElement) => one.naturalWidth);
    await expect.poll(width).toBe(256); // it is loaded when it comes into view
    const without = await page.evaluate(async () => {
      const answer = await fetch("v1/jobs", {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify({ ability: "generate", fields: { prompt: "a red car" } }),
      });
      return answer.status;
    });
    expect(without).toBe(403);
    expect(errors.filter((one) => !one.includes("403"))).toEqual([]);
  });

  it("keeps the key nowhere but in the login's body", async () => {
    const { page, requests } = await logIn(KEY);
    await prompt(page).waitFor();
    await prompt(page).fill("a blue boat");
    expect(requests.filter((one) => one.includes(KEY))).toEqual([]);
    const stored = await page.evaluate(() =>
      JSON.stringify([{ ...localStorage }, { ...sessionStorage }, document.cookie, location.href]),
    );
    expect(stored).toContain("a blue boat"); // what is typed is kept, so the probe sees the store
    expect(stored).not.toContain(KEY);
    const cookies = await page.context().cookies();
    expect(cookies).toHaveLength(1);
    expect(cookies[0]).toMatchObject({ httpOnly: true, sameSite: "Strict" });
    expect(cookies[0]?.value).not.toContain(KEY);
    expect(server.log()).toContain("/v1/session");
    expect(server.log()).not.toContain(KEY);
  });

  it.each(["logs out", "has a session that ended"])(
    "shows nothing of who %s to the next in the same browser",
    async (how) => {
      const { page } = await logIn(KEY);
      await page.getByRole("region", { name: "a red car" }).waitFor();
      await prompt(page).fill("a secret plan");
      if (how === "logs out") await page.getByRole("button", { name: "Log out" }).click();
      else {
        await page.context().clearCookies();
        await prompt(page).press("Enter");
      }
      await page.getByLabel("API key").fill(OTHER);
      await page.getByRole("button", { name: "Log in" }).click();
      await expect.poll(() => prompt(page).inputValue()).toBe("");
      await page.waitForTimeout(500);
      expect(await page.getByRole("region", { name: "a red car" }).count()).toBe(0);
      const stored = await page.evaluate(() => JSON.stringify({ ...localStorage }));
      expect(stored).not.toContain("a secret plan");
    },
  );
});

describe("without keys", () => {
  let server: Server;

  beforeAll(async () => {
    server = await serve();
  });

  afterAll(async () => {
    await server.stop();
    clean(server);
  });

  it("shows a prompt and a tag as text, in every tool, and breaks no rule of its policy", async () => {
    const ids = await drawn(server.url, await ask(server.url, { prompt: EVIL, n: 1 }));
    const [id = ""] = ids;
    const marked = await fetch(`${server.url}/v1/pictures/${id}`, {
      method: "PATCH",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ add_tags: [EVIL] }),
    });
    expect(marked.status).toBe(200);

    const { page, errors, requests } = await visit(browser, "about:blank");
    const broken: string[] = [];
    page.on("dialog", (one) => {
      broken.push(`dialog: ${one.message()}`);
      void one.dismiss();
    });
    await page.exposeFunction("told", (text: string) => broken.push(text));
    await page.addInitScript(() => {
      addEventListener("securitypolicyviolation", (event) => {
        const told = (globalThis as unknown as { told: (text: string) => void }).told;
        told(`${event.violatedDirective} ${event.blockedURI}`);
      });
    });
    const answer = await page.goto(server.url);
    const policy = (await answer?.headerValue("content-security-policy")) ?? "";
    expect(policy).toContain("default-src 'self'");
    expect(policy).not.toMatch(/unsafe|\*/);

    await page.getByRole("region", { name: EVIL }).getByText(EVIL).first().waitFor();
    await page.goto(`${server.url}/#/picture/${id}`);
    await page.locator("main").getByText(EVIL).first().waitFor();
    await page.goto(`${server.url}/#/gallery?q=${encodeURIComponent(EVIL)}`);
    await page.locator("main img").first().waitFor();
    for (const tool of TOOLS) {
      await page.goto(`${server.url}/#/${tool}/${["vary", "edit"].includes(tool) ? id : ""}`);
      await page.locator("main h1").waitFor({ state: "attached" });
      await page.waitForTimeout(200);
      expect(await page.locator('img[src="x"], img[onerror]').count()).toBe(0);
    }
    expect(broken).toEqual([]);
    expect(errors).toEqual([]);
    const hosts = new Set(
      requests.filter((one) => /^\w+:\/\//.test(one)).map((one) => new URL(one).host),
    );
    expect([...hosts]).toEqual([new URL(server.url).host]);
  });
});
