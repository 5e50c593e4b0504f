/** What the reader chose on this machine. Never a key: those are in a cookie that no script can read. */

export type Theme = "auto" | "light" | "dark";

const recall = (name: string): string | null => {
  try {
    return localStorage.getItem(`activity-${name}`);
  } catch {
    return null;
  }
};

const keep = (name: string, value: string): void => {
  try {
    localStorage.setItem(`activity-${name}`, value);
  } catch {
    // A browser that keeps nothing asks again next time.
  }
};

export function theme(): Theme {
  const kept = recall("theme");
  return kept === "light" || kept === "dark" ? kept : "auto";
}

export function applyTheme(chosen: Theme): void {
  if (chosen === "auto") delete document.documentElement.dataset["theme"];
  else document.documentElement.dataset["theme"] = chosen;
}

export function setTheme(chosen: Theme): void {
  keep("theme", chosen);
  applyTheme(chosen);
}

export const hasShortcuts = (): boolean => recall("shortcuts") !== "off";
export const setShortcuts = (isOn: boolean): void => keep("shortcuts", isOn ? "on" : "off");
