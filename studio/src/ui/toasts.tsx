import { hold, hush, release, toasts } from "../state/toasts";

export function Toasts() {
  return (
    <div class="toasts" role="status" aria-live="polite">
      {toasts.value.map((one) => (
        <div
          class="toast"
          key={one.id}
          onPointerEnter={() => hold(one.id)}
          onFocusIn={() => hold(one.id)}
          onPointerLeave={({ currentTarget: it }) => {
            if (!it.contains(document.activeElement)) release(one.id);
          }}
          onFocusOut={({ currentTarget: it }) => {
            if (!it.matches(":hover")) release(one.id);
          }}
        >
          <span class="grow">{one.text}</span>
          {one.action && (
            <button
              type="button"
              onClick={() => {
                one.action?.run();
                hush(one.id);
              }}
            >
              {one.action.text}
            </button>
          )}
        </div>
      ))}
    </div>
  );
}
