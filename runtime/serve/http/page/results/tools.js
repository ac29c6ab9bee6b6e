// The controls around the results: tools of the map, filters, panes, export.

import { announce, byId, fill, make, number } from "../dom.js";
import { mapped } from "./legend.js";
import { FORMATS, saveAll, saveShown } from "./export.js";

/** Make the controls work on a Result, until the signal. */
export function handleTools(result, signal) {
  const { map, shown, data, job } = result;
  const on = (id, kind, listener) => byId(id).addEventListener(kind, listener, { signal });

  const press = (box, chosen) => {
    for (const button of box.querySelectorAll("button")) button.setAttribute("aria-pressed", button === chosen);
  };
  const panes = (kind) => {
    const grid = byId("result").querySelector(".result-grid");
    grid.dataset.panes = map ? kind : "table";
    press(byId("panes"), byId("panes").querySelector(`[data-panes="${kind}"]`));
  };
  on("panes", "click", ({ target }) => target.dataset.panes && panes(target.dataset.panes));
  panes("both");

  if (map) {
    const tool = (kind) => {
      map.tool = kind;
      map.over.dataset.tool = kind;
      press(byId("tools"), byId("tools").querySelector(`[data-tool="${kind}"]`));
    };
    on("tools", "click", ({ target }) => target.dataset.tool && tool(target.dataset.tool));
    tool("move");
    on("zoom-in", "click", () => map.zoom(1.6));
    on("zoom-out", "click", () => map.zoom(1 / 1.6));
    on("zoom-fit", "click", () => map.fit());
    const size = () => {
      map.size = 2 ** Number(byId("point-size").value);
      map.draw();
    };
    on("point-size", "input", size);
    size();
  }

  on("filter-form", "submit", (event) => {
    event.preventDefault();
    const form = event.target;
    const { which, from, to, errors } = Object.fromEntries(new FormData(form));
    if (from || to) {
      const values = which === "confidence" ? data.confidence : data.typeConfidence;
      const [low, high] = [from ? Number(from) : 0, to ? Number(to) : 1];
      const keeps = mapped(values, (value) => (value >= low && value <= high ? 1 : 0));
      shown.keep("scores", `confidence${which === "confidence" ? "" : " of type"} ${low}–${high}`, keeps);
    } else shown.release("scores");
    if (errors) shown.keep("errors", errors === "1" ? "with an error" : "without an error", data.error.map((failed) => (Number(Boolean(failed)) === Number(errors) ? 1 : 0)));
    else shown.release("errors");
    byId("filter").open = false;
    byId("filter").querySelector("summary").focus();
  });
  byId("filter-form").reset();

  const line = (title, words, run) => make("button", { type: "button", onclick: run }, make("b", {}, title), make("span", { class: "quiet" }, words));
  const writeExport = () => {
    const { formats = [] } = job;
    fill(
      byId("export-items"),
      make("p", { class: "quiet" }, `All ${number(data.cells)} cells`),
      formats.map((format) => line(FORMATS[format]?.title ?? format, FORMATS[format]?.words ?? "", () => work(`Making ${FORMATS[format]?.title ?? format}`, () => saveAll(job, format)))),
      shown.narrowed && shown.count > 0 && [make("p", { class: "quiet" }, "Shown cells"), line("CSV", `${number(shown.count)} cells`, () => result.exportShown())],
    );
  };
  byId("export").hidden = false;
  writeExport();
  shown.addEventListener("change", writeExport, { signal });
  signal.addEventListener("abort", () => (byId("export").hidden = true));

  result.exportShown = () => work("Reading texts", (progress) => saveShown(job, { texts: result.texts, shown, signal, progress }));

  async function work(words, run) {
    const summary = byId("export").querySelector("summary");
    byId("export").open = false;
    summary.textContent = `${words} …`;
    summary.setAttribute("aria-busy", "true");
    try {
      await run((share) => (summary.textContent = `${words}: ${Math.round(share * 100)} %`));
      announce("Saved");
    } catch (error) {
      result.failed(error);
    } finally {
      summary.textContent = "Export";
      summary.removeAttribute("aria-busy");
    }
  }

  const keys = (event) => {
    if (document.querySelector("dialog[open]")) return;
    const typing = event.target.closest?.("input, select, textarea");
    if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey) {
      event.preventDefault();
      byId("search").focus();
    } else if (event.key === "Escape" && !typing && !document.querySelector("details.menu[open]")) result.leave();
  };
  document.addEventListener("keydown", keys, { signal });
}
