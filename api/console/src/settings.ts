/** Preferences of the user in localStorage. Never a key: it is in a cookie that scripts cannot read. */

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
    // Without storage the preference lasts until the page is closed.
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
