// Requests to the service that served this page.
// One decision: the token lives in this module's memory only. It is asked for when the service wants
// one, and sent in a header: so events are read with fetch, as EventSource has no headers.

let token = null;
let asking = null;
let ask = async () => null;

/** What went wrong, in two lines: the problem, and what to do about it. */
export class Problem extends Error {
  constructor(problem, hint = "", status = 0) {
    super(problem);
    this.hint = hint;
    this.status = status;
  }
}

/** Say how a token is asked for: a function that resolves to one, or to null. */
export function askTokenWith(question) {
  ask = question;
}

/** The rest of the path of a job. */
export const jobPath = (id, rest = "") => `/v1/jobs/${encodeURIComponent(id)}${rest}`;

/** A request; its answer if it went well, else a Problem is thrown. */
export async function request(path, { method = "GET", headers = {}, body, signal } = {}) {
  const used = token;
  let answer;
  try {
    answer = await fetch(path, { method, body, headers: { ...headers, ...authorization() }, signal, cache: "no-store", redirect: "error" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem("the service does not answer", "look whether it still runs; then try again");
  }
  if (answer.ok) return answer;
  const problem = await problemOf(answer);
  if (answer.status === 401 && (await renewToken(used, problem))) {
    return request(path, { method, headers, body, signal });
  }
  throw problem;
}

export const getJson = async (path, options) => (await request(path, options)).json();

let bundle = null;
/** What is served; asked once, and again where that failed. */
export const bundleInfo = () => (bundle ??= getJson("/v1/bundle").catch((error) => {
  bundle = null;
  throw error;
}));

/** Send a file. `onprogress` is told the share that has arrived, `signal` stops it. */
export async function upload(path, file, { onprogress, signal }) {
  // The same key at each try: a file whose answer was lost does not become a second job.
  const key = [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  for (;;) {
    const used = token;
    const { status, body } = await send(path, file, key, { onprogress, signal });
    if (status >= 200 && status < 300) return body;
    const problem = asProblem(status, body);
    if (status !== 401 || !(await renewToken(used, problem))) throw problem;
  }
}

/** Only XMLHttpRequest tells how much of a body was sent. */
function send(path, file, key, { onprogress, signal }) {
  return new Promise((resolve, reject) => {
    const sending = new XMLHttpRequest();
    sending.open("POST", path);
    sending.responseType = "json";
    const headers = { "Content-Type": "application/octet-stream", "Idempotency-Key": key, ...authorization() };
    for (const [name, value] of Object.entries(headers)) sending.setRequestHeader(name, value);
    sending.upload.onprogress = (event) => event.lengthComputable && onprogress(event.loaded / event.total);
    sending.onload = () => resolve({ status: sending.status, body: sending.response });
    sending.onerror = () =>
      reject(new Problem("the file could not be sent", "look whether the service still runs, and whether the file is still there"));
    sending.onabort = () => reject(new DOMException("stopped", "AbortError"));
    signal?.addEventListener("abort", () => sending.abort());
    sending.send(file);
  });
}

/** Server-sent events as {id, event, data}; ends when the service ends them. */
export async function* events(path, { after = null, signal }) {
  const headers = { Accept: "text/event-stream", ...(after == null ? {} : { "Last-Event-ID": String(after) }) };
  const reader = (await request(path, { headers, signal })).body.getReader();
  const decoder = new TextDecoder();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const blocks = (rest + decoder.decode(value, { stream: true })).split(/\r?\n\r?\n/);
    rest = blocks.pop();
    for (const block of blocks) {
      const fields = { id: null, event: "message", data: "" };
      for (const line of block.split(/\r?\n/)) {
        const [, name, content] = /^(\w+): ?(.*)$/.exec(line) ?? [];
        if (name === "data") fields.data += content;
        else if (name in fields) fields[name] = content;
      }
      if (fields.data) yield { ...fields, data: JSON.parse(fields.data) };
    }
  }
}

/** Records of `count` cells from place `first` on. */
export async function records(job, first, count, signal) {
  const path = jobPath(job, `/results?format=jsonl&first=${first}&count=${count}`);
  const text = await (await request(path, { signal })).text();
  return text.split("\n").filter(Boolean).map((line) => JSON.parse(line));
}

const authorization = () => (token ? { Authorization: `Bearer ${token}` } : {});

async function renewToken(used, problem) {
  if (used !== token) return true; // another request has asked meanwhile
  asking ??= ask(used ? problem.message : "").finally(() => (asking = null));
  const given = await asking;
  if (given) token = given;
  return Boolean(given);
}

async function problemOf(answer) {
  let body = null;
  try {
    body = await answer.json();
  } catch {
    // Something between this page and the service has answered: its text is no problem of ours.
  }
  return asProblem(answer.status, body);
}

function asProblem(status, body) {
  const problem = body?.detail ?? body?.title ?? `the service answered with status ${status}`;
  return new Problem(problem, body?.hint ?? "", status);
}
