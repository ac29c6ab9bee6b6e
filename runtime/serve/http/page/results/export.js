// Results as files: those of the service, and the shown cells as CSV.

import { Problem, jobPath, request } from "../api.js";

const SAID = ["cell_type", "tissue", "disease", "sex"].flatMap((name) => [name, `${name}_ontology_term_id`]);
const FIELDS = ["cell", "text", "confidence", "cell_type_confidence", "genes_used", "error", ...SAID, "age", "development_stage_ontology_term_id", "pathways"];
const NUMBERS = new Set(["confidence", "cell_type_confidence"]);
const FEW = 2_000; // cells that are fetched one by one; more are read in one go

export const FORMATS = {
  csv: { title: "CSV", words: "opens in spreadsheets" },
  jsonl: { title: "JSON lines", words: "a cell a line" },
  parquet: { title: "Parquet", words: "typed columns" },
  h5ad: { title: "H5AD", words: "your file, texts in obs" },
  groups: { title: "Groups", words: "an answer for each group" },
};

/** Save what the service makes of all cells. */
export async function saveAll(job, format) {
  const answer = await request(jobPath(job.id, `/results?format=${format}`));
  save(await answer.blob(), nameIn(answer.headers.get("Content-Disposition")) ?? `${stem(job.name)}.${format === "groups" ? "groups.csv" : format}`);
}

/** Save some cells as `c2t describe` writes CSV. */
export async function saveShown(job, { texts, shown, signal, progress }) {
  const rows = shown.inFileOrder;
  const lines = [`${FIELDS.join(",")}\n`];
  if (rows.length <= FEW) for (const record of await texts.get(rows)) lines.push(csvLine(record));
  else {
    let next = 0;
    for await (const [first, chunk] of texts.lines(signal)) {
      for (; next < rows.length && rows[next] < first + chunk.length; next += 1) lines.push(csvLine(JSON.parse(chunk[rows[next] - first])));
      progress(next / rows.length);
      if (next === rows.length) break;
    }
    if (next < rows.length) throw new Problem(`only ${next} of ${rows.length} cells could be read`, "load the page again and try once more");
  }
  save(new Blob(lines, { type: "text/csv" }), `${stem(job.name)}.shown.csv`);
}

/** A record as Python's csv module writes it. */
export const csvLine = (record) => `${FIELDS.map((name) => csvValue(record[name], NUMBERS.has(name))).join(",")}\n`;

function csvValue(value, fraction) {
  if (value === null || value === undefined) return "";
  const text = fraction ? fractionText(value) : String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/** A number as Python writes it: 1.0, and 1e-05 for the very small. */
function fractionText(value) {
  if (Number.isInteger(value)) return `${value}.0`;
  if (Math.abs(value) >= 1e-4) return String(value);
  return value.toExponential().replace(/e-(\d)$/, "e-0$1");
}

function save(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

const stem = (name) => name.replace(/\.[^.]*$/, "") || "cells";

/** The name in a Content-Disposition, which writes it in percents (RFC 6266). */
function nameIn(header) {
  const written = /filename\*=UTF-8''([^;]+)/.exec(header ?? "")?.[1];
  return written && decodeURIComponent(written);
}
