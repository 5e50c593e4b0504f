import type { JSX } from "preact";
import { useEffect, useState } from "preact/hooks";

export interface Notice {
  words: string;
  undo: (() => void) | null;
}

/** Long enough to read it and to reach its button; it stays while somebody is at it. */
const SHOWN_MS = 10_000;

/** Says for a moment what was done; the place is always there, so that readers of the screen hear what comes into it. */
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
  // The button goes; the keyboard is not to be lost with it.
  document.getElementById("main")?.focus({ preventScroll: true });
  undo?.();
}

/** Press the notice's button, where there is one. */
export const pressUndo = (): void => document.querySelector<HTMLElement>("[data-undo]")?.click();
