/**
 * A line to type in, with its button: Enter draws, Shift+Enter begins another line, and arrow-up in
 * an empty one brings earlier prompts back.
 */
import { t } from "../i18n";
import { useRecall } from "../state/recall";
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
  const recall = useRecall(value, onChange);
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
          if (recall(event) || event.key !== "Enter" || event.shiftKey || event.isComposing) return;
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
