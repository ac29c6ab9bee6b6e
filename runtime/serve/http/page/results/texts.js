// Ids and texts of cells, fetched when they are looked at.
// One decision: they are fetched in blocks of neighbours and forgotten again, so that a million cells need no
// more memory than a thousand.

import { jobPath, records, request } from "../api.js";

const SMALL = 20_000; // cells of a job that is fetched in large blocks
const KEPT = 400; // blocks
const SCAN = 5_000; // cells that a search reads at once
const PARALLEL = 6; // requests at a time: browsers send no more to one service

export class Texts {
  constructor(job, cells) {
    this.job = job;
    this.cells = cells;
    this.block = cells <= SMALL ? 500 : 40;
    this.blocks = new Map(); // number → records, or the promise of them
    this.free = PARALLEL;
    this.waiting = [];
  }

  /** The record of a cell if it is here. */
  peek(row) {
    const block = this.blocks.get(Math.floor(row / this.block));
    return Array.isArray(block) ? block[row % this.block] : undefined;
  }

  /** The records of some cells, in their order. */
  async get(rows) {
    return Promise.all(Array.from(rows, async (row) => (await this.load(Math.floor(row / this.block)))[row % this.block]));
  }

  /** Whether all of these cells are here; if not, they are being fetched when this returns. */
  has(rows) {
    let all = true;
    for (const row of rows) {
      if (this.peek(row)) continue;
      all = false;
      this.load(Math.floor(row / this.block)).catch(() => {});
    }
    return all;
  }

  load(number) {
    let block = this.blocks.get(number);
    if (block) {
      this.blocks.delete(number); // to the end: the first is the one that was not looked at for longest
      this.blocks.set(number, block);
      return Promise.resolve(block);
    }
    block = this.inTurn(() => records(this.job, number * this.block, this.block)).then(
      (loaded) => {
        if (this.blocks.has(number)) this.blocks.set(number, loaded);
        return loaded;
      },
      (problem) => {
        this.blocks.delete(number);
        throw problem;
      },
    );
    this.blocks.set(number, block);
    if (this.blocks.size > KEPT) this.blocks.delete(this.blocks.keys().next().value);
    return block;
  }

  async inTurn(work) {
    if (this.free) this.free -= 1;
    else await new Promise((go) => this.waiting.unshift(go)); // what is looked at now goes first
    try {
      return await work();
    } finally {
      const next = this.waiting.shift();
      if (next) next();
      else this.free += 1;
    }
  }

  /** The lines of all cells from the first to the last, as [first row, lines of JSON]. */
  async *lines(signal) {
    for (let first = 0; first < this.cells; first += SCAN) {
      const answer = await request(jobPath(this.job, `/results?format=jsonl&first=${first}&count=${SCAN}`), { signal });
      yield [first, (await answer.text()).split("\n").filter(Boolean)];
    }
  }

  /** Cells whose id, text or error has these words, one behind the other. `progress` is told how many were read. */
  async search(words, { signal, progress }) {
    const wanted = words.toLowerCase();
    const written = JSON.stringify(wanted).slice(1, -1); // as JSON writes it: only lines that may match are parsed
    const found = [];
    for await (const [first, lines] of this.lines(signal)) {
      lines.forEach((line, k) => {
        if (!line.toLowerCase().includes(written)) return;
        const { cell, text, error } = JSON.parse(line);
        if (`${cell}\n${text ?? ""}\n${error ?? ""}`.toLowerCase().includes(wanted)) found.push(first + k);
      });
      progress(Math.min(first + lines.length, this.cells));
    }
    return found;
  }
}
