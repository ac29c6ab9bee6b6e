// One job: its progress while it runs, its results when they are there.

import { Problem, events, getJson, jobPath, records, request } from "./api.js";
import { announce, byId, cells, duration, fill, make, number, percent } from "./dom.js";
import { openResult } from "./results/result.js";
import { badge, moment, writeProblem } from "./start.js";

const ENDED = ["done", "failed", "cancelled"];
const LATEST = 3; // texts that are shown while a job runs
const LOOK = 1500; // ms between looks at them
const AGAIN = 2000; // ms until a stream of events that broke is opened again

/** Show a job until the signal. `sure(question)` resolves to whether a person means it. */
export async function showJob(id, { signal, sure, leave }) {
  const view = new JobView(id, { signal, sure, leave });
  signal.addEventListener("abort", () => view.result?.close());
  try {
    await view.start();
  } catch (error) {
    if (error.name !== "AbortError") view.refuse(error);
  }
}

class JobView {
  constructor(id, { signal, sure, leave }) {
    Object.assign(this, { id, signal, sure, leave, result: null, begun: null, looked: 0, said: 0 });
    for (const hidden of ["notes", "job-problem", "progress", "result", "export"]) byId(hidden).hidden = true;
    byId("job-title").textContent = "…";
    byId("job-facts").textContent = "";
    byId("job-remove").hidden = true;
    byId("progress-show").hidden = true;
    fill(byId("latest"));
    byId("job-remove").onclick = () => this.remove();
    byId("progress-show").onclick = () => this.open();
  }

  async start() {
    this.write(await getJson(jobPath(this.id), { signal: this.signal }));
    if (!ENDED.includes(this.job.state)) await this.follow();
    else if (this.job.done) await this.open();
  }

  /** Listen to the job until it ends. */
  async follow() {
    let after = null;
    while (!this.signal.aborted) {
      try {
        for await (const { id, event, data } of events(jobPath(this.id, "/events"), { after, signal: this.signal })) {
          after = id ?? after;
          if (event === "problem") throw new Problem(data.detail, data.hint, data.status);
          if (data.job) this.write(data.job);
          if (ENDED.includes(event)) return await this.ended();
        }
        this.write(await getJson(jobPath(this.id), { signal: this.signal }));
        if (ENDED.includes(this.job.state)) return await this.ended();
      } catch (error) {
        if (error.name === "AbortError" || error.status) throw error;
        byId("progress-rest").textContent = "The service does not answer. Trying again …";
      }
      await new Promise((done) => setTimeout(done, AGAIN));
    }
  }

  async ended() {
    const { job } = this;
    announce(job.state === "done" ? `Done: ${cells(job.done)} described` : job.state === "failed" ? `Failed: ${job.problem}` : "Stopped");
    if (job.done) await this.open();
  }

  /** Show the results that there are. */
  async open() {
    byId("progress-show").hidden = true;
    this.result?.close();
    this.result = null;
    const result = await openResult(this.job, { signal: this.signal, problem: (error) => this.refuse(error) });
    if (this.signal.aborted) result.close();
    else this.result = result;
  }

  refuse(error) {
    if (error.status === 404) {
      byId("job-title").textContent = "No such file";
      error.hint ||= "it was removed, or has expired";
    }
    writeProblem(byId("job-problem"), error);
  }

  write(job) {
    const before = this.job;
    this.job = job;
    const { state } = job;
    const running = !ENDED.includes(state);
    document.title = `${running && job.cells ? `${percent(job.done / job.cells)} · ` : ""}${job.name} · c2t`;
    byId("job-title").textContent = job.name;
    const facts = [badge(job), make("span", {}, job.cells == null ? "" : running ? "" : cells(job.done)), make("time", { datetime: job.created }, moment(job.created))];
    for (const words of settingsOf(job)) facts.push(make("span", {}, words));
    fill(byId("job-facts"), facts);
    const remove = byId("job-remove");
    remove.hidden = false;
    remove.textContent = running ? "Stop" : "Remove";
    this.writeNotes();
    byId("job-problem").hidden = true;
    if (job.problem) {
      writeProblem(byId("job-problem"), new Problem(job.problem, job.hint));
      byId("job-problem").append(make("p", { class: "hint" }, make("a", { href: "#" }, "Give the file again, with other options")));
    }
    byId("progress").hidden = !running;
    if (running) this.writeProgress(before);
  }

  writeNotes() {
    const { notes, warnings } = this.job;
    const box = byId("notes");
    box.hidden = !notes.length && !warnings.length;
    box.classList.toggle("warns", warnings.length > 0);
    const count = warnings.length ? `${warnings.length} ${warnings.length === 1 ? "warning" : "warnings"}` : "How it was read";
    box.querySelector("summary").textContent = count;
    fill(box.querySelector("ul"), warnings.map((words) => make("li", { class: "warning" }, words)), notes.map((words) => make("li", {}, words)));
  }

  writeProgress(before) {
    const { job } = this;
    const bar = byId("progress-bar");
    const words = byId("progress-words");
    if (job.cells == null) {
      bar.removeAttribute("value");
      words.textContent = job.state === "queued" ? "Waiting: another file is being described" : "Reading the file";
      byId("progress-share").textContent = byId("progress-rest").textContent = "";
      return;
    }
    const share = job.cells ? job.done / job.cells : 1;
    bar.value = share;
    words.textContent = `${number(job.done)} of ${cells(job.cells)}${job.failed_cells ? `, ${number(job.failed_cells)} with an error` : ""}`;
    byId("progress-share").textContent = percent(share);
    const now = performance.now();
    // Speed of what was seen here: a job may have stood still before a restart.
    if (!this.begun || before?.state !== "running") this.begun = { at: now, done: job.done };
    const rate = (job.done - this.begun.done) / ((now - this.begun.at) / 1000);
    byId("progress-rest").textContent = rate > 0 && now - this.begun.at > 1500 ? `${rate < 10 ? rate.toFixed(1) : number(Math.round(rate))} cells a second, about ${duration((job.cells - job.done) / rate)} left` : "";
    if (share >= this.said + 0.1) {
      this.said = Math.floor(share * 10) / 10;
      announce(`${percent(this.said)} described`);
    }
    const show = byId("progress-show");
    show.hidden = !job.done || Boolean(this.result);
    show.textContent = "Look at the cells so far";
    if (job.done && now - this.looked > LOOK && !this.result) {
      this.looked = now;
      this.writeLatest();
    }
  }

  async writeLatest() {
    const { job } = this;
    const first = Math.max(0, job.done - LATEST);
    try {
      const latest = await records(this.id, first, job.done - first, this.signal);
      fill(byId("latest"), latest.reverse().map(({ cell, text, error }) => make("figure", { class: "quoted" }, make("figcaption", {}, cell), make("p", { class: "written clipped" }, text ?? error))));
    } catch (error) {
      if (!(error instanceof Problem) && error.name !== "AbortError") throw error;
      // They are only a glimpse: the job goes on, and says itself what is wrong.
    }
  }

  async remove() {
    const running = !ENDED.includes(this.job.state);
    const question = running
      ? { title: "Stop describing?", words: "What has been described is kept, and can be exported.", yes: "Stop" }
      : { title: `Remove ${this.job.name}?`, words: "Its descriptions are deleted here. Files that you have exported stay.", yes: "Remove" };
    if (!(await this.sure(question))) return;
    try {
      if (running) await request(jobPath(this.id, "/cancel"), { method: "POST" });
      else {
        await request(jobPath(this.id), { method: "DELETE" });
        this.leave();
      }
    } catch (error) {
      this.refuse(error);
    }
  }
}

/** Settings of a job that are not the usual ones. */
function settingsOf({ settings }) {
  const said = [];
  if (settings.counts_are !== "auto") said.push(`values are ${settings.counts_are}`);
  if (settings.organism) said.push(`organism ${settings.organism}`);
  if (settings.max_new_tokens) said.push(`at most ${settings.max_new_tokens} tokens`);
  if (settings.num_beams) said.push(`${settings.num_beams} beams`);
  return said;
}
