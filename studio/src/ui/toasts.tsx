import { hush, toasts } from "../state/toasts";

export function Toasts() {
  return (
    <div class="toasts" role="status" aria-live="polite">
      {toasts.value.map((one) => (
        <div class="toast" key={one.id}>
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
