// Cells from a small text table that a person pastes or chooses: what the routes of a request take.
// One decision: nothing is guessed about numbers. A field that is no count is named with its place.

import { Problem } from "./api.js";

/** The fields of a line; one in quotation marks may have separators in it. */
export function fieldsOf(line, separator) {
  const fields = [];
  let at = 0;
  while (at <= line.length) {
    if (line[at] === '"') {
      let field = "";
      for (at += 1; at < line.length; at += 1) {
        if (line[at] !== '"') field += line[at];
        else if (line[at + 1] === '"') field += line[(at += 1)];
        else break;
      }
      fields.push(field);
      const next = line.indexOf(separator, at);
      at = next < 0 ? line.length + 1 : next + 1;
    } else {
      const next = line.indexOf(separator, at);
      fields.push(line.slice(at, next < 0 ? line.length : next).trim());
      at = next < 0 ? line.length + 1 : next + 1;
    }
  }
  return fields;
}

/**
 * Cells as the service takes them: [{id, counts}], at most `most`.
 * The first line has names of genes, and each further one a cell's name and its counts; or, with
 * `genesAreLines`, the first line has names of cells, and each further one a gene's.
 */
export function cellsOf(text, { genesAreLines = false, most }) {
  const lines = text.replace(/^\uFEFF/, "").split(/\r?\n/).filter((line) => line.trim());
  if (lines.length < 2) throw new Problem("there is no table of cells", "paste one, or choose a file: names in the first line and in the first column");
  const separator = ["\t", ";", ","].find((sign) => lines[0].includes(sign));
  if (!separator) throw new Problem("the first line has one name only", "put tabs, commas or semicolons between the names");
  const rows = lines.slice(1).map((line) => fieldsOf(line, separator));
  const head = fieldsOf(lines[0], separator);
  // R writes no name above the names of the lines.
  const columns = head.length === rows[0].length - 1 ? head : head.slice(1);
  const names = rows.map(([name]) => name);
  for (const [k, row] of rows.entries()) {
    if (row.length !== columns.length + 1) throw new Problem(`line ${k + 2} has ${row.length - 1} counts, the first line ${columns.length} names`, "give each line as many");
  }
  const [cells, genes] = genesAreLines ? [columns, names] : [names, columns];
  for (const [what, all] of [["cell", cells], ["gene", genes]]) {
    const twice = all.find((name, k) => all.indexOf(name) < k);
    if (twice !== undefined) throw new Problem(`the ${what} ${twice} is there twice`, "give each one once");
  }
  if (cells.length > most) throw new Problem(`there are ${cells.length} cells; ${most} are taken at a time`, "give some of them, or use the command");
  return cells.map((id, cell) => {
    const counts = {};
    for (const [k, gene] of genes.entries()) {
      const field = genesAreLines ? rows[k][cell + 1] : rows[cell][k + 1];
      const count = Number(field);
      if (!Number.isFinite(count) || count < 0) throw new Problem(`cell ${id}, gene ${gene}: “${field}” is no count`, "give numbers of 0 or more");
      if (count) counts[gene] = count;
    }
    return { id, counts };
  });
}
