import { useState } from "preact/hooks";
import { ApiError } from "../api/client";
import { t } from "../i18n";
import { logIn } from "../state/session";
import { reason } from "../state/toasts";
import { Button } from "./button";
import { Field } from "./field";

/** Exchange a key for the server's cookie; the key is kept nowhere. */
export function Login() {
  const [key, setKey] = useState("");
  const [wrong, setWrong] = useState("");
  const enter = async () => {
    try {
      await logIn(key.trim());
    } catch (error) {
      const refused = error instanceof ApiError && error.status === 401;
      setWrong(refused ? t("login.wrong") : reason(error));
    }
    setKey("");
  };
  return (
    <main class="main login" id="main">
      <form
        class="stack"
        onSubmit={(event) => {
          event.preventDefault();
          void enter();
        }}
      >
        <h1>{t("login.title")}</h1>
        <p class="soft">{t("login.help")}</p>
        <Field label={t("login.key")} wrong={wrong}>
          {({ id, describedby }) => (
            <input
              id={id}
              type="password"
              autocomplete="current-password"
              aria-describedby={describedby}
              aria-invalid={wrong ? true : undefined}
              value={key}
              onInput={(event) => setKey(event.currentTarget.value)}
            />
          )}
        </Field>
        <Button type="submit" kind="primary" label={t("login.enter")} disabled={!key.trim()} />
      </form>
    </main>
  );
}
