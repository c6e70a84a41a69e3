import { render } from "preact";
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import type { Job } from "../src/api/types";
import { place, replace } from "../src/router";
import { form } from "../src/state/form";
import { jobs } from "../src/state/jobs";
import { interpolate } from "../src/tools/interpolate";

const PICTURE = "0123456789abcdef0123456789abcdef";
const OTHER = "fedcba9876543210fedcba9876543210";
let root: HTMLElement;

beforeEach(() => {
  root = document.createElement("div");
  document.body.append(root);
  jobs.value = [] as Job[];
  vi.stubGlobal("fetch", async () => new Response("{}", { status: 404 }));
});

afterEach(() => {
  render(null, root);
  root.remove();
  vi.unstubAllGlobals();
});

const Placed = () => <interpolate.View argument={place.value.argument} />;
const settled = () => new Promise((resolve) => setTimeout(resolve, 60));

it("a picture of the address is taken once: what is chosen later outlives a reload", async () => {
  replace("interpolate", PICTURE);
  render(<Placed />, root);
  await settled();
  const fields = form("interpolate");
  expect(fields.value).toMatchObject({ aKind: "picture", aPicture: PICTURE });
  expect(location.hash).toBe("#/interpolate");
  fields.value = { ...fields.value, aPicture: OTHER };
  render(null, root);
  render(<Placed />, root);
  await settled();
  expect(fields.value["aPicture"]).toBe(OTHER);
});
