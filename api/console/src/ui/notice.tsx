import type { JSX } from "preact";
import { useEffect, useState } from "preact/hooks";

export interface Notice {
  words: string;
  undo: (() => void) | null;
}

/** Time that a notice is shown; it stays while it has the pointer or the focus. */
const SHOWN_MS = 10_000;

/** A notice about the last action. The live region is always in the page, so that screen readers announce it. */
export function NoticeBar({ notice, onClose }: { notice: Notice | null; onClose: () => void }): JSX.Element {
  const [isHeld, setHeld] = useState(false);
  useEffect(() => {
    if (!notice || isHeld) return undefined;
    const timer = window.setTimeout(onClose, SHOWN_MS);
    return () => window.clearTimeout(timer);
  }, [notice, isHeld]);
  const hold = (): void => setHeld(true);
  const release = (): void => setHeld(false);
  return (
    <div
      class={`notice ${notice ? "" : "is-empty"}`}
      role="status"
      aria-live="polite"
      onMouseEnter={hold}
      onMouseLeave={release}
      onFocusCapture={hold}
      onBlurCapture={release}
    >
      {notice ? <span>{notice.words}</span> : null}
      {notice?.undo ? (
        <button type="button" data-undo onClick={() => undoFrom(notice)}>
          Undo <kbd aria-hidden="true">u</kbd>
        </button>
      ) : null}
    </div>
  );
}

function undoFrom({ undo }: Notice): void {
  // The button disappears; without this the focus would be lost.
  document.getElementById("main")?.focus({ preventScroll: true });
  undo?.();
}

/** Click the notice's undo button, if there is one. */
export const pressUndo = (): void => document.querySelector<HTMLElement>("[data-undo]")?.click();
