import type { JSX } from "preact";
import { useState } from "preact/hooks";

/** A button that copies `text` to the clipboard. */
export function CopyButton({ text, what, words = "Copy" }: { text: string; what: string; words?: string }): JSX.Element {
  const [feedback, setFeedback] = useState("");
  const copy = (): void => {
    void navigator.clipboard?.writeText(text).then(
      () => setFeedback("Copied"),
      () => setFeedback("Copy failed"),
    );
    window.setTimeout(() => setFeedback(""), 2000);
  };
  return (
    <button type="button" class="quiet" onClick={copy} aria-label={`${feedback || words.split(" ")[0]} ${what}`}>
      {feedback || words}
    </button>
  );
}
