// The table of shown cells: a few rows that are filled anew as one scrolls.
// One decision: the top row is a number of its own, not the scroll bar's position. Browsers cap an element's
// height at some ten million pixels, a million rows are more: the bar then only points, wheel and keys stay exact.

import { bar, fill, make, marked, number, score } from "../dom.js";
import { CELL_TYPE } from "./dataset.js";

const ROW = 32; // pixels; also in results.css
const TALLEST = 6_000_000; // pixels

const COLUMNS = [
  { name: "place", title: "#", words: "place in the file" },
  { name: null, title: "Cell" },
  { name: "cell_type", title: "Cell type" },
  { name: "confidence", title: "Confidence", words: "confidence of the text" },
  { name: "cell_type_confidence", title: "Of type", words: "confidence of the cell type" },
  { name: "error", title: "Text", words: "cells with errors first" },
];

export class CellTable extends EventTarget {
  /** @param box the scrolling element; events: "cell" {row} */
  constructor(box, { data, shown, texts }) {
    super();
    Object.assign(this, { box, data, shown, texts, top: 0, active: 0, chosen: null, words: "" });
    this.rows = [];
    this.stopping = new AbortController();
    const { signal } = this.stopping;
    this.head = make("div", { role: "row", class: "table-head", "aria-rowindex": 1 });
    this.body = make("div", { class: "table-rows", role: "rowgroup" });
    this.space = make("div", { class: "table-space", role: "presentation" });
    fill(box, make("div", { role: "rowgroup", class: "table-top" }, this.head), this.body, this.space);
    box.setAttribute("aria-colcount", COLUMNS.length);
    box.addEventListener("scroll", () => this.scrolled(), { signal });
    box.addEventListener("wheel", (event) => this.wheel(event), { signal, passive: false });
    box.addEventListener("keydown", (event) => this.key(event), { signal });
    box.addEventListener("focus", () => this.fill(), { signal });
    box.addEventListener("blur", () => this.fill(), { signal });
    this.body.addEventListener("click", (event) => this.clicked(event), { signal });
    shown.addEventListener("change", () => this.renew(), { signal });
    this.watcher = new ResizeObserver(() => this.measure());
    this.watcher.observe(box);
    this.renew();
  }

  close() {
    this.stopping.abort();
    this.watcher.disconnect();
  }

  /** Start again at the top: other cells are shown, or in another order. */
  renew() {
    this.active = 0;
    this.top = 0;
    this.box.setAttribute("aria-rowcount", this.shown.count + 1);
    this.drawHead();
    this.measure();
  }

  /** Mark words that were searched for. */
  mark(words) {
    this.words = words;
    this.fill();
  }

  /** Mark the cell that is read, and scroll to it if it is shown. */
  choose(row, { reveal = true } = {}) {
    this.chosen = row;
    const at = reveal && row !== null ? this.shown.rows.indexOf(row) : -1;
    if (at >= 0) {
      this.active = at;
      this.reveal(at);
    }
    this.fill();
  }

  drawHead() {
    const { by, falling } = this.shown.order;
    fill(
      this.head,
      COLUMNS.map(({ name, title, words }, k) => {
        const sorted = name === by;
        const sort = sorted ? (falling ? "descending" : "ascending") : name ? "none" : null;
        const attributes = { role: "columnheader", class: `c${k}`, "aria-sort": sort, "aria-colindex": k + 1 };
        if (!name) return make("div", attributes, title);
        const arrow = make("span", { class: "arrow", "aria-hidden": "true" }, sorted ? (falling ? "▼" : "▲") : "");
        const click = () => {
          this.shown.sort(name);
          this.head.querySelector(`.c${k} button`).focus();
        };
        return make("div", attributes, make("button", { type: "button", title: `Sort by ${words ?? title.toLowerCase()}`, onclick: click }, title, arrow));
      }),
    );
  }

  measure() {
    const height = Math.max(0, this.box.clientHeight - ROW);
    this.fit = Math.floor(height / ROW);
    const whole = this.shown.count * ROW;
    this.tall = Math.min(whole, TALLEST);
    this.space.style.height = `${this.tall}px`;
    const count = Math.min(this.fit + 2, this.shown.count);
    while (this.rows.length > count) this.rows.pop().remove();
    while (this.rows.length < count) this.rows.push(this.body.appendChild(emptyRow()));
    this.scrollTo(this.top);
  }

  get lastTop() {
    return Math.max(0, this.shown.count - this.fit);
  }

  scrollTo(top) {
    this.top = Math.max(0, Math.min(top, this.lastTop));
    const room = this.tall + ROW - this.box.clientHeight;
    this.set = this.lastTop ? Math.round((this.top / this.lastTop) * Math.max(0, room)) : 0;
    this.box.scrollTop = this.set;
    this.fill();
  }

  scrolled() {
    if (Math.abs(this.box.scrollTop - this.set) < 1.5) return; // it was us
    const room = this.tall + ROW - this.box.clientHeight;
    this.set = this.box.scrollTop;
    this.top = room > 0 ? Math.min(1, this.box.scrollTop / room) * this.lastTop : 0;
    this.fill();
  }

  wheel(event) {
    if (event.ctrlKey || !event.deltaY || Math.abs(event.deltaX) > Math.abs(event.deltaY)) return;
    const rows = event.deltaMode === 1 ? event.deltaY : event.deltaMode === 2 ? event.deltaY * this.fit : event.deltaY / ROW;
    const next = Math.max(0, Math.min(this.top + rows, this.lastTop));
    if (next === this.top) return; // at the end: the page may scroll
    event.preventDefault();
    this.scrollTo(next);
  }

  key(event) {
    if (event.target !== this.box || event.ctrlKey || event.altKey || event.metaKey) return;
    const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: this.fit, PageUp: -this.fit, Home: -Infinity, End: Infinity };
    if (event.key in steps) {
      this.active = Math.max(0, Math.min(this.active + steps[event.key], this.shown.count - 1));
      this.reveal(this.active);
    } else if (event.key === "Enter" && this.shown.count) this.tell(this.shown.rows[this.active]);
    else return;
    event.preventDefault();
  }

  reveal(at) {
    if (at < this.top) this.scrollTo(at);
    else if (at > this.top + this.fit - 1) this.scrollTo(at - this.fit + 1);
    else this.fill();
  }

  clicked(event) {
    const line = event.target.closest('[role="row"]');
    if (!line || globalThis.getSelection()?.toString()) return;
    this.active = Number(line.getAttribute("aria-rowindex")) - 2;
    this.tell(this.shown.rows[this.active]);
  }

  tell(row) {
    this.dispatchEvent(new CustomEvent("cell", { detail: { row } }));
  }

  /** Fill the rows with what is at them now. Ids and texts come when they are here. */
  fill() {
    const first = Math.floor(this.top);
    this.body.style.transform = `translateY(${-Math.round((this.top - first) * ROW)}px)`;
    const visible = [];
    const focused = document.activeElement === this.box;
    this.rows.forEach((line, k) => {
      const at = first + k;
      line.hidden = at >= this.shown.count;
      if (line.hidden) return;
      const row = this.shown.rows[at];
      visible.push(row);
      line.setAttribute("aria-rowindex", at + 2);
      line.id = `row-${at}`;
      line.classList.toggle("odd", at % 2 === 1);
      line.classList.toggle("active", focused && at === this.active);
      line.setAttribute("aria-selected", row === this.chosen);
      this.fillRow(line, row);
    });
    if (this.shown.count) this.box.setAttribute("aria-activedescendant", `row-${this.active}`);
    else this.box.removeAttribute("aria-activedescendant");
    if (this.texts.has(visible)) return;
    clearTimeout(this.later);
    const again = () => !this.stopping.signal.aborted && this.fill();
    // Rows that were only scrolled over are not asked for again.
    this.later = setTimeout(() => this.texts.get(visible).then(again, () => {}), 30);
  }

  fillRow(line, row) {
    const record = this.texts.peek(row);
    const [place, cell, type, sure, typeSure, text] = line.children;
    const failed = this.data.error[row];
    line.classList.toggle("failed", Boolean(failed));
    place.textContent = number(row + 1);
    fill(cell, ...marked(record?.cell ?? "…", this.words));
    type.textContent = this.data.category(CELL_TYPE, row) ?? (failed ? "" : "–");
    fill(sure, failed ? "" : bar(this.data.confidence[row]), failed ? "" : score(this.data.confidence[row]));
    typeSure.textContent = failed ? "" : score(this.data.typeConfidence[row]);
    fill(text, ...marked(record ? (record.error ?? record.text ?? "") : "…", this.words));
  }
}

function emptyRow() {
  return make("div", { role: "row" }, COLUMNS.map((_, k) => make("div", { role: "gridcell", class: `c${k}`, "aria-colindex": k + 1 })));
}
