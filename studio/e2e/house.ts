/** A real server with the bundled model, and Chromium in front of it. */
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Browser, type BrowserContextOptions, chromium, type Page } from "playwright-core";

const UNCLIP = process.env["UNCLIP"] ?? "../.venv/bin/unclip";
const CHROMIUM = process.env["CHROMIUM"] ?? "/usr/bin/chromium";
/** A machine may have much else to do. */
const PATIENCE_MS = 90_000;
const FLAGS = [
  "--headless",
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

export interface Server {
  url: string;
  data: string;
  /** What it wrote to its log so far. */
  log: () => string;
  /** Stop it; it can be started again on the same data and port. */
  stop: (signal?: NodeJS.Signals) => Promise<void>;
}

/** Start `unclip serve` and wait until it draws. */
export async function serve(more: string[] = [], data?: string, port = 0): Promise<Server> {
  const folder = data ?? mkdtempSync(join(tmpdir(), "unclip-studio-"));
  const given = ["serve", "--port", String(port), "--data", folder, ...more];
  const child = spawn(UNCLIP, given, { stdio: ["ignore", "pipe", "pipe"] });
  let said = "";
  for (const pipe of [child.stdout, child.stderr]) {
    pipe.on("data", (piece: Buffer) => {
      said += piece.toString();
    });
  }
  const log = () => said;
  const url = await addressOf(child, log);
  await ready(url);
  return { url, data: folder, log, stop: (signal = "SIGTERM") => stopped(child, signal) };
}

export function clean(server: Server): void {
  rmSync(server.data, { recursive: true, force: true });
}

function addressOf(child: ChildProcess, log: () => string): Promise<string> {
  return new Promise((resolve, reject) => {
    const read = () => {
      const found = /http:\/\/[\d.:]+/.exec(log());
      if (found) resolve(found[0]);
    };
    child.stdout?.on("data", read);
    child.stderr?.on("data", read);
    child.once("exit", (code) => reject(new Error(`the server ended with ${code}: ${log()}`)));
  });
}

async function ready(url: string): Promise<void> {
  for (let tries = 0; tries < 600; tries += 1) {
    const answer = await fetch(`${url}/readyz`).catch(() => null);
    if (answer?.ok) return;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  throw new Error("the server is not ready after a minute");
}

function stopped(child: ChildProcess, signal: NodeJS.Signals): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return Promise.resolve();
  return new Promise((resolve) => {
    child.once("exit", () => resolve());
    child.kill(signal);
  });
}

export function browse(): Promise<Browser> {
  return chromium.launch({ executablePath: CHROMIUM, args: FLAGS });
}

/** A job that is asked of the server itself, in place of the page; few steps make it quick. */
export async function ask(url: string, fields: object, ability = "generate"): Promise<Asked> {
  const headers = { "content-type": "application/json" };
  const settings = { steps: 2 };
  const body = JSON.stringify({ ability, fields: { seed: 5, settings, ...fields } });
  const answer = await fetch(`${url}/v1/jobs`, { method: "POST", headers, body });
  if (!answer.ok) throw new Error(await answer.text());
  return (await answer.json()) as Asked;
}

interface Asked {
  id: string;
  state: string;
  pictures: { id: string }[];
}

/** The pictures of a job, when it is done. */
export async function drawn(url: string, asked: Asked): Promise<string[]> {
  let job = asked;
  while (job.state === "queued" || job.state === "running") {
    await new Promise((resolve) => setTimeout(resolve, 100));
    job = (await (await fetch(`${url}/v1/jobs/${asked.id}`)).json()) as Asked;
  }
  if (job.state !== "done") throw new Error(`the job is ${job.state}`);
  return job.pictures.map((one) => one.id);
}

export interface Visit {
  page: Page;
  /** What the page writes to its console as an error. */
  errors: string[];
  /** Addresses that it asked for. */
  requests: string[];
}

/** A new visitor. */
export async function visit(
  browser: Browser,
  url: string,
  options: BrowserContextOptions = {},
): Promise<Visit> {
  const context = await browser.newContext({ locale: "en-GB", ...options });
  context.setDefaultTimeout(PATIENCE_MS);
  const page = await context.newPage();
  const errors: string[] = [];
  const requests: string[] = [];
  page.on("request", (request) => requests.push(request.url()));
  page.on("console", (message) => message.type() === "error" && errors.push(message.text()));
  page.on("pageerror", (error) => errors.push(String(error)));
  await page.goto(url);
  return { page, errors, requests };
}
