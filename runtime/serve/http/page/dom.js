// Elements from plain values.
// One decision: text is only ever set as text, so no name of a cell can become markup.

/** The element of an id that index.html has. */
export const byId = (id) => document.getElementById(id);

/** Make an element: `on…` are listeners; true and false are attributes without a value, but words of ARIA's. */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value != null && name.startsWith("aria-")) element.setAttribute(name, String(value));
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value != null) element.setAttribute(name, String(value));
  }
  element.append(...children.flat().filter((child) => child != null && child !== false));
  return element;
}

/** Put these children in the place of all that an element has. */
export function fill(element, ...children) {
  element.replaceChildren(...children.flat().filter((child) => child != null && child !== false));
}

/** A square of a colour. Colours are ours, never data. */
export function swatch(colour) {
  const element = make("span", { class: "swatch", "aria-hidden": "true" });
  element.style.backgroundColor = colour;
  return element;
}

/** A bar of a share from 0 to 1. */
export function bar(share, colour = "") {
  const inner = make("span", { class: "bar-fill" });
  inner.style.width = `${Math.max(0, Math.min(1, share || 0)) * 100}%`;
  if (colour) inner.style.backgroundColor = colour;
  return make("span", { class: "bar", "aria-hidden": "true" }, inner);
}

/** Text with each place of a phrase marked. */
export function marked(text, phrase, tag = "mark") {
  const at = phrase ? text.toLowerCase().indexOf(phrase.toLowerCase()) : -1;
  if (at < 0) return [text];
  const end = at + phrase.length;
  return [text.slice(0, at), make(tag, {}, text.slice(at, end)), ...marked(text.slice(end), phrase, tag)];
}

const WHOLE = new Intl.NumberFormat("en");
export const number = (value) => WHOLE.format(value);
export const cells = (count) => `${number(count)} ${count === 1 ? "cell" : "cells"}`;
export const percent = (share) =>
  share > 0 && share < 0.001 ? "<0.1 %" : `${(share * 100).toFixed(share < 0.0995 ? 1 : 0)} %`;
export const score = (value) => (value == null || Number.isNaN(value) ? "–" : value.toFixed(3));

/** A duration in words short enough for a line of progress. */
export function duration(seconds) {
  if (!Number.isFinite(seconds)) return "";
  if (seconds < 90) return `${Math.max(1, Math.round(seconds))} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  return `${(seconds / 3600).toFixed(1)} h`;
}

/** Bytes in words. */
export function bytes(count) {
  const steps = ["bytes", "KB", "MB", "GB", "TB"];
  let step = 0;
  for (; count >= 1000 && step < 4; step += 1) count /= 1000;
  return `${step && count < 10 ? count.toFixed(1) : Math.round(count)} ${steps[step]}`;
}

let clearing = 0;
/** Say something to screen readers; sighted users see it where it happens. */
export function announce(text) {
  const region = byId("live");
  region.textContent = "";
  clearTimeout(clearing);
  // A region that gets the same words again is read only when it was empty between.
  clearing = setTimeout(() => (region.textContent = text), 60);
}
