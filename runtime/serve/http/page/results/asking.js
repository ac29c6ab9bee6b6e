// What can be asked about a cell that is read: the genes that its type rests on, and other names for it.

import { bundleInfo, getJson, jobPath } from "../api.js";
import { announce, bar, fill, make, number, percent, score } from "../dom.js";
import { CELL_TYPE } from "./dataset.js";

const GENES = 12; // of a list
const NAMES = 5; // most probable names that are shown

/** The parts of the page that ask. `record` is of the cell in `row`. */
export function askAbout({ job, data, record, row, signal }) {
  if (record.error !== null) return null;
  const post = (what, question) =>
    getJson(jobPath(job.id, `/${what}`), { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ place: row, ...question }), signal });
  const box = make("section", { class: "asking", "aria-label": "Ask about this cell" });
  bundleInfo().then(
    ({ tasks }) => fill(box, tasks.includes("ask") && questionOf(post), record.cell_type && tasks.includes("explain") && genesOf(post), tasks.includes("annotate") && namesOf(post, data)),
    () => {}, // the page says already that the service does not answer
  );
  return box;
}

/** A question in the reader's words. */
function questionOf(post) {
  const area = make("textarea", { rows: 2, "aria-label": "Question about this cell", placeholder: "What state is this cell in?" });
  const { box, button } = question("Ask about this cell", async () => answerShown(await post("ask", { question: area.value.trim() })));
  area.addEventListener("input", () => (button.hidden = false));
  return [area, button, box];
}

/** What the model answers. */
function answerShown({ answers: [found], warnings }) {
  if (found.error !== null) return [make("p", { class: "quiet" }, found.error)];
  return [
    make("p", { class: "written" }, found.text),
    make("p", { class: "quiet" }, `Confidence ${score(found.confidence)}${found.whole ? "" : ", cut at the longest length"}.`),
    ...warnings.map((warning) => make("p", { class: "quiet" }, warning)),
  ];
}

/** A button whose answer takes its place. `ask()` gives the elements of the answer. */
function question(words, ask) {
  const box = make("div", { class: "answer" });
  const button = make("button", { type: "button", class: "small", onclick: () => answer() }, words);
  async function answer() {
    button.disabled = true;
    fill(box, make("p", { class: "quiet" }, "Asking the model …"));
    try {
      fill(box, ...(await ask()));
      announce(box.querySelector("p")?.textContent ?? "");
      button.hidden = true;
    } catch (error) {
      if (error.name === "AbortError") return;
      fill(box, make("div", { class: "problem" }, make("p", {}, error.message), make("p", { class: "hint" }, error.hint ?? "")));
    } finally {
      button.disabled = false;
    }
  }
  return { box, button };
}

function genesOf(post) {
  const { box, button } = question("Which genes does the type rest on?", async () => genesIn(await post("explain", {})));
  return [button, box];
}

/** The strongest genes, for and against. */
function genesIn(found) {
  if (found.error !== null) return [make("p", { class: "quiet" }, found.error)];
  const genes = found.genes.filter(({ direction }) => direction !== "none").slice(0, GENES);
  const most = Math.max(...genes.map(({ evidence }) => Math.abs(evidence)), 1e-9);
  const line = ({ symbol, gene_id, rank, evidence, direction }) =>
    make("tr", {}, make("th", { scope: "row", title: gene_id }, symbol ?? gene_id), make("td", {}, number(rank)), make("td", { class: direction }, bar(Math.abs(evidence) / most)), make("td", {}, `${evidence > 0 ? "+" : "−"}${Math.abs(evidence).toPrecision(2)}`));
  const { together } = found;
  return [
    make("p", {}, genes.length ? `“${found.words}” has the probability ${score(found.probability)}. It rests on:` : `No gene alone moves “${found.words}”.`),
    genes.length > 0 &&
      make("table", { class: "evidence" }, make("thead", {}, make("tr", {}, ["Gene", "Rank", "For or against", "Evidence"].map((name) => make("th", { scope: "col" }, name)))), make("tbody", {}, genes.map(line))),
    together && make("p", { class: "quiet" }, `Without the ${together.genes} strongest genes the probability moves by ${together.moved.toFixed(3)}, without as many random ones by ${together.control_moved.toFixed(3)}.`),
    make("p", { class: "quiet" }, `Evidence: natural logarithm of what the probability loses without the gene, beyond what any gene of its rank moves (noise ${found.noise.toPrecision(1)}). ${found.complete ? "Every gene was left out." : `${number(found.genes_used)} genes, ${number(found.runs)} runs of the model.`}`),
  ].filter(Boolean);
}

function namesOf(post, data) {
  const known = (data.names[CELL_TYPE] ?? []).filter(Boolean).join("\n");
  const area = make("textarea", { rows: 5, spellcheck: "false", "aria-label": "Names to compare, one a line" });
  area.value = known;
  const { box, button } = question("Compare these names", async () => {
    const labels = [...new Set(area.value.split("\n").map((name) => name.trim()).filter(Boolean))];
    return namesIn(await post("annotate", { labels, top: NAMES }));
  });
  const keep = make("div", {}, button);
  // Other names may be compared after these.
  area.addEventListener("input", () => (button.hidden = false));
  return make("details", { class: "names" }, make("summary", {}, "How probable are other names?"), area, keep, box);
}

/** The most probable names, and how much the model gives to all of them. */
function namesIn({ cells: [found], warnings }) {
  if (found.error !== null) return [make("p", { class: "quiet" }, found.error)];
  const line = ({ label, probability }) => make("tr", {}, make("th", { scope: "row" }, label), make("td", {}, bar(probability)), make("td", {}, percent(probability)));
  return [
    make("p", {}, `Most probable of these: ${found.label}.`),
    make("table", { class: "shares" }, make("tbody", {}, found.top.map(line))),
    make("p", { class: "quiet" }, `The model gives ${percent(found.mass)} to all of them together${found.mass < 0.5 ? ": none of them may be right" : ""}.`),
    ...warnings.map((warning) => make("p", { class: "quiet" }, warning)),
  ];
}
