import type { JSX } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { STORED_MS, usePage } from "../context";
import type { Shortcut } from "../keys";
import { fill, type Stated } from "../meaning";
import { usePolls } from "../poll";
import { hasShortcuts, setShortcuts } from "../settings";
import { pathOf } from "./plain";

/** The keyboard shortcuts, and the explanations of the signals from the catalogue. */
export function Help({ isOpen, shortcuts, onClose }: { isOpen: boolean; shortcuts: Shortcut[]; onClose: () => void }): JSX.Element {
  const dialog = useRef<HTMLDialogElement>(null);
  const [isOn, setOn] = useState(hasShortcuts());
  useEffect(() => {
    if (isOpen) dialog.current?.showModal();
    else dialog.current?.close();
  }, [isOpen]);
  return (
    <dialog ref={dialog} aria-labelledby="help-title" onClose={onClose}>
      <header>
        <h2 id="help-title">Help</h2>
        <button type="button" onClick={onClose}>
          Close
        </button>
      </header>
      <div class="help-grid">
        <section>
          <h3>Keyboard shortcuts</h3>
          <dl class="keys">
            {shortcuts.map((shortcut) => (
              <div key={shortcut.keys}>
                <dt>
                  {shortcut.keys.split(" ").map((key) => (
                    <kbd key={key}>{key}</kbd>
                  ))}
                </dt>
                <dd>{shortcut.words}</dd>
              </div>
            ))}
            <div>
              <dt>
                <kbd>Enter</kbd>
              </dt>
              <dd>Open the selected item</dd>
            </div>
          </dl>
          <label class="check">
            <input
              type="checkbox"
              checked={isOn}
              onChange={(event) => {
                setOn(event.currentTarget.checked);
                setShortcuts(event.currentTarget.checked);
              }}
            />
            Single-key shortcuts
          </label>
        </section>
        <section>
          <h3>Signals</h3>
          {isOpen ? <Explanations /> : null}
          <p>
            <b>Fresh</b>: the last refresh is younger than the limit beside its age. Times are in your time zone; hover or focus shows UTC.
          </p>
        </section>
      </div>
    </dialog>
  );
}

function Explanations(): JSX.Element {
  const { signals } = usePage();
  const bodies = usePolls<Stated>(signals.map(pathOf), STORED_MS);
  return (
    <>
      {signals.map((signal, index) => (
        <p key={signal.name}>
          <b>{signal.title}</b>. {fill(signal.explanation, signal, bodies[index]?.data)}
        </p>
      ))}
    </>
  );
}
