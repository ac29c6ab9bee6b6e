// Search: groups as one types, ids and texts of all cells when asked.

import { announce, bytes, cells, fill, make, number, swatch } from "../dom.js";

const OFFERED = 8; // groups
const LINE = 400; // bytes of a cell's record, about

/** @param parts {input, list, data, texts, shown, colourOf, problem}
 *  @param pick told {column, group} when a group is chosen; @param found told the words when cells were found */
export function searchBox({ input, list, data, texts, shown, colourOf, problem, pick, found, signal }) {
  let active = -1;
  let options = [];
  let running = null;

  // Counting the groups of a column of a million cells takes a moment: only when one of its groups is found.
  const all = data.categorical.flatMap((column) => data.names[column].map((name, code) => ({ column, name, code, lower: name.toLowerCase() })));

  const listen = (target, kind, listener) => target.addEventListener(kind, listener, { signal });
  listen(input, "input", offer);
  listen(input, "focus", offer);
  listen(input, "keydown", key);
  listen(input, "blur", () => setTimeout(close, 150));
  listen(list, "pointerdown", (event) => event.preventDefault()); // the focus stays in the box
  signal.addEventListener("abort", () => running?.abort());
  input.value = "";
  close();

  function offer() {
    const words = input.value.trim().replace(/\s+/g, " ");
    if (!words) return close();
    const lower = words.toLowerCase();
    const matching = all.filter((each) => each.lower.includes(lower)).slice(0, OFFERED);
    const groups = matching.map(({ column, code }) => ({ column, group: data.grouping(column).list.find((group) => group.code === code) })).filter(({ group }) => group);
    const cost = data.cells * LINE > 2e7 ? `reads all ${cells(data.cells)}, about ${bytes(data.cells * LINE)}` : `in all ${cells(data.cells)}`;
    options = [
      ...groups.map(({ column, group }) => ({
        run: () => pick({ column, group }),
        parts: [swatch(colourOf(column, group.code)), make("span", {}, group.name), make("span", { class: "quiet" }, `${data.title(column)} · ${number(group.count)}`)],
      })),
      { run: () => searchTexts(words), parts: [make("span", {}, `Ids and texts with “${words}”`), make("span", { class: "quiet" }, cost)] },
    ];
    active = -1;
    show();
  }

  function show() {
    fill(list, options.map(({ parts }, k) => make("div", { role: "option", id: `option-${k}`, "aria-selected": k === active, onclick: () => choose(k) }, parts)));
    list.hidden = false;
    input.setAttribute("aria-expanded", "true");
    if (active >= 0) input.setAttribute("aria-activedescendant", `option-${active}`);
    else input.removeAttribute("aria-activedescendant");
  }

  function close() {
    list.hidden = true;
    input.setAttribute("aria-expanded", "false");
    input.removeAttribute("aria-activedescendant");
  }

  function key(event) {
    if (event.key === "Escape") {
      if (running) running.abort();
      else if (list.hidden && !input.value) return;
      input.value = "";
      close();
      event.stopPropagation();
    } else if (event.key === "Enter") {
      event.preventDefault();
      if (input.value.trim()) choose(active >= 0 && !list.hidden ? active : options.length - 1);
    } else if ((event.key === "ArrowDown" || event.key === "ArrowUp") && options.length) {
      event.preventDefault();
      const step = event.key === "ArrowDown" ? 1 : -1;
      active = list.hidden ? 0 : (active + step + options.length) % options.length;
      show();
    }
  }

  function choose(k) {
    close();
    options[k]?.run();
  }

  async function searchTexts(words) {
    running?.abort();
    const mine = (running = new AbortController());
    const stop = make("button", { type: "button", class: "small", onclick: () => mine.abort() }, "Stop");
    const line = make("span", {}, "Reading …");
    fill(list, make("div", { class: "search-progress" }, line, stop));
    list.hidden = false;
    try {
      const rows = await texts.search(words, {
        signal: mine.signal,
        progress: (read) => (line.textContent = `${number(read)} of ${number(data.cells)} cells read`),
      });
      close();
      shown.keepRows("search", `“${words}”`, rows);
      announce(`${cells(rows.length)} found`);
      found(words);
    } catch (error) {
      close();
      if (error.name !== "AbortError") problem(error);
      else announce("Search stopped");
    } finally {
      if (running === mine) running = null;
    }
  }
}
