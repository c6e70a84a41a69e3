/** A line to type in, with its button: Enter draws, Shift+Enter begins another line. */
import { t } from "../i18n";
import { Button } from "./button";

interface Props {
  value: string;
  label?: string;
  placeholder?: string;
  button?: string;
  disabled?: boolean;
  onChange: (text: string) => void;
  onSubmit: () => void;
}

export function Prompt({ value, label, placeholder, button, disabled, onChange, onSubmit }: Props) {
  return (
    <div class="prompt">
      <textarea
        rows={1}
        aria-label={label ?? t("make.prompt")}
        placeholder={placeholder ?? t("make.placeholder")}
        value={value}
        maxLength={4000}
        onInput={(event) => onChange(event.currentTarget.value)}
        onKeyDown={(event) => {
          if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
          event.preventDefault();
          onSubmit();
        }}
      />
      <Button
        type="submit"
        kind="primary"
        label={button ?? t("make.draw")}
        disabled={disabled || !value.trim()}
      />
    </div>
  );
}
