// The map of cells: two canvases, one of points and one of what lies over them.
// One decision: it knows points, colours and regions, and tells what a person does with them by events. What a
// cell is, others know.
//
// Events: "cell" {row}, "region" {rows, words}, "hover" {row, px, py} with row null when nothing is there,
// "say" {words} for screen readers, "clear".

import { labelPlaces, writeLabels } from "./labels.js";
import { Painter } from "./paint.js";
import { handleKeys } from "./keys.js";
import { handlePointer } from "./pointer.js";
import { css } from "./palette.js";
import { inside } from "./region.js";
import { View } from "./view.js";

const MANY = 250_000; // cells from which a pixel of the page is drawn as one, however fine the screen

export class CellMap extends EventTarget {
  /** @param box an element that holds the two canvases; @param data a Dataset with places */
  constructor(box, data) {
    super();
    this.box = box;
    this.data = data;
    this.points = data.places;
    [this.canvas, this.over] = box.querySelectorAll("canvas");
    this.painter = new Painter();
    this.view = new View();
    this.look = null;
    this.size = 1;
    this.tool = "move";
    this.labels = [];
    this.chosen = null; // point of the cell that is read
    this.focused = null; // point that the keyboard is at
    this.corner = null; // point where a rectangle by keyboard begins
    this.line = null; // corners of the region that is being drawn, in the plane
    this.pointOf = null;
    this.waiting = 0;
    this.stopping = new AbortController();
    handlePointer(this, this.stopping.signal);
    handleKeys(this, this.stopping.signal);
    this.watcher = new ResizeObserver(() => this.resize());
    this.watcher.observe(box);
    this.resize();
    this.fit();
  }

  /** Forget everything; the canvases can be used again. */
  close() {
    this.stopping.abort();
    this.watcher.disconnect();
    cancelAnimationFrame(this.waiting);
  }

  tell(kind, detail = {}) {
    this.dispatchEvent(new CustomEvent(kind, { detail }));
  }

  /** Colour the points.
   *  @param codes a code a cell; @param colours [red, green, blue] by code; @param column whose groups get names, or null */
  colour({ codes, colours, column, ground, dim, ink }) {
    const drawn = new Uint8Array(this.points.count);
    for (let k = 0; k < drawn.length; k += 1) drawn[k] = codes[this.points.rows[k]];
    if (column !== this.labelled) this.labels = column ? labelPlaces(this.data, column) : [];
    this.labelled = column;
    this.look = { codes: drawn, colours, ground, dim, ink, mask: this.look?.mask ?? null };
    this.draw();
  }

  /** Show only some cells in colour: 1 for each cell that is shown; null: all. */
  show(mask, strong = null) {
    this.strong = strong;
    let drawn = null;
    if (mask) {
      drawn = new Uint8Array(this.points.count);
      for (let k = 0; k < drawn.length; k += 1) drawn[k] = mask[this.points.rows[k]];
    }
    this.look.mask = drawn;
    this.draw();
  }

  /** Mark the cell that is read; null: none. */
  choose(row, { reveal = false } = {}) {
    this.chosen = row === null ? null : this.pointAt(row);
    if (this.chosen !== null) {
      this.focused = this.chosen;
      if (reveal && this.view.reveal(this.points.x[this.chosen], this.points.y[this.chosen])) return this.draw();
    }
    return this.drawOver();
  }

  /** The point of a cell; null if it has no place. */
  pointAt(row) {
    if (!this.pointOf) {
      this.pointOf = new Int32Array(this.data.cells).fill(-1);
      this.points.rows.forEach((other, k) => (this.pointOf[other] = k));
    }
    return this.pointOf[row] < 0 ? null : this.pointOf[row];
  }

  fit() {
    if (this.points.count) this.view.fit(this.points);
    this.draw();
  }

  zoom(factor, px, py) {
    this.view.zoom(factor, px, py);
    this.draw();
  }

  resize() {
    const { clientWidth: width, clientHeight: height } = this.box;
    if (!width || !height) return;
    const screen = Math.min(globalThis.devicePixelRatio || 1, 2);
    this.ratio = this.points.count > MANY ? 1 : screen;
    this.overRatio = screen;
    const fitted = this.view.scale === this.view.whole;
    this.view.resize(width, height);
    this.painter.resize(Math.round(width * this.ratio), Math.round(height * this.ratio));
    for (const [canvas, ratio] of [[this.canvas, this.ratio], [this.over, screen]]) {
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(height * ratio);
    }
    if (fitted) this.fit();
    else this.draw();
  }

  /** Draw soon, once, however often this is called. */
  draw() {
    if (!this.look || this.waiting) return;
    this.waiting = requestAnimationFrame(() => {
      this.waiting = 0;
      this.drawNow();
    });
  }

  drawNow() {
    const { view, ratio, look, size } = this;
    const seen = { x: view.x, y: view.y, scale: view.scale * ratio, ratio };
    this.inside = this.painter.paint(this.points, seen, { ...look, size });
    this.canvas.getContext("2d").putImageData(this.painter.image, 0, 0);
    this.drawOver();
  }

  /** What lies over the points: names, rings, the region that is drawn. Costs nothing beside the points. */
  drawOver() {
    if (!this.look) return;
    const context = this.over.getContext("2d");
    const { view } = this;
    const { ink: inkParts, ground: groundParts } = this.look;
    const [ink, ground] = [css(inkParts), css(groundParts)];
    context.setTransform(this.overRatio, 0, 0, this.overRatio, 0, 0);
    context.clearRect(0, 0, view.width, view.height);
    this.boxes = writeLabels(context, this.labels, view, { ink, ground, strong: this.strong });
    const ring = (point, radius, width, colour, dash = []) => {
      if (point === null) return;
      const [px, py] = view.toPixels(this.points.x[point], this.points.y[point]);
      context.setLineDash(dash);
      context.lineWidth = width;
      context.strokeStyle = colour;
      context.beginPath();
      context.arc(px, py, radius, 0, 2 * Math.PI);
      context.stroke();
      context.setLineDash([]);
    };
    for (const [width, colour] of [[5, ground], [2.5, ink]]) {
      ring(this.chosen, 8, width, colour);
      if (document.activeElement === this.over) ring(this.focused, 12, width, colour, width < 5 ? [3, 3] : []);
    }
    ring(this.corner, 4, 2.5, ink);
    if (this.line?.length > 1) {
      context.beginPath();
      this.line.forEach(([x, y]) => context.lineTo(...view.toPixels(x, y)));
      context.closePath();
      context.globalAlpha = 0.12;
      context.fillStyle = ink;
      context.fill();
      context.globalAlpha = 1;
      for (const [width, colour] of [[4, ground], [1.75, ink]]) {
        context.lineWidth = width;
        context.strokeStyle = colour;
        context.stroke();
      }
    }
  }

  /** The cell at a place of the box in CSS pixels; null if none is near. */
  rowAt(px, py, reach = 6) {
    const point = this.painter.at(px * this.ratio, py * this.ratio, Math.round(reach * this.ratio));
    return point === null ? null : this.points.rows[point];
  }

  /** Tell which cells lie in a region of the plane. */
  take(polygon, words) {
    const found = inside(this.points, polygon);
    this.tell("region", { rows: Uint32Array.from(found, (k) => this.points.rows[k]), words });
  }
}
