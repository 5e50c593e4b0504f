import { render } from "preact";
import { App } from "./app";
import { applyTheme, theme } from "./settings";
import "./style.css";

applyTheme(theme());
const place = document.getElementById("console");
if (place) {
  // The placeholder that the page shows while the script loads.
  place.textContent = "";
  render(<App />, place);
}
