import type { ComponentChildren } from "preact";
import { Icon, type IconName } from "./icon";

interface Props {
  label: string;
  icon?: IconName;
  filled?: boolean;
  kind?: "primary" | "plain" | "danger" | "";
  /** The label is for screen readers and the tooltip alone. */
  bare?: boolean;
  pressed?: boolean;
  disabled?: boolean;
  shortcut?: string;
  children?: ComponentChildren;
  onClick?: () => void;
  type?: "button" | "submit";
}

export function Button(props: Props) {
  const { label, icon, filled = false, kind = "", bare = false, shortcut } = props;
  return (
    <button
      type={props.type ?? "button"}
      class={`button ${kind} ${bare ? "icon" : ""}`}
      aria-label={bare ? label : undefined}
      title={bare ? label + (shortcut ? ` (${shortcut})` : "") : undefined}
      aria-keyshortcuts={shortcut}
      aria-pressed={props.pressed}
      disabled={props.disabled}
      onClick={props.onClick}
    >
      {icon && <Icon name={icon} filled={filled} />}
      {!bare && (props.children ?? label)}
    </button>
  );
}
