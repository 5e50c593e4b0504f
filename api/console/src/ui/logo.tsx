import type { JSX } from "preact";

export function Logo(): JSX.Element {
  return (
    <svg class="logo" viewBox="0 0 32 32" width="26" height="26" aria-hidden="true" focusable="false">
      <rect width="32" height="32" rx="7" />
      <path d="M4 17h6l3-8 5 15 3.500-9H28" />
    </svg>
  );
}
