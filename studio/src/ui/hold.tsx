/** A button that counts only while it is held, by pointer or key. */
import { Icon, type IconName } from "./icon";

interface Props {
  label: string;
  icon: IconName;
  shortcut?: string;
  held: boolean;
  onHold: (held: boolean) => void;
}

export function Hold({ label, icon, shortcut, held, onHold }: Props) {
  const release = () => onHold(false);
  const key = (event: KeyboardEvent, down: boolean) => {
    if (event.key !== " " && event.key !== "Enter") return;
    event.preventDefault();
    onHold(down);
  };
  return (
    <button
      type="button"
      class="button hold"
      aria-pressed={held}
      aria-keyshortcuts={shortcut}
      onPointerDown={() => onHold(true)}
      onPointerUp={release}
      onPointerLeave={release}
      onPointerCancel={release}
      onContextMenu={(event) => event.preventDefault()}
      onKeyDown={(event) => key(event, true)}
      onKeyUp={(event) => key(event, false)}
      onBlur={release}
    >
      <Icon name={icon} />
      {label}
    </button>
  );
}
