import { render } from "preact";
import { App } from "./app";
import { applyTheme, theme } from "./settings";
import "./style.css";

applyTheme(theme());
const place = document.getElementById("console");
if (place) {
  // What the page showed before its script was there.
  place.textContent = "";
  render(<App />, place);
}
