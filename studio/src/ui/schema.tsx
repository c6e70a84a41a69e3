/** A control for a field or setting, by its schema: bounds, choices, default and help are the server's. */
import type { Schema } from "../api/types";
import { t } from "../i18n";
import { Choice, Field } from "./field";

interface Props {
  label: string;
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

export function SchemaField({ label, schema: one, value, onChange }: Props) {
  const own = one.default === null ? t("field.none") : String(one.default ?? "");
  const asDefault = own ? t("make.default", { value: own }) : t("make.own");
  const help = [sentence(one.description), bounds(one)].filter(Boolean).join(" ");
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
  const text = value === undefined ? "" : String(value);
  const wrong = one.type === "string" ? "" : fault(text, one);
  return (
    <Field label={label} help={help} {...(wrong ? { wrong } : {})}>
      {({ id, describedby }) => (
        <input
          id={id}
          type="text"
          inputMode={one.type === "string" ? "text" : "decimal"}
          aria-describedby={describedby}
          aria-invalid={wrong ? true : undefined}
          placeholder={asDefault}
          value={text}
          onInput={(event) => {
            const typed = event.currentTarget.value;
            onChange(typed.trim() === "" ? undefined : parsed(typed, one));
          }}
        />
      )}
    </Field>
  );
}

function parsed(text: string, schema: Schema): unknown {
  if (schema.type === "boolean") return text === "true";
  if (schema.type === "string" || Number.isNaN(Number(text))) return text;
  return /[.eE]$|\.0*$/.test(text) ? text : Number(text);
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
