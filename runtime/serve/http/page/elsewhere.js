// Before a model that describes no cells: what it can do, here for a small table of cells, and
// through which other doors for a file.

import { Problem, getJson } from "./api.js";
import { cellsOf } from "./cell_table.js";
import { announce, byId, cells, fill, make, percent } from "./dom.js";
import { writeProblem } from "./start.js";

const BEST = 10; // cells of a text

// What a model can do that this page has no files for: the route, and the command.
const ELSEWHERE = {
  search: ["Score texts for cells", "/v1/search", 'c2t search BUNDLE cells.h5ad "activated T cells"'],
  annotate: ["Compare labels", "/v1/annotate", "c2t annotate BUNDLE cells.h5ad --labels labels.txt"],
  ask: ["Ask a question", "/v1/ask", 'c2t ask BUNDLE cells.h5ad "What state are these cells in?"'],
  embed: ["Get vectors of cells", "/v1/embed", "c2t embed BUNDLE cells.h5ad -o vectors.h5ad"],
};

// What can be tried here: most cells of a request, what is asked for, and what the answer becomes.
const HERE = {
  search: { most: 256, words: "What to look for, a text a line", button: "Search", body: (text) => ({ texts: linesOf(text) }), shown: foundCells },
  ask: { most: 64, words: "Question about each cell", button: "Ask", body: (question) => ({ question }), shown: answersShown },
};

/** Say, in the place of the form, which doors do what a model that describes no cells can do. */
export function sayElsewhere({ name, family, tasks }) {
  byId("new").hidden = true;
  byId("elsewhere").hidden = false;
  byId("elsewhere-can").textContent = `${name} (${family}) cannot describe cells, which is what this page is for. What it can do is done by:`;
  const known = Object.keys(ELSEWHERE).filter((task) => tasks.includes(task));
  fill(byId("elsewhere-doors"), known.map((task) => {
    const [words, route, command] = ELSEWHERE[task];
    return [make("dt", {}, words), make("dd", {}, make("code", {}, `POST ${route}`), " or ", make("code", {}, command))];
  }).flat());
  const here = Object.keys(HERE).filter((task) => tasks.includes(task));
  fill(byId("elsewhere-here"), here.length > 0 && tableForm(here));
}

/** A table of cells, and what can be asked about it. */
function tableForm(tasks) {
  const table = make("textarea", { rows: 5, spellcheck: "false", wrap: "off", "aria-label": "Table of cells" });
  const file = make("input", { type: "file", accept: ".csv,.tsv,.txt", "aria-label": "File with a table of cells", onchange: async () => {
    if (file.files[0]) table.value = await file.files[0].text();
    file.value = "";
  } });
  const lines = make("select", {}, make("option", { value: "" }, "a cell"), make("option", { value: "genes" }, "a gene"));
  const read = (most) => cellsOf(table.value, { genesAreLines: lines.value === "genes", most });
  return [
    make("h2", {}, "Try it with a few cells"),
    make("p", { class: "quiet" }, "Paste a table of raw counts, or choose a text file: names in the first line and in the first column, tabs or commas between."),
    table,
    make("div", { class: "pair" }, file, make("label", {}, "A line is ", lines)),
    ...tasks.map((task) => taskForm(task, read)),
  ];
}

function taskForm(task, read) {
  const { most, words, button, body, shown } = HERE[task];
  const answer = make("div", { class: "answer" });
  const problem = make("div", { class: "problem", role: "alert", hidden: true });
  const text = make("textarea", { rows: 2, required: true });
  const send = make("button", { type: "submit", class: "small" }, button);
  const ask = async (event) => {
    event.preventDefault();
    problem.hidden = true;
    send.disabled = true;
    fill(answer, make("p", { class: "quiet" }, "Asking the model …"));
    try {
      const asked = { cells: read(most), ...body(text.value.trim()) };
      const headers = { "Content-Type": "application/json" };
      const found = await getJson(`/v1/${task}`, { method: "POST", headers, body: JSON.stringify(asked) });
      fill(answer, ...shown(found, asked), ...found.warnings.map((warning) => make("p", { class: "warning" }, warning)));
      announce(answer.textContent);
    } catch (error) {
      fill(answer);
      writeProblem(problem, error);
    } finally {
      send.disabled = false;
    }
  };
  return make("form", { class: "try", onsubmit: ask }, make("label", {}, words, text), send, problem, answer);
}

/** The lines of a text that say something. */
function linesOf(text) {
  const lines = text.split("\n").map((line) => line.trim()).filter(Boolean);
  if (!lines.length) throw new Problem("there is no text", "say in words what to look for");
  return lines;
}

/** The best cells of each text. */
function foundCells({ cells: all }, { texts }) {
  const good = all.filter(({ error }) => error === null);
  return [
    ...texts.flatMap((text, k) => [
      make("h3", {}, text),
      make("table", { class: "shares" }, make("tbody", {}, [...good].sort((a, b) => b.scores[k] - a.scores[k]).slice(0, BEST).map(({ cell, scores }) =>
        make("tr", {}, make("th", { scope: "row" }, cell), make("td", {}, scores[k].toFixed(4)))))),
    ]),
    ...failures(all, ({ cell }) => cell),
  ];
}

/** The answers about each cell. */
function answersShown({ answers }) {
  return [
    ...answers.filter(({ error }) => error === null).map(({ name, text, confidence, whole }) =>
      make("figure", { class: "quoted" }, make("figcaption", {}, `${name} · confidence ${percent(confidence)}${whole ? "" : " · cut at the longest length"}`), make("p", { class: "written" }, text))),
    ...failures(answers, ({ name }) => name),
  ];
}

/** What could not be read: said, not left out. */
function failures(all, nameOf) {
  const wrong = all.filter(({ error }) => error !== null);
  return wrong.length ? [make("p", { class: "warning" }, `${cells(wrong.length)} with an error: ${nameOf(wrong[0])}: ${wrong[0].error}`)] : [];
}
