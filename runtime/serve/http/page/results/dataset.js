// The columns of a job: places, types and confidences of all its cells, as typed arrays.
// One decision: they are views into the bytes that came. A million cells take 19 MB and no parsing.

import { Problem } from "../api.js";

const MAGIC = "C2TCOLS1";
const KINDS = { f4: Float32Array, u2: Uint16Array, u1: Uint8Array, u4: Uint32Array };
export const NONE = 65535; // code of a cell without a category
export const CELL_TYPE = "cell_type";

/** Read the binary columns of `/v1/jobs/{id}/columns`. */
export function readColumns(buffer) {
  const damaged = () => new Problem("the columns of this job are not what they should be", "load the page again; if that does not help, the service and the page are of different versions");
  const ascii = new TextDecoder("latin1");
  if (buffer.byteLength < 12 || ascii.decode(new Uint8Array(buffer, 0, 8)) !== MAGIC) throw damaged();
  const length = new DataView(buffer).getUint32(8, true);
  if (12 + length > buffer.byteLength) throw damaged();
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 12, length)));
  const arrays = new Map();
  for (const { name, dtype, offset } of header.columns) {
    const Kind = KINDS[dtype];
    const start = 12 + length + offset;
    if (!Kind || start % Kind.BYTES_PER_ELEMENT || start + header.cells * Kind.BYTES_PER_ELEMENT > buffer.byteLength) throw damaged();
    arrays.set(name, new Kind(buffer, start, header.cells));
  }
  return new Dataset(header, arrays);
}

/** All cells of a job. `places` are the cells that a map can show, in an order without meaning. */
export class Dataset {
  constructor(header, arrays) {
    this.cells = header.cells;
    this.scatter = arrays.has("x") && arrays.has("y") ? header.scatter : null;
    this.x = arrays.get("x");
    this.y = arrays.get("y");
    const nothing = () => new Float32Array(this.cells).fill(NaN);
    this.confidence = arrays.get("confidence") ?? nothing();
    this.typeConfidence = arrays.get("cell_type_confidence") ?? nothing();
    this.error = arrays.get("error") ?? new Uint8Array(this.cells);
    this.codes = new Map();
    this.names = header.categories ?? {};
    for (const [name, array] of arrays) if (array instanceof Uint16Array && name in this.names) this.codes.set(name, array);
    this.groups = new Map();
    this.places = this.scatter ? shuffledPlaces(this.x, this.y) : null;
  }

  /** Names of the columns with categories: the described cell types first. */
  get categorical() {
    return [...this.codes.keys()];
  }

  /** What a column is called on the page. */
  title(column) {
    return column === CELL_TYPE ? "Cell type, as described" : column.startsWith("obs:") ? `${column.slice(4)} (in the file)` : column;
  }

  /** Name of a cell's category in a column; null if it has none. */
  category(column, row) {
    const code = this.codes.get(column)?.[row] ?? NONE;
    return code === NONE ? null : this.names[column][code];
  }

  /** The groups of a column; see `groupCells`. */
  grouping(column) {
    if (!this.groups.has(column)) this.groups.set(column, groupCells(this.codes.get(column), this.names[column], this.confidence));
    return this.groups.get(column);
  }
}

/** Count the cells of each category.
 *  `list` has {code, name, count, median} by falling count, with code NONE and name null for the cells without;
 *  `rows(code)` are the cells of one, in their order. */
export function groupCells(codes, names, confidence) {
  const slots = names.length + 1;
  const slot = (code) => (code < names.length ? code : names.length);
  const starts = new Uint32Array(slots + 1);
  for (let row = 0; row < codes.length; row += 1) starts[slot(codes[row]) + 1] += 1;
  for (let k = 0; k < slots; k += 1) starts[k + 1] += starts[k];
  const next = starts.slice();
  const rows = new Uint32Array(codes.length);
  for (let row = 0; row < codes.length; row += 1) rows[next[slot(codes[row])]++] = row;
  const list = [];
  for (let k = 0; k < slots; k += 1) {
    const count = starts[k + 1] - starts[k];
    if (!count) continue;
    const known = k < names.length;
    const median = medianOf(rows.subarray(starts[k], starts[k + 1]), confidence);
    list.push({ code: known ? k : NONE, name: known ? names[k] : null, count, median });
  }
  list.sort((a, b) => b.count - a.count || a.code - b.code);
  return { list, rows: (code) => rows.subarray(starts[slot(code)], starts[slot(code) + 1]) };
}

/** Median of the values of some cells, those without a value left out; NaN if none has one. */
export function medianOf(rows, values) {
  const some = new Float32Array(rows.length);
  let count = 0;
  for (let k = 0; k < rows.length; k += 1) {
    const value = values[rows[k]];
    if (value === value) some[count++] = value; // NaN is not equal to itself
  }
  if (!count) return NaN;
  const sorted = some.subarray(0, count).sort();
  return (sorted[(count - 1) >> 1] + sorted[count >> 1]) / 2;
}

/** The cells that have a place, shuffled: whichever cell is drawn last at a pixel is then a fair sample of it. */
function shuffledPlaces(x, y) {
  const rows = new Uint32Array(x.length);
  let count = 0;
  for (let row = 0; row < x.length; row += 1) if (Number.isFinite(x[row]) && Number.isFinite(y[row])) rows[count++] = row;
  let state = 2463534242; // xorshift: the same order each time
  for (let k = count - 1; k > 0; k -= 1) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    const other = (state >>> 0) % (k + 1);
    const row = rows[k];
    rows[k] = rows[other];
    rows[other] = row;
  }
  const kept = rows.subarray(0, count);
  const [px, py] = [new Float32Array(count), new Float32Array(count)];
  let [left, right, low, high] = [Infinity, -Infinity, Infinity, -Infinity];
  for (let k = 0; k < count; k += 1) {
    const a = (px[k] = x[kept[k]]);
    const b = (py[k] = y[kept[k]]);
    if (a < left) left = a;
    if (a > right) right = a;
    if (b < low) low = b;
    if (b > high) high = b;
  }
  return { rows: kept, x: px, y: py, count, left, right, low, high };
}
