import { render } from "preact";
import { useState } from "preact/hooks";
import { act } from "preact/test-utils";
import { expect, it } from "vitest";
import type { Schema } from "../src/api/types";
import { read, SchemaField } from "../src/ui/schema";

const NUMBER: Schema = { type: "number", minimum: -1, maximum: 20, default: 2 };
const WHOLE: Schema = { type: "integer", minimum: 1, maximum: 50 };

it.each([
  ["2.0", NUMBER, 2],
  ["3.", NUMBER, 3],
  ["-0.5", NUMBER, -0.5],
  ["1e1", NUMBER, 10],
  [" 4 ", WHOLE, 4],
  ["2.0", WHOLE, 2],
  ["", NUMBER, undefined],
  ["much", NUMBER, undefined],
  ["2.5", WHOLE, undefined],
  ["99", NUMBER, undefined],
  ["3.", { type: "string" } as Schema, "3."],
])("%j is sent as a number, or not at all", (text, schema, value) => {
  expect(read(text, schema)).toBe(value);
});

it("what is typed stays as it is until another value comes from elsewhere", async () => {
  const sent: unknown[] = [];
  let put: (value: unknown) => void = () => undefined;
  function Form() {
    const [value, change] = useState<unknown>(undefined);
    put = change;
    const take = (next: unknown) => {
      sent.push(next);
      change(next);
    };
    return <SchemaField label="Guidance" schema={NUMBER} value={value} onChange={take} />;
  }
  const root = document.createElement("div");
  await act(() => render(<Form />, root));
  const input = root.querySelector("input") as HTMLInputElement;
  const type = (text: string) =>
    act(() => {
      input.value = text;
      input.dispatchEvent(new Event("input", { bubbles: true }));
    });
  for (const text of ["-", "-0", "-0.", "-0.5", "3.", "3.0", "3.05"]) {
    await type(text);
    expect(input.value).toBe(text);
  }
  expect(sent).toEqual([undefined, -0, -0, -0.5, 3, 3, 3.05]);
  await type("99");
  expect([input.value, input.getAttribute("aria-invalid"), sent.at(-1)]).toEqual([
    "99",
    "true",
    undefined,
  ]);
  await act(() => put(7));
  expect(input.value).toBe("7");
});
