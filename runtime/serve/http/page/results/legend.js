// The groups of the map: a table that is the legend, the summary in words, and the switch of a group.

import { fill, make, number, percent, score, swatch } from "../dom.js";
import { FIRST_STEP, LACKING, OTHER, OWN_COLOURS, STEPS, css } from "../map/palette.js";
import { NONE } from "./dataset.js";

const BARS = 32; // of the histogram
const LISTED = 300; // groups; more are found by search

/** Codes of colour for all cells, by a column with categories: {codes, codeOf}. */
export function colourByGroup(data, column) {
  const own = new Uint8Array(65536).fill(LACKING);
  data.grouping(column).list.filter(({ code }) => code !== NONE).forEach(({ code }, place) => (own[code] = place < OWN_COLOURS ? place : OTHER));
  return { codes: mapped(data.codes.get(column), (code) => own[code]), codeOf: (code) => own[code] };
}

/** Codes of colour for all cells, by a number from 0 to 1: {codes, low, high}. */
export function colourByNumber(values) {
  let [least, most] = [Infinity, -Infinity];
  for (const value of values) {
    if (value < least) least = value;
    if (value > most) most = value;
  }
  if (least > most) [least, most] = [0, 1];
  const [low, high] = [Math.floor(least * 20) / 20, Math.max(Math.ceil(most * 20) / 20, Math.floor(least * 20) / 20 + 0.05)];
  const codes = mapped(values, (value) => (Number.isNaN(value) ? LACKING : FIRST_STEP + Math.round(((value - low) / (high - low)) * (STEPS - 1))));
  return { codes, low, high };
}

/** Bytes made of values; many times faster than `Uint8Array.from` for a million. */
export function mapped(values, byte) {
  const bytes = new Uint8Array(values.length);
  for (let k = 0; k < bytes.length; k += 1) bytes[k] = byte(values[k]);
  return bytes;
}

/** Write the groups of a column. `choose(group)` is told which one was pressed. */
export function writeGroups(box, { data, column, colours, codeOf, chosen, choose, find = "" }) {
  const { list } = data.grouping(column);
  const named = list.filter(({ name }) => !find || (name ?? "").toLowerCase().includes(find));
  const lines = named.slice(0, LISTED).map((group) => {
    const pressed = chosen === group.code;
    const name = group.name ?? "no value";
    const button = make(
      "button",
      { type: "button", class: "group", "aria-pressed": pressed, title: name, onclick: () => choose(group) },
      swatch(css(colours[codeOf(group.code)])),
      make("span", { class: "group-name" }, name),
    );
    return make("tr", { class: pressed ? "chosen" : null, "data-code": group.code }, make("th", { scope: "row" }, button), make("td", {}, number(group.count)), make("td", { class: "share" }, percent(group.count / data.cells)), make("td", {}, score(group.median)));
  });
  const head = make("tr", {}, ["Group", "Cells", "Share", "Confid."].map((title) => make("th", { scope: "col", class: title === "Share" ? "share" : null, title: title === "Confid." ? "Median confidence" : null }, title)));
  const few = list.length > OWN_COLOURS ? `The ${OWN_COLOURS} largest groups have colours of their own; the others share a grey.` : "";
  const more = named.length > LISTED ? `${number(named.length - LISTED)} more groups: search finds them.` : "";
  fill(
    box,
    make("table", { class: "groups" }, make("caption", { class: "unseen" }, `Groups by ${data.title(column)}: cells, share and median confidence`), make("thead", {}, head), make("tbody", {}, lines)),
    (few || more) && make("p", { class: "quiet" }, `${few} ${more}`.trim()),
  );
}

/** Write the scale of a number with its histogram. `choose(low, high)` is told which bar was pressed. */
export function writeScale(box, { values, low, high, colours, title, choose, chosen }) {
  const counts = new Uint32Array(BARS);
  let lacking = 0;
  const width = (high - low) / BARS;
  for (const value of values) {
    if (Number.isNaN(value)) lacking += 1;
    else counts[Math.max(0, Math.min(BARS - 1, Math.floor((value - low) / width)))] += 1;
  }
  const most = Math.max(...counts, 1);
  const bars = [...counts].map((count, k) => {
    const [from, to] = [low + k * width, low + (k + 1) * width];
    const label = `${number(count)} cells from ${from.toFixed(2)} to ${to.toFixed(2)}`;
    const column = make("span", { class: "column" });
    column.style.height = `${count ? Math.max(3, (Math.log1p(count) / Math.log1p(most)) * 100) : 0}%`;
    column.style.backgroundColor = css(colours[FIRST_STEP + Math.round((k / (BARS - 1)) * (STEPS - 1))]);
    // The last bar holds its upper end.
    const upper = k === BARS - 1 ? Infinity : to;
    return make("button", { type: "button", title: label, "aria-label": label, "aria-pressed": chosen === k, onclick: () => choose(k, from, upper, label) }, column);
  });
  fill(
    box,
    make("h3", {}, title),
    make("div", { class: "histogram", role: "group", "aria-label": `${title}: press a bar to show its cells` }, bars),
    make("div", { class: "scale-ends" }, make("span", {}, low.toFixed(2)), make("span", { class: "quiet" }, "height: log of the cells"), make("span", {}, high.toFixed(2))),
    lacking > 0 && make("p", { class: "quiet" }, swatch(css(colours[LACKING])), `${number(lacking)} without a value`),
  );
}
