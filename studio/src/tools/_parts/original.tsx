/** The picture that a job began from, beside what came of it. */
import { useState } from "preact/hooks";

export function Original({ url, label }: { url: string; label: string }) {
  const [gone, lose] = useState(false);
  if (gone) return null; // deleted, or an upload of another browser
  return (
    <figure class="card original">
      <img src={url} alt={label} onError={() => lose(true)} />
      <figcaption>{label}</figcaption>
    </figure>
  );
}
