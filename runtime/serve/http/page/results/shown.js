// Which cells are shown, and in which order.
// One decision: search, lasso, legend and the table's filters all narrow the same set, so the map, the table and
// what is exported never differ. Each filter has a name and can be taken away by itself.

import { CELL_TYPE } from "./dataset.js";

/** The order of the table: a column of the data, and the direction. */
export const ORDERS = ["place", "cell_type", "confidence", "cell_type_confidence", "error"];

export class Shown extends EventTarget {
  constructor(data) {
    super();
    this.data = data;
    this.filters = new Map(); // name → {label, keeps: Uint8Array}
    this.order = { by: "place", falling: false };
    this.update(false);
  }

  /** Whether anything is left out. */
  get narrowed() {
    return this.filters.size > 0;
  }

  /** Keep only the cells for which `keeps` is 1, until the filter of this name is taken away. */
  keep(name, label, keeps, about = {}) {
    this.filters.set(name, { label, keeps, ...about });
    this.update();
  }

  /** Keep only these cells. */
  keepRows(name, label, rows, about) {
    const keeps = new Uint8Array(this.data.cells);
    for (const row of rows) keeps[row] = 1;
    this.keep(name, label, keeps, about);
  }

  /** Take a filter away; all of them without a name. */
  release(name) {
    if (name === undefined ? !this.filters.size : !this.filters.delete(name)) return;
    if (name === undefined) this.filters.clear();
    this.update();
  }

  sort(by) {
    const falling = this.order.by === by && !this.order.falling;
    this.order = { by, falling };
    this.update();
  }

  /** The shown cells in the file's order. */
  get inFileOrder() {
    return this.order.by === "place" && !this.order.falling ? this.rows : this.rows.slice().sort();
  }

  update(tell = true) {
    const { cells } = this.data;
    const filters = [...this.filters.values()].map((filter) => filter.keeps);
    this.mask = null; // of all cells: 1 is shown; null: all are
    let count = cells;
    if (filters.length) {
      this.mask = filters[0].slice();
      for (const keeps of filters.slice(1)) for (let row = 0; row < cells; row += 1) this.mask[row] &= keeps[row];
      count = 0;
      for (const shown of this.mask) count += shown;
    }
    const rows = new Uint32Array(count);
    let next = 0;
    for (let row = 0; row < cells; row += 1) if (!this.mask || this.mask[row]) rows[next++] = row;
    this.rows = this.order.by === "place" ? (this.order.falling ? rows.reverse() : rows) : this.sorted(rows);
    this.count = count;
    if (tell) this.dispatchEvent(new Event("change"));
  }

  /** Rows by a column; cells without a value last, equal ones in the file's order. */
  sorted(rows) {
    const rank = this.ranks();
    const last = 2 ** 20;
    // Rank and place in one number: sorting plain numbers is many times faster than calling a comparison.
    const keys = new Float64Array(rows.length);
    const { falling } = this.order;
    rows.forEach((row, k) => {
      const value = rank(row);
      keys[k] = (value < 0 ? last : falling ? last - 1 - value : value) * 2 ** 32 + row;
    });
    keys.sort();
    return rows.map((_, k) => keys[k] % 2 ** 32);
  }

  /** A function from a row to a whole number below 2^20 - 1; -1 for none. */
  ranks() {
    const { data } = this;
    if (this.order.by === "cell_type") {
      const names = data.names[CELL_TYPE] ?? [];
      const places = new Int32Array(65536).fill(-1);
      names.map((name, code) => [name, code]).sort(([a], [b]) => a.localeCompare(b)).forEach(([, code], place) => (places[code] = place));
      const codes = data.codes.get(CELL_TYPE);
      return (row) => (codes ? places[codes[row]] : -1);
    }
    if (this.order.by === "error") return (row) => 1 - data.error[row];
    const values = this.order.by === "confidence" ? data.confidence : data.typeConfidence;
    return (row) => (Number.isNaN(values[row]) ? -1 : Math.round(values[row] * 1e6)); // five digits are given
  }
}
