// Light or dark: as the system says, or as a person chose on this page.

import { byId } from "./dom.js";

const KEPT = "c2t-theme";
const PARTS = {
  light: { ground: [255, 255, 255], dim: [226, 229, 230], ink: [24, 29, 31] },
  dark: { ground: [22, 26, 28], dim: [48, 54, 57], ink: [238, 241, 241] },
};

class Theme extends EventTarget {
  start() {
    this.system = matchMedia("(prefers-color-scheme: dark)");
    const select = byId("theme");
    select.value = stored();
    select.addEventListener("change", () => {
      try {
        localStorage.setItem(KEPT, select.value);
      } catch {
        // Kept for this visit only, where the browser stores nothing.
      }
      this.apply();
    });
    this.system.addEventListener("change", () => this.apply());
    this.apply();
  }

  apply() {
    this.now = byId("theme").value || (this.system.matches ? "dark" : "light");
    document.documentElement.dataset.theme = this.now;
    this.dispatchEvent(new Event("change"));
  }

  /** Colours of the map's ground, of cells left out, and of what is written on it. */
  parts() {
    return PARTS[this.now];
  }
}

export const theme = new Theme();

function stored() {
  try {
    const kept = localStorage.getItem(KEPT);
    return kept in PARTS ? kept : "";
  } catch {
    return "";
  }
}
