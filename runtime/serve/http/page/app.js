// The page as a whole: which view is shown, the bundle's name, and the dialogs.
// One decision: the address says what is shown (#/jobs/ID), so a reload and a bookmark lead to the same place.

import { Problem, askTokenWith, bundleInfo } from "./api.js";
import { byId, fill, make } from "./dom.js";
import { showJob } from "./job.js";
import { sayElsewhere } from "./elsewhere.js";
import { handleForm, watchJobs, writeProblem } from "./start.js";
import { theme } from "./theme.js";

let leaving = new AbortController();

function route() {
  leaving.abort();
  leaving = new AbortController();
  const { signal } = leaving;
  const [, id] = /^#\/jobs\/([\w-]+)$/.exec(location.hash) ?? [];
  byId("start").hidden = Boolean(id);
  byId("job").hidden = !id;
  document.body.classList.toggle("working", Boolean(id));
  fill(byId("crumbs"), id && make("a", { href: "#" }, "← All files"));
  document.title = "c2t";
  if (id) showJob(id, { signal, sure, leave: () => (location.hash = "") });
  else watchJobs(signal);
}

/** Ask a question with two answers. */
function sure({ title, words, yes }) {
  const dialog = byId("sure-dialog");
  byId("sure-title").textContent = title;
  byId("sure-words").textContent = words;
  byId("sure-yes").textContent = yes;
  return answered(dialog);
}

/** Open a dialog; whether it was answered with yes. */
function answered(dialog) {
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((done) => dialog.addEventListener("close", () => done(dialog.returnValue === "yes"), { once: true }));
}

async function askToken(problem) {
  const field = byId("token");
  byId("token-problem").textContent = problem;
  byId("token-problem").hidden = !problem;
  const yes = await answered(byId("token-dialog"));
  const given = field.value.trim();
  field.value = "";
  return yes && given ? given : null;
}

async function writeBundle() {
  const box = byId("bundle");
  try {
    const bundle = await bundleInfo();
    const { name, digest, precision, engine, models, species, intended_use: use } = bundle;
    fill(box, "Bundle ", make("b", {}, name), ` · ${precision} · ${digest.slice(0, 12)}`, engine && ` · ${engine}`);
    box.title = [species && `describes ${species} cells`, `digest ${digest}`, use].filter(Boolean).join("\n");
    if (bundle.jobs === false) writeProblem(byId("new-problem"), new Problem("this service takes no files", "start it with a folder for jobs"));
    if (!bundle.tasks.includes("describe")) sayElsewhere(bundle);
    if (models?.random_weights) box.append(make("strong", { class: "warning" }, " · random weights: its texts mean nothing"));
  } catch (error) {
    if (error.status !== 401) writeProblem(byId("trouble"), error);
    box.textContent = "Bundle not known";
  }
}

/** Menus close when the focus or the pointer goes elsewhere, and by Escape. */
function handleMenus() {
  const menus = document.querySelectorAll("details.menu");
  for (const menu of menus) {
    menu.addEventListener("focusout", ({ relatedTarget }) => relatedTarget && !menu.contains(relatedTarget) && (menu.open = false));
    menu.addEventListener("keydown", (event) => {
      if (event.key !== "Escape" || !menu.open) return;
      event.stopPropagation();
      menu.open = false;
      menu.querySelector("summary").focus();
    });
  }
  document.addEventListener("pointerdown", ({ target }) => {
    for (const menu of menus) if (!menu.contains(target)) menu.open = false;
  });
}

theme.start();
askTokenWith(askToken);
handleMenus();
handleForm((id) => (location.hash = `#/jobs/${id}`));
byId("token-cancel").addEventListener("click", () => byId("token-dialog").close("no"));
byId("help-button").addEventListener("click", () => byId("help-dialog").showModal());
addEventListener("hashchange", () => {
  route();
  byId("main").focus({ preventScroll: true });
});
writeBundle();
route();
