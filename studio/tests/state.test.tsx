import { signal } from "@preact/signals";
import { render } from "preact";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { ApiError, session } from "../src/api/client";
import { follow, stop } from "../src/api/events";
import type { Capabilities, Job, Session } from "../src/api/types";
import { capabilities, readCapabilities } from "../src/state/capabilities";
import { cancelOthers, jobOf, jobs, put, settle } from "../src/state/jobs";
import { favourites } from "../src/state/pictures";
import { upload } from "../src/state/source";
import { begin, cancelSweep, sweep } from "../src/state/sweep";
import { hold, reason, release, say, toasts } from "../src/state/toasts";
import { usePending } from "../src/tools/outpaint";
import type { Paper } from "../src/tools/outpaint/paper";
import { pastedInto } from "../src/ui/picker";

function job(id: string, by: Partial<Job> = {}): Job {
  return {
    ...{ id, ability: "generate", fields: {}, inputs: {}, model: "m", created: 1 },
    ...{ state: "running", pictures: [], place: null, failure: null },
    ...by,
  } as unknown as Job;
}

type Answer = { status?: number; body?: unknown; code?: string };
/** What the server answers, by "METHOD path"; what is not there is not found. */
let answers: Record<string, Answer | (() => Answer | Promise<Answer>)>;
let asked: string[];

beforeEach(() => {
  vi.useFakeTimers();
  answers = {};
  asked = [];
  jobs.value = [];
  toasts.value = [];
  vi.stubGlobal("fetch", async (url: string, { method }: { method: string }) => {
    const name = `${method} ${new URL(url).pathname.slice(1)}`;
    asked.push(name);
    const given = answers[name] ?? { status: 404 };
    const { status = 200, body, code } = typeof given === "function" ? await given() : given;
    if (status === 0) throw new TypeError("no network");
    const told = status < 400 ? body : { error: { message: "no", code: code ?? null } };
    return new Response(JSON.stringify(told), { status });
  });
});

afterEach(() => {
  stop();
  sweep.value = null;
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

describe("jobs", () => {
  it("one that ended is not begun again by an older answer", () => {
    put(job("a", { state: "done" }));
    put(job("a", { state: "running" }));
    expect(jobOf("a")?.state).toBe("done");
  });

  it("open ones that the server does not list are asked for; lost ones are dropped", async () => {
    for (const id of ["a", "b", "c"]) put(job(id));
    answers["GET v1/jobs/b"] = { body: job("b", { state: "done" }) };
    await settle([job("a")]);
    expect(asked.sort()).toEqual(["GET v1/jobs/b", "GET v1/jobs/c"]);
    expect(jobs.value.map((one) => [one.id, one.state]).sort()).toEqual([
      ["a", "running"],
      ["b", "done"],
    ]);
  });

  it("their pictures tell whether they are favourites, where they say so", () => {
    favourites.value = { q: true };
    const pictures = [{ id: "p", favourite: true }, { id: "q" }] as unknown as Job["pictures"];
    put(job("a", { state: "done", pictures }));
    expect(favourites.value).toEqual({ p: true, q: true });
  });
});

describe("a canvas's job", () => {
  const paper = () =>
    signal({ pending: { job: "a", box: {} } } as unknown as Paper & { pending: { job: string } });
  let shown: Job | null;
  const shownOf = (of: ReturnType<typeof paper>) => {
    const root = document.createElement("div");
    const Probe = () => {
      shown = usePending(of);
      return null;
    };
    render(<Probe />, root);
    return () => render(null, root);
  };

  it("stays, when newer jobs have made the page forget it", async () => {
    const of = paper();
    put(job("a", { state: "done", created: 0 }));
    const end = shownOf(of);
    await vi.advanceTimersByTimeAsync(50);
    for (let i = 1; i <= 60; i += 1) put(job(`n${i}`, { state: "done", created: i }));
    await vi.advanceTimersByTimeAsync(50);
    expect(jobOf("a")).toBeNull();
    expect(shown?.id).toBe("a");
    end();
  });

  it("is asked for until the server answers, and let go when it is lost", async () => {
    const of = paper();
    answers["GET v1/jobs/a"] = { status: 503 };
    const end = shownOf(of);
    await vi.advanceTimersByTimeAsync(100);
    expect(of.value.pending).not.toBeNull();
    answers["GET v1/jobs/a"] = { status: 404 };
    await vi.advanceTimersByTimeAsync(3000);
    expect(of.value.pending).toBeNull();
    end();
  });
});

describe("messages", () => {
  it("say that the queue is full only where it is", () => {
    const full = new ApiError(429, "Busy.", "rate_limit_exceeded", null, 7);
    expect(reason(full)).toContain("7");
    expect(reason(new ApiError(429, "Too much.", "upload_quota_exceeded"))).not.toContain("queue");
    expect(reason(new ApiError(429, "Slower."))).toBe("Slower.");
  });

  it.each([
    [{ status: 400 }, true],
    [{ status: 0 }, false],
    [{ status: 401 }, false],
    [{ status: 429, code: "upload_quota_exceeded" }, false],
  ])("an upload answered with %o", async (answer, wrong) => {
    answers["POST v1/pictures"] = answer;
    expect(await upload(new Blob(["x"]))).toBeNull();
    expect(toasts.value[0]?.text.includes("PNG")).toBe(wrong);
  });

  it("stay while somebody is at them", () => {
    say("Deleted.", { text: "Undo", run: () => {} });
    const id = toasts.value[0]?.id ?? 0;
    hold(id);
    vi.advanceTimersByTime(60_000);
    expect(toasts.value).toHaveLength(1);
    release(id);
    vi.advanceTimersByTime(10_001);
    expect(toasts.value).toHaveLength(0);
  });
});

it("a pasted picture is for the first picker that has none", () => {
  const [first, second] = [document.createElement("p"), document.createElement("p")];
  document.body.append(first, second);
  const of = (box: Element, value: string) => ({ box: { current: box }, value });
  expect(pastedInto([of(second, ""), of(first, "")])?.box.current).toBe(first);
  expect(pastedInto([of(first, "x"), of(second, "")])?.box.current).toBe(second);
  expect(pastedInto([of(second, "y"), of(first, "x")])?.box.current).toBe(first);
  expect(pastedInto([])).toBeUndefined();
});

describe("sweeps", () => {
  const cell = (prompt: string) => ({
    ...{ x: 0, y: 0, job: "", state: "" as const, picture: null, reason: "" },
    asked: { ability: "generate" as const, fields: { prompt } },
  });
  const of = (title: string) => ({ title, axes: [], cells: [cell(title)] });

  it("a job that was asked for before another sweep began is not of it", async () => {
    let answer = (_: Answer) => {};
    const first = new Promise<Answer>((resolve) => {
      answer = resolve;
    });
    let count = 0;
    answers["POST v1/jobs"] = () => {
      count += 1;
      return count === 1 ? first : { body: job("new", { state: "queued" }) };
    };
    answers["POST v1/jobs/old/cancel"] = { body: job("old", { state: "cancelled" }) };
    begin(of("one"));
    await vi.advanceTimersByTimeAsync(10);
    await cancelSweep();
    begin(of("two"));
    answer({ body: job("old", { state: "queued" }) });
    await vi.advanceTimersByTimeAsync(10);
    expect(sweep.value?.cells.map((one) => one.job)).toEqual(["new"]);
    expect(asked).toContain("POST v1/jobs/old/cancel");
  });

  it("end with all jobs but one", async () => {
    answers["POST v1/jobs"] = { body: job("s", { state: "queued" }) };
    answers["POST v1/jobs/s/cancel"] = { body: job("s", { state: "cancelled" }) };
    begin(of("one"));
    await vi.advanceTimersByTimeAsync(10);
    put(job("mine"));
    await cancelOthers("mine");
    expect(sweep.value?.going).toBe(false);
    expect(jobOf("mine")?.state).toBe("running");
  });
});

describe("after a break", () => {
  const told = (...names: string[]) =>
    ({ models: names.map((name) => ({ name, abilities: [] })), abilities: {} }) as unknown as
      | Capabilities
      | undefined;

  it("capabilities are asked for until they are told; what was known is used meanwhile", async () => {
    answers["GET v1/capabilities"] = { body: told("old") };
    await readCapabilities();
    answers["GET v1/capabilities"] = { status: 503 };
    await readCapabilities();
    answers["GET v1/capabilities"] = { body: told() };
    await vi.advanceTimersByTimeAsync(1100);
    expect(capabilities.value?.models[0]?.name).toBe("old");
    answers["GET v1/capabilities"] = { body: told("new") };
    await vi.advanceTimersByTimeAsync(1100);
    expect(capabilities.value?.models[0]?.name).toBe("new");
  });

  it("a refused stream asks who one is", async () => {
    const made: { onerror?: () => void; readyState: number }[] = [];
    class Source {
      static CLOSED = 2;
      readyState = 2;
      constructor() {
        made.push(this);
      }
      addEventListener() {}
      close() {}
    }
    vi.stubGlobal("EventSource", Source);
    session.value = { needs_key: true, owner: "o", csrf: "c" } as Session;
    answers["GET v1/session"] = { body: { needs_key: true, owner: "o", csrf: "c" } };
    follow();
    made[0]?.onerror?.();
    await vi.advanceTimersByTimeAsync(2100);
    expect(made).toHaveLength(2);
    answers["GET v1/session"] = { body: { needs_key: true, owner: null, csrf: null } };
    made[1]?.onerror?.();
    await vi.advanceTimersByTimeAsync(5000);
    expect(made).toHaveLength(2);
    expect(session.value?.owner).toBeNull();
  });
});

describe("another tab", () => {
  const tell = (newValue: string | null) =>
    dispatchEvent(new StorageEvent("storage", { key: "unclip.owner", newValue }));

  it("that ends the session has this one begin anew, and store nothing more", async () => {
    const reload = vi.spyOn(location, "reload").mockImplementation(() => {});
    tell('""');
    tell(null);
    expect(reload).not.toHaveBeenCalled();
    tell('"other"');
    expect(reload).toHaveBeenCalledOnce();
    localStorage.removeItem("unclip.sweep");
    sweep.value = { title: "mine", axes: [], cells: [], going: false };
    expect(localStorage.getItem("unclip.sweep")).toBeNull();
  });
});
