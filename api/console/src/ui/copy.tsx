import type { JSX } from "preact";
import { useState } from "preact/hooks";

/** Puts words on the clipboard, and says so. */
export function CopyButton({ text, what, words = "Copy" }: { text: string; what: string; words?: string }): JSX.Element {
  const [said, setSaid] = useState("");
  const copy = (): void => {
    void navigator.clipboard?.writeText(text).then(
      () => setSaid("Copied"),
      () => setSaid("Not allowed"),
    );
    window.setTimeout(() => setSaid(""), 2000);
  };
  return (
    <button type="button" class="quiet" onClick={copy} aria-label={`${said || words.split(" ")[0]} ${what}`}>
      {said || words}
    </button>
  );
}
