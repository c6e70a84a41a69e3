/** A control for a field or setting, by its schema: bounds, choices, default and help are the server's. */
import { useState } from "preact/hooks";
import type { Schema } from "../api/types";
import { type Key, t } from "../i18n";
import { en } from "../i18n/en";
import { Choice, Field } from "./field";

interface Props {
  label: string;
  /** Of the field or setting: the page has a help of its own for some. */
  name?: string;
  schema: Schema;
  value: unknown;
  /** `undefined`: the default. */
  onChange: (value: unknown) => void;
}

/** Whether a control can be made of it. */
export function isSimple(one: Schema): boolean {
  return (
    one.enum !== undefined || ["number", "integer", "string", "boolean"].includes(String(one.type))
  );
}

/** Why a number cannot be, or nothing. */
export function fault(text: string, one: Schema): string {
  if (text.trim() === "") return "";
  const value = Number(text);
  if (!Number.isFinite(value)) return t("field.number");
  if (one.type === "integer" && !Number.isInteger(value)) return t("field.whole");
  if (one.minimum !== undefined && value < one.minimum) return t("field.least", { n: one.minimum });
  if (one.maximum !== undefined && value > one.maximum) return t("field.most", { n: one.maximum });
  if (one.exclusiveMinimum !== undefined && value <= one.exclusiveMinimum) {
    return t("field.above", { n: one.exclusiveMinimum });
  }
  return "";
}

export function SchemaField({ label, name = "", schema: one, value, onChange }: Props) {
  const own = one.default === null ? t("field.none") : String(one.default ?? "");
  const asDefault = own ? t("make.default", { value: own }) : t("make.own");
  const help = [helpOf(name) || sentence(one.description), bounds(one)].filter(Boolean).join(" ");
  if (one.enum || one.type === "boolean") {
    const options = (one.enum ?? ["true", "false"]).map(
      (key) => [String(key), String(key)] as const,
    );
    return (
      <Choice
        label={label}
        help={help}
        value={value === undefined ? "" : String(value)}
        options={[["", asDefault], ...options]}
        onChange={(key) => onChange(key === "" ? undefined : parsed(key, one))}
      />
    );
  }
  return <Typed label={label} help={help} hint={asDefault} schema={one} {...{ value, onChange }} />;
}

interface TypedProps extends Props {
  help: string;
  hint: string;
}

/** A field for a text or a number. What is typed stays as it is: `3.` is on the way to `3.5`. */
function Typed({ label, help, hint, schema: one, value, onChange }: TypedProps) {
  const [typed, type] = useState<{ text: string; value: unknown } | null>(null);
  // Another value than what was typed came from elsewhere.
  const text = typed && Object.is(typed.value, value) ? typed.text : String(value ?? "");
  const wrong = one.type === "string" ? "" : fault(text, one);
  return (
    <Field label={label} help={help} {...(wrong ? { wrong } : {})}>
      {({ id, describedby }) => (
        <input
          id={id}
          type="text"
          inputMode={one.type === "string" ? "text" : "decimal"}
          aria-describedby={help || wrong ? describedby : undefined}
          aria-invalid={wrong ? true : undefined}
          placeholder={hint}
          value={text}
          onInput={(event) => {
            const next = {
              text: event.currentTarget.value,
              value: read(event.currentTarget.value, one),
            };
            type(next);
            onChange(next.value);
          }}
        />
      )}
    </Field>
  );
}

/** The value of what is typed. `undefined`, the default, where nothing is, or what cannot be. */
export function read(text: string, one: Schema): unknown {
  if (text.trim() === "") return undefined;
  if (one.type === "string") return text;
  return fault(text, one) ? undefined : Number(text);
}

/** The value of a choice. */
function parsed(key: string, one: Schema): unknown {
  if (one.type === "boolean") return key === "true";
  return one.enum?.find((each) => String(each) === key) ?? key;
}

/** What a field or setting does, in the user's language, if there is a text. */
export function helpOf(name: string): string {
  const key = `help.${name}`;
  return key in en ? t(key as Key) : "";
}

function sentence(text = ""): string {
  return text && !/[.:;!?。]$/.test(text) ? `${text}.` : text;
}

function bounds({ minimum, maximum }: Schema): string {
  if (minimum !== undefined && maximum !== undefined && maximum < 1e6) {
    return t("field.between", { low: minimum, high: maximum });
  }
  return minimum === undefined ? "" : t("field.least", { n: minimum });
}
