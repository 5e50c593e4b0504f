/** Where the keyboard is. */

/** Bring a panel into view, and its heading under the keyboard. */
export function jumpTo(id: string): void {
  const heading = document.getElementById(`${id}-title`);
  const isCalm = window.matchMedia("(prefers-reduced-motion: reduce)").matches;
  document.getElementById(id)?.scrollIntoView({ behavior: isCalm ? "auto" : "smooth", block: "start" });
  heading?.focus({ preventScroll: true });
}

/** Move to the next or the previous item that can be opened. */
export function step(by: 1 | -1): void {
  const rows = [...document.querySelectorAll<HTMLElement>("[data-row]")].filter((row) => row.offsetParent !== null);
  const at = rows.findIndex((row) => row === document.activeElement || row.closest(".row, .card")?.contains(document.activeElement));
  const next = rows[at < 0 ? (by > 0 ? 0 : rows.length - 1) : Math.min(rows.length - 1, Math.max(0, at + by))];
  next?.focus();
  next?.scrollIntoView({ block: "nearest" });
}
