// What is known of one cell, or of a group: its text first, everything else below.

import { bar, cells, fill, make, marked, number, percent, score, swatch } from "../dom.js";
import { askAbout } from "./asking.js";
import { CELL_TYPE, medianOf } from "./dataset.js";

const SAMPLE = 120; // cells of a group whose texts are read
const FREQUENT = 4;
const EXAMPLES = 5;
const SHARES = 6;

// What a text says besides the type, and the column with the id of its term.
const SAID = [
  ["tissue", "Tissue", "tissue_ontology_term_id"],
  ["disease", "Disease", "disease_ontology_term_id"],
  ["sex", "Sex", "sex_ontology_term_id"],
  ["age", "Age", "development_stage_ontology_term_id"],
  ["pathways", "Pathways", null],
];
const isTerm = (id) => Boolean(id) && id !== "unknown";

/** Write about a cell. `go(step)` leads to its neighbours in the table. */
export async function readCell(box, { job, data, texts, row, colourOf, go, signal }) {
  const heading = make("h2", { tabindex: -1, class: "cell-id" }, `Cell ${number(row + 1)}`);
  const body = make("div", { "aria-busy": "true" }, make("p", { class: "quiet" }, "Reading …"));
  const steps = make(
    "div",
    { class: "steps" },
    make("button", { type: "button", class: "small", onclick: () => go(-1) }, "Previous"),
    make("button", { type: "button", class: "small", onclick: () => go(1) }, "Next"),
  );
  fill(box, make("div", { class: "reading-head" }, make("p", { class: "over" }, `Cell ${number(row + 1)} of ${number(data.cells)}`), steps), heading, body);
  const [record] = await texts.get([row]);
  if (!heading.isConnected) return heading; // another cell is read by now
  heading.textContent = record.cell;
  const type = data.category(CELL_TYPE, row);
  const facts = [];
  const fact = (name, ...value) => facts.push(make("dt", {}, name), make("dd", {}, ...value));
  if (record.error === null) {
    fact("Confidence", bar(record.confidence), score(record.confidence));
    if (record.cell_type_confidence !== null) fact("of the type", bar(record.cell_type_confidence), score(record.cell_type_confidence));
    if (typeof record.cell_type_probability === "number") fact("right with", bar(record.cell_type_probability), score(record.cell_type_probability));
    if (record.unsure === true) fact("Answer", "unsure: below the threshold of this bundle or job");
  }
  fact("Genes used", number(record.genes_used));
  for (const [name, title, id] of SAID) if (record[name]) fact(title, record[name], ...(isTerm(record[id]) ? [make("span", { class: "term-id" }, ` ${record[id]}`)] : []));
  for (const column of data.categorical) {
    if (column === CELL_TYPE) continue;
    fact(column.replace(/^obs:/, ""), data.category(column, row) ?? "–");
  }
  fill(
    body,
    type !== null && make("p", { class: "type-line" }, swatch(colourOf(row)), type, isTerm(record.cell_type_ontology_term_id) && make("span", { class: "term-id" }, record.cell_type_ontology_term_id)),
    record.error === null
      ? make("p", { class: "written" }, ...marked(record.text, type, "strong"))
      : make("div", { class: "problem" }, make("p", {}, "This cell has no text."), make("p", { class: "hint" }, record.error)),
    make("dl", { class: "facts" }, facts),
    askAbout({ job, data, record, row, signal }),
  );
  body.setAttribute("aria-busy", "false");
  return heading;
}

/** Write about the cells that are shown. `read(row)` opens one of them. */
export async function readGroup(box, { data, texts, shown, title, colourOfType, read, take }) {
  const rows = shown.inFileOrder;
  const { count } = shown;
  const heading = make("h2", { tabindex: -1 }, title);
  const failed = rows.reduce((sum, row) => sum + data.error[row], 0);
  const facts = [`${cells(count)}, ${percent(count / Math.max(1, data.cells))} of all`, `median confidence ${score(medianOf(rows, data.confidence))}, of the type ${score(medianOf(rows, data.typeConfidence))}`];
  if (failed) facts.push(`${number(failed)} with an error`);
  const written = make("div", { "aria-busy": "true" }, count ? make("p", { class: "quiet" }, "Reading texts …") : "");
  fill(box, heading, make("p", { class: "group-facts" }, count ? facts.join(" · ") : "No cells"), sharesOf(data, rows, colourOfType), written, count > 0 && take);
  if (!count) return;
  const sample = spread(rows, SAMPLE);
  const records = await texts.get(sample);
  if (!heading.isConnected) return;
  const times = new Map();
  for (const { text } of records) if (text) times.set(text, (times.get(text) ?? 0) + 1);
  const frequent = [...times].sort((a, b) => b[1] - a[1]).slice(0, FREQUENT);
  const all = sample.length === count;
  const repeated = frequent.filter(([, n]) => n > 1);
  fill(
    written,
    repeated.length > 0 && make("h3", {}, "Most frequent texts"),
    repeated.map(([text, n]) => make("figure", { class: "quoted" }, make("p", { class: "written" }, text), make("figcaption", {}, `${number(n)} of ${number(records.length)} cells (${percent(n / records.length)})`))),
    !all && make("p", { class: "quiet" }, `From ${number(records.length)} cells, spread evenly over the ${number(count)}.`),
    make("h3", {}, "Examples"),
    make("ul", { class: "examples" }, spread(sample.map((_, k) => k), EXAMPLES).map((k) => example(sample[k], records[k], read))),
  );
  written.setAttribute("aria-busy", "false");
}

function example(row, record, read) {
  const open = make("button", { type: "button", class: "link", onclick: () => read(row) }, record.cell);
  return make("li", {}, open, make("p", { class: "written clipped" }, record.text ?? record.error));
}

/** Shares of the described types among some cells. */
function sharesOf(data, rows, colourOfType) {
  const codes = data.codes.get(CELL_TYPE);
  if (!codes || !rows.length) return null;
  const times = new Uint32Array(65536);
  for (let k = 0; k < rows.length; k += 1) times[codes[rows[k]]] += 1;
  const sorted = Array.from(times, (n, code) => [code, n]).filter(([, n]) => n).sort((a, b) => b[1] - a[1]);
  if (sorted.length < 2) return null; // the heading says it
  const names = data.names[CELL_TYPE];
  const line = ([code, n]) =>
    make("tr", {}, make("th", { scope: "row" }, swatch(colourOfType(code)), names[code] ?? "no type"), make("td", {}, bar(n / rows.length, colourOfType(code))), make("td", {}, percent(n / rows.length)));
  const rest = sorted.length - SHARES;
  return [
    make("h3", {}, "Types"),
    make("table", { class: "shares" }, make("tbody", {}, sorted.slice(0, SHARES).map(line))),
    rest > 0 && make("p", { class: "quiet" }, `and ${number(rest)} more`),
  ];
}

/** Some of the items, evenly spread. */
function spread(items, wanted) {
  if (items.length <= wanted) return Array.from(items);
  return Array.from({ length: wanted }, (_, k) => items[Math.floor((k * items.length) / wanted)]);
}

