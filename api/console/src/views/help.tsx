import type { JSX } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import type { Shortcut } from "../keys";
import { hasShortcuts, setShortcuts } from "../settings";

/** The shortcuts, and what the signals mean. */
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
        <h2 id="help-title">Keys and meanings</h2>
        <button type="button" onClick={onClose}>
          Close
        </button>
      </header>
      <div class="help-grid">
        <section>
          <h3>Keys</h3>
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
              <dd>Open the item</dd>
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
          <h3>Meanings</h3>
          <p>
            <b>Needs you now</b> ranks runs that are live or finished in the last day. A score is the sum of its parts: risk up to 0.35, impact 0.25, latency
            and recency 0.15 each, evidence 0.10.
          </p>
          <p>
            <b>Stuck in a pattern</b> finds runs that retry, repeat a step, come back to a skill, or add up slow steps. Arguments are not recorded: polling
            looks like a loop.
          </p>
          <p>
            <b>Cost per run</b> compares the last day with the six days before. <i>z</i> is the definition's rule; the robust rule works on medians and says
            when there is too little to judge.
          </p>
          <p>
            <b>Fresh</b> means confirmed within two periods and 30 seconds. Times are in your zone; hover or focus shows UTC.
          </p>
        </section>
      </div>
    </dialog>
  );
}
