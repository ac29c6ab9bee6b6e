// The results of a job: map, groups, table and reading, over one set of shown cells.

import { jobPath, request } from "../api.js";
import { announce, byId, cells, fill, make, number, score } from "../dom.js";
import { CellMap } from "../map/map.js";
import { css, palette } from "../map/palette.js";
import { theme } from "../theme.js";
import { CELL_TYPE, readColumns } from "./dataset.js";
import { searchBox } from "./finder.js";
import { colourByGroup, colourByNumber, mapped, writeGroups, writeScale } from "./legend.js";
import { readCell, readGroup } from "./reading.js";
import { Shown } from "./shown.js";
import { CellTable } from "./table.js";
import { Texts } from "./texts.js";
import { handleTools } from "./tools.js";

const NUMBERS = { confidence: "Confidence of the text", cell_type_confidence: "Confidence of the type" };
const FOUND_LATER = 180; // ms until the id of a cell under the pointer is asked for

/** Fetch the columns of a job and show them. Returns the open Result. */
export async function openResult(job, { signal, problem }) {
  const answer = await request(jobPath(job.id, "/columns"), { signal });
  return new Result(job, readColumns(await answer.arrayBuffer()), problem);
}

export class Result {
  constructor(job, data, problem) {
    Object.assign(this, { job, data, problem });
    this.shown = new Shown(data);
    this.texts = new Texts(job.id, data.cells);
    this.stopping = new AbortController();
    const { signal } = this.stopping;
    this.byType = data.names[CELL_TYPE]?.length ? colourByGroup(data, CELL_TYPE) : null;
    this.row = null;
    byId("result").hidden = false;
    this.table = new CellTable(byId("table"), this);
    this.map = data.places?.count ? new CellMap(byId("map-box"), data) : null;
    byId("map-pane").hidden = !this.map;
    byId("panes").hidden = !this.map;
    handleTools(this, signal);
    this.column = this.writeColumns();
    this.shown.addEventListener("change", () => this.narrowed(), { signal });
    this.table.addEventListener("cell", ({ detail }) => this.read(detail.row, { from: "table" }), { signal });
    theme.addEventListener("change", () => this.recolour(), { signal });
    if (this.map) this.handleMap(signal);
    searchBox({
      input: byId("search"),
      list: byId("search-list"),
      ...this,
      colourOf: (column, code) => css(palette(theme.now)[(column === this.column ? this.look : colourByGroup(this.data, column)).codeOf(code)]),
      pick: ({ column, group }) => this.pick(column, group),
      found: (words) => this.table.mark(words),
      signal,
    });
    this.recolour();
    this.narrowed();
  }

  close() {
    this.stopping.abort();
    this.table.close();
    this.map?.close();
    byId("result").hidden = true;
  }

  /** Offer the columns by which cells can be coloured. Returns the first. */
  writeColumns() {
    const { data } = this;
    const select = byId("colour-by");
    const option = (value, title) => make("option", { value }, title);
    const own = this.byType ? [CELL_TYPE] : [];
    const others = data.categorical.filter((column) => column !== CELL_TYPE);
    fill(
      select,
      make("optgroup", { label: "As described" }, own.map((column) => option(column, "Cell type")), Object.entries(NUMBERS).map(([name, title]) => option(name, title))),
      others.length > 0 && make("optgroup", { label: "In the file" }, others.map((column) => option(column, column.replace(/^obs:/, "")))),
    );
    const change = () => {
      this.column = select.value;
      this.shown.release("group");
      this.shown.release("range");
      this.recolour();
    };
    select.addEventListener("change", change, { signal: this.stopping.signal });
    return own[0] ?? "confidence";
  }

  recolour() {
    const { data, column } = this;
    byId("colour-by").value = column;
    this.colours = palette(theme.now);
    const byNumber = column in NUMBERS;
    if (byNumber) this.look = colourByNumber(column === "confidence" ? data.confidence : data.typeConfidence);
    else this.look = column === CELL_TYPE ? this.byType : colourByGroup(data, column);
    this.map?.colour({ codes: this.look.codes, colours: this.colours, column: byNumber ? null : column, ...theme.parts() });
    this.writeLegend();
    this.summarise();
  }

  writeLegend() {
    const { data, column, colours, look, shown } = this;
    const box = byId("groups");
    if (column in NUMBERS) {
      const { number: chosen = null } = shown.filters.get("range") ?? {};
      const values = column === "confidence" ? data.confidence : data.typeConfidence;
      const choose = (k, from, to, label) => {
        if (chosen === k) return shown.release("range");
        return shown.keep("range", label, mapped(values, (value) => (value >= from && value < to ? 1 : 0)), { number: k });
      };
      writeScale(box, { values, ...look, colours, title: NUMBERS[column], choose, chosen });
    } else {
      const chosen = shown.filters.get("group")?.code ?? null;
      writeGroups(box, { data, column, colours, codeOf: look.codeOf, chosen, choose: (group) => this.pick(column, group) });
    }
  }

  /** Show only a group, or all again if it is the one. */
  pick(column, group) {
    const { shown, data } = this;
    const old = shown.filters.get("group");
    if (column !== this.column) {
      this.column = column;
      shown.release("group");
      this.recolour();
    }
    if (old?.code === group.code && old.column === column) shown.release("group");
    else shown.keepRows("group", group.name ?? "no value", data.grouping(column).rows(group.code), { column, code: group.code });
    const pressed = byId("groups").querySelector(`[data-code="${group.code}"] button`);
    if (document.activeElement === document.body) pressed?.focus();
  }

  /** Other cells are shown than before. */
  narrowed() {
    const { shown, data } = this;
    const all = shown.count === data.cells;
    byId("count").textContent = all ? cells(data.cells) : `${number(shown.count)} of ${cells(data.cells)}`;
    const chip = ([name, { label }]) =>
      make("button", { type: "button", class: "chip", title: `Take away: ${label}`, onclick: () => shown.release(name) }, make("span", {}, label), make("span", { "aria-hidden": "true" }, "×"));
    fill(byId("chips"), [...shown.filters].map(chip), shown.filters.size > 1 && make("button", { type: "button", class: "link", onclick: () => shown.release() }, "Clear all"));
    byId("table-empty").hidden = shown.count > 0;
    if (!shown.filters.has("search")) {
      this.table.mark("");
      byId("search").value = "";
    }
    this.map?.show(shown.mask, shown.filters.get("group")?.code ?? null);
    const hadFocus = document.activeElement?.closest("#groups [data-code]")?.dataset.code;
    this.writeLegend();
    if (hadFocus) byId("groups").querySelector(`[data-code="${CSS.escape(hadFocus)}"] button`)?.focus();
    this.row = null;
    this.table.choose(null);
    this.map?.choose(null);
    this.summarise();
    if (shown.narrowed) announce(`${cells(shown.count)} of ${number(data.cells)} shown`);
  }

  /** Write about all shown cells, unless a cell is read. */
  summarise() {
    if (this.row !== null) return this.read(this.row, { from: "again" });
    const { shown } = this;
    const labels = [...shown.filters.values()].map(({ label }) => label);
    const title = labels.length ? labels.join(", ") : "All cells";
    const take = shown.narrowed ? make("button", { type: "button", onclick: () => this.exportShown() }, `Save ${shown.count === 1 ? "this cell" : `these ${number(shown.count)} cells`} as CSV`) : null;
    const written = readGroup(byId("reading"), { ...this, title, take, colourOfType: (code) => this.typeColour(code), read: (row) => this.read(row, { from: "reading" }) });
    return written.catch((error) => this.failed(error));
  }

  /** Read a cell. The focus goes to it, unless it came from a list that one walks through. */
  async read(row, { from }) {
    this.row = row;
    this.table.choose(row, { reveal: from !== "table" });
    this.map?.choose(row, { reveal: from !== "map" && from !== "again" });
    const go = (step) => {
      const { rows } = this.shown;
      const at = rows.indexOf(this.row);
      if (rows.length) this.read(rows[(at + step + rows.length) % rows.length], { from: "step" });
    };
    try {
      const codes = this.data.codes.get(CELL_TYPE);
      const heading = await readCell(byId("reading"), { ...this, row, signal: this.stopping.signal, colourOf: (of) => this.typeColour(codes[of]), go });
      if (row !== this.row) return;
      byId("reading").scrollTop = 0;
      if (matchMedia("(max-width: 860px)").matches) byId("reading").scrollIntoView({ block: "nearest" });
      if (from === "key" || from === "reading") heading.focus();
      if (from === "table" || from === "step") announce(byId("reading").querySelector(".written, .hint")?.textContent ?? "");
      if (from === "step") byId("reading").querySelector(".steps").lastChild.focus();
    } catch (error) {
      this.failed(error);
    }
  }

  /** Leave the cell that is read; if none is, take all filters away. */
  leave() {
    if (this.row === null) return this.shown.release();
    this.row = null;
    this.table.choose(null);
    this.map?.choose(null);
    return this.summarise();
  }

  typeColour(code) {
    return css(this.colours[this.byType?.codeOf(code) ?? 41]);
  }

  failed(error) {
    if (error.name !== "AbortError") this.problem(error);
  }

  handleMap(signal) {
    const { map, data, texts } = this;
    const tip = byId("tip");
    let later = 0;
    const on = (kind, listener) => map.addEventListener(kind, ({ detail }) => listener(detail), { signal });
    byId("axes").textContent = `x, y: ${data.scatter}${data.places.count < data.cells ? ` · ${cells(data.cells - data.places.count)} without a place` : ""}`;
    map.over.setAttribute("aria-label", `Map of ${cells(data.places.count)}; x and y: ${data.scatter}`);
    on("cell", ({ row, byKey }) => this.read(row, { from: byKey ? "key" : "map" }));
    on("clear", () => this.leave());
    on("region", ({ rows, words }) => {
      if (rows.length) this.shown.keepRows("region", `${cells(rows.length)} ${words}`, rows);
      else announce("No cells there");
    });
    on("say", ({ words }) => announce(words));
    on("at", ({ row }) => {
      const words = this.inWords(row);
      texts.get([row]).then(([record]) => announce(`${record.cell}: ${words}`), () => announce(words));
    });
    on("group", ({ code }) => {
      const group = data.grouping(this.column).list.find((each) => each.code === code);
      announce(`${group.name}, ${cells(group.count)}, median confidence ${Number.isNaN(group.median) ? "unknown" : group.median.toFixed(2)}`);
    });
    on("hover", ({ row, px, py }) => {
      clearTimeout(later);
      tip.hidden = row === null;
      if (row === null) return;
      const write = () => fill(tip, make("b", {}, texts.peek(row)?.cell ?? `Cell ${number(row + 1)}`), make("span", {}, this.inWords(row)));
      write();
      tip.style.left = `${Math.min(px + 14, map.view.width - tip.offsetWidth - 4)}px`;
      tip.style.top = `${py + 18 + tip.offsetHeight > map.view.height ? py - tip.offsetHeight - 10 : py + 18}px`;
      if (!texts.peek(row)) later = setTimeout(() => texts.get([row]).then(() => tip.hidden || write(), () => {}), FOUND_LATER);
    });
  }

  /** A cell in a few words. */
  inWords(row) {
    const { data, column } = this;
    if (data.error[row]) return "no text: an error";
    const type = data.category(CELL_TYPE, row) ?? "no type";
    const other = column !== CELL_TYPE && data.codes.has(column) ? ` · ${data.category(column, row) ?? "no value"}` : "";
    return `${type}, confidence ${score(data.confidence[row])}${other}`;
  }
}
