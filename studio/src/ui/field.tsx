/** Labelled controls: each says its bound and what it does. */
import type { ComponentChildren } from "preact";
import { useId } from "preact/hooks";

interface FieldProps {
  label: string;
  value?: string;
  help?: string | undefined;
  wrong?: string;
  children: (ids: { id: string; describedby: string }) => ComponentChildren;
}

export function Field({ label, value, help, wrong, children }: FieldProps) {
  const id = useId();
  return (
    <div class="field">
      <label for={id}>
        <span>{label}</span>
        {value !== undefined && <output for={id}>{value}</output>}
      </label>
      {children({ id, describedby: `${id}-help` })}
      {(help || wrong) && (
        <p id={`${id}-help`} class={wrong ? "wrong" : "help"}>
          {wrong || help}
        </p>
      )}
    </div>
  );
}

interface SliderProps {
  label: string;
  value: number;
  minimum: number;
  maximum: number;
  step?: number;
  help?: string;
  shown?: string;
  onChange: (value: number) => void;
}

export function Slider(props: SliderProps) {
  const { label, value, minimum, maximum, step = 0.05, help, onChange } = props;
  return (
    <Field label={label} value={props.shown ?? String(value)} help={help}>
      {({ id, describedby }) => (
        <input
          id={id}
          type="range"
          aria-describedby={help ? describedby : undefined}
          min={minimum}
          max={maximum}
          step={step}
          value={value}
          onInput={(event) => onChange(Number(event.currentTarget.value))}
        />
      )}
    </Field>
  );
}

interface TextProps {
  label: string;
  value: string;
  help?: string;
  wrong?: string;
  placeholder?: string;
  rows?: number;
  onChange: (value: string) => void;
}

export function Text(props: TextProps) {
  const { label, value, help, wrong, placeholder, rows = 1, onChange } = props;
  return (
    <Field label={label} help={help} {...(wrong ? { wrong } : {})}>
      {({ id, describedby }) => (
        <textarea
          id={id}
          rows={rows}
          aria-describedby={help || wrong ? describedby : undefined}
          aria-invalid={wrong ? true : undefined}
          placeholder={placeholder}
          value={value}
          onInput={(event) => onChange(event.currentTarget.value)}
        />
      )}
    </Field>
  );
}

interface ChoiceProps<T extends string> {
  label: string;
  value: T;
  options: readonly (readonly [T, string])[];
  help?: string;
  onChange: (value: T) => void;
}

/** One of many, by a menu. */
export function Choice<T extends string>({
  label,
  value,
  options,
  help,
  onChange,
}: ChoiceProps<T>) {
  return (
    <Field label={label} help={help}>
      {({ id, describedby }) => (
        <select
          id={id}
          aria-describedby={help ? describedby : undefined}
          value={value}
          onChange={(event) => onChange(event.currentTarget.value as T)}
        >
          {options.map(([key, text]) => (
            <option key={key} value={key}>
              {text}
            </option>
          ))}
        </select>
      )}
    </Field>
  );
}

/** One of a few, side by side. */
export function Segments<T extends string>({ label, value, options, onChange }: ChoiceProps<T>) {
  const name = useId();
  return (
    <fieldset class="field">
      <legend class="label small">{label}</legend>
      <div class="segments">
        {options.map(([key, text]) => (
          <label key={key}>
            <input
              type="radio"
              name={name}
              checked={key === value}
              onChange={() => onChange(key)}
            />
            <span>{text}</span>
          </label>
        ))}
      </div>
    </fieldset>
  );
}
