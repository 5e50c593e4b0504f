/** Single-key shortcuts. They can be switched off (WCAG 2.1.4) and are ignored while the focus is in a text field. */
import { useEffect } from "preact/hooks";
import { hasShortcuts } from "./settings";

export interface Shortcut {
  keys: string;
  words: string;
  run: () => void;
}

const PATIENCE_MS = 1200;

export function useShortcuts(shortcuts: Shortcut[]): void {
  useEffect(() => {
    let before = "";
    let since = 0;
    const press = (event: KeyboardEvent): void => {
      if (event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target) || !hasShortcuts()) return;
      if (document.querySelector("dialog[open]")) return;
      const sequence = event.timeStamp - since < PATIENCE_MS && before ? `${before} ${event.key}` : event.key;
      const found = shortcuts.find((each) => each.keys === sequence) ?? shortcuts.find((each) => each.keys === event.key);
      before = shortcuts.some((each) => each.keys.startsWith(`${event.key} `)) ? event.key : "";
      since = event.timeStamp;
      if (!found) return;
      event.preventDefault();
      before = "";
      found.run();
    };
    document.addEventListener("keydown", press);
    return () => document.removeEventListener("keydown", press);
  });
}

function isTyping(target: EventTarget | null): boolean {
  return target instanceof HTMLElement && (target.matches("input, select, textarea") || target.isContentEditable);
}
