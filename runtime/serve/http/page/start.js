// The first view: give a file, and see the files so far.

import { Problem, getJson, request, upload } from "./api.js";
import { announce, byId, bytes, cells, fill, make, number, percent } from "./dom.js";

// Options of the form that say how the file is read; the others say how texts are written.
const READING = ["part", "layer", "limit", "group_by", "species", "orthologues"];
const NUMBERS = ["limit", "max_new_tokens", "num_beams"];
const AGAIN = 3000; // ms between looks at jobs that run

export const STATES = { queued: "waiting", running: "running", done: "done", failed: "failed", cancelled: "stopped" };
const DAY = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });

/** When something was, as the reader's machine writes it. */
export const moment = (iso) => DAY.format(new Date(iso));

/** Make the form work. `open(id)` shows a job. */
export function handleForm(open) {
  const form = byId("new");
  const drop = byId("drop");
  const input = byId("file");
  let sending = null;

  input.addEventListener("change", () => input.files[0] && begin(input.files[0]));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (byId("path").value.trim()) describePath(byId("path").value.trim());
  });
  byId("sending-stop").addEventListener("click", () => sending?.abort());

  // A file that misses the field must not replace the page.
  let depth = 0;
  const over = (event, change) => {
    if (![...(event.dataTransfer?.types ?? [])].includes("Files")) return;
    event.preventDefault();
    depth = Math.max(0, depth + change);
    drop.classList.toggle("over", depth > 0 && !byId("start").hidden);
  };
  document.addEventListener("dragenter", (event) => over(event, 1));
  document.addEventListener("dragleave", (event) => over(event, -1));
  document.addEventListener("dragover", (event) => over(event, 0));
  document.addEventListener("drop", (event) => {
    over(event, -depth);
    if (byId("start").hidden || form.hidden || !event.dataTransfer.files.length) return;
    if (event.dataTransfer.files.length > 1) return refuse(new Problem(`${event.dataTransfer.files.length} files were dropped`, "give one file at a time"));
    const entry = event.dataTransfer.items?.[0]?.webkitGetAsEntry?.();
    if (entry?.isDirectory) return refuse(new Problem(`${entry.name} is a folder`, "give a single file, or the path of the folder where the service runs"));
    begin(event.dataTransfer.files[0]);
  });

  function options() {
    const given = Object.fromEntries([...new FormData(form)].filter(([, value]) => typeof value === "string" && value.trim()));
    for (const name in given) given[name] = given[name].trim();
    return given;
  }

  async function begin(file) {
    if (sending) return refuse(new Problem("a file is being sent", "wait for it, or stop it"));
    if (!form.reportValidity()) return;
    const mine = (sending = new AbortController());
    byId("new-problem").hidden = true;
    byId("sending").hidden = false;
    const words = byId("sending-words");
    const progress = (share) => {
      byId("sending-bar").value = share;
      words.textContent = share < 1 ? `Sending ${file.name}, ${bytes(file.size)}: ${percent(share)}` : `${file.name} is being looked at`;
    };
    progress(0);
    announce(`Sending ${file.name}`);
    try {
      const job = await upload(`/v1/jobs?${new URLSearchParams({ name: file.name, ...options() })}`, file, { onprogress: progress, signal: mine.signal });
      open(job.id);
    } catch (error) {
      if (error.name === "AbortError") announce("Stopped");
      else refuse(error);
    } finally {
      sending = null;
      input.value = "";
      byId("sending").hidden = true;
    }
  }

  async function describePath(path) {
    const settings = {};
    const reading = {};
    for (const [name, value] of Object.entries(options())) (READING.includes(name) ? reading : settings)[name] = NUMBERS.includes(name) ? Number(value) : value;
    byId("new-problem").hidden = true;
    try {
      const headers = { "Content-Type": "application/json" };
      const answer = await request("/v1/jobs", { method: "POST", headers, body: JSON.stringify({ path, settings, reading }) });
      byId("path").value = "";
      open((await answer.json()).id);
    } catch (error) {
      refuse(error);
    }
  }

  function refuse(error) {
    writeProblem(byId("new-problem"), error);
  }
}

/** Write a problem in its two lines. */
export function writeProblem(box, error) {
  const bug = !(error instanceof Problem);
  if (bug) console.error(error);
  const hint = bug ? "load the page again; if it stays, report it" : error.hint;
  fill(box, make("p", {}, error.message), hint && make("p", { class: "hint" }, hint));
  box.hidden = false;
}

/** Keep the list of jobs right until the signal. */
export async function watchJobs(signal) {
  const box = byId("jobs");
  while (!signal.aborted) {
    let running = false;
    try {
      const { jobs } = await getJson("/v1/jobs", { signal });
      if (signal.aborted) return;
      running = jobs.some(({ state }) => state === "queued" || state === "running");
      writeJobs(box, jobs);
    } catch (error) {
      if (error.name === "AbortError") return;
      fill(box, make("p", {}, error.message), error.hint && make("p", { class: "quiet" }, error.hint));
      if (error.status === 401) fill(box, make("button", { type: "button", onclick: () => watchJobs(signal) }, "Give the token"));
      if (error.status && error.status < 500) return;
    }
    await new Promise((done) => setTimeout(done, running || document.hidden ? AGAIN : 3 * AGAIN));
  }
}

function writeJobs(box, jobs) {
  if (!jobs.length) {
    fill(box, make("p", { class: "quiet" }, "None yet. Files that were described stay here, also after a restart, until they expire."));
    return;
  }
  const focused = box.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
  fill(box, make("ul", { class: "job-list" }, jobs.map(jobLine)));
  if (focused) box.querySelector(`a[href="${CSS.escape(focused)}"]`)?.focus();
}

function jobLine(job) {
  const share = job.state === "running" && job.cells ? job.done / job.cells : null;
  let words = job.cells == null ? "" : cells(job.cells);
  if (share !== null) words = `${number(job.done)} of ${cells(job.cells)}`;
  else if (job.state === "cancelled") words = `${cells(job.done)} described`;
  else if (job.state === "failed") words = job.problem ?? "";
  return make(
    "li",
    {},
    make(
      "a",
      { href: `#/jobs/${job.id}` },
      make("span", { class: "job-line" }, make("b", {}, job.name), badge(job)),
      make("span", { class: "job-line quiet" }, make("span", { class: "job-words" }, words), make("time", { datetime: job.created }, moment(job.created))),
      share !== null && make("progress", { max: 1, value: share, "aria-label": "Cells described" }),
    ),
  );
}

/** The state of a job as a word. */
export function badge(job) {
  const failed = job.state === "done" && job.failed_cells > 0;
  return make("span", { class: `badge ${job.state}` }, STATES[job.state] ?? job.state, failed && `, ${number(job.failed_cells)} with errors`);
}
