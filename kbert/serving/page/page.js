/** The page: chooses a model, makes the form for it, asks, and shows the answer. */

import { AttentionMap } from "./attention.js";
import { FIELDS, RequestError, classify, describe, pathOf, predict, send } from "./models.js";
import * as views from "./views.js";

const find = (id) => document.getElementById(id);
const { make } = views;
const map = new AttentionMap(find("attention"));

let models = [];
let model = null; // Of `describe`, and `path`.
let running = new AbortController();
const written = {}; // What was written into each field, also of other models.

/** "#/name/versions/2": the model and version that are chosen, so that they can be kept and sent. */
function readHash() {
  const [name = "", kind, value] = location.hash.replace(/^#\/?/, "").split("/").map((part) => {
    try {
      return decodeURIComponent(part);
    } catch {
      return part;
    }
  });
  return { name, version: value ? `${kind}/${value}` : "" };
}

function fillModels() {
  find("model").replaceChildren(...models.map(({ name }) => new Option(name, name)));
}

function fillVersions({ versions, labels }) {
  const named = Object.entries(labels ?? {});
  find("version").replaceChildren(
    new Option("newest", ""),
    ...named.map(([label, version]) => new Option(`${label} (${version})`, `labels/${label}`)),
    ...(versions ?? []).map((version) => new Option(version, `versions/${version}`)),
  );
}

function showError(error) {
  if (error.name === "AbortError") return;
  find("error").textContent = error instanceof RequestError ? error.message : `The page failed: ${error.message}`;
  find("error").hidden = false;
  find("answer").replaceChildren();
}

function clear() {
  running.abort();
  running = new AbortController();
  find("error").hidden = true;
  find("answer").replaceChildren();
  for (const id of ["latency", "notes", "request", "response"]) find(id).textContent = "";
  map.hide();
  return running.signal;
}

/** Turns to the model that the address names, or to the first one. */
async function turn() {
  const signal = clear();
  const asked = readHash();
  const chosen = models.find(({ name }) => name === asked.name) ?? models[0];
  model = null;
  find("fields").replaceChildren();
  find("kind").textContent = "";
  find("ask").disabled = true;
  try {
    if (!chosen) throw new RequestError("The server has no models.");
    if (asked.name && chosen.name !== asked.name) throw new RequestError(`There is no model ${asked.name} here.`);
    find("model").value = chosen.name;
    fillVersions(chosen);
    find("version").value = asked.version;
    if (find("version").selectedIndex < 0) find("version").value = "";
    const path = pathOf(chosen.name, find("version").value);
    const { value } = await send(`${path}/metadata`, undefined, signal);
    model = { ...describe(value.metadata.signature_def.signature_def), path };
    find("kind").textContent = model.kind === "other" ? "" : model.kind;
    document.title = `${chosen.name} – kbert`;
    makeFields();
  } catch (error) {
    showError(error);
  }
}

function makeFields() {
  if (!model.inputs.length) throw new RequestError("This model does not take texts; ask it by /v1/models.");
  const names = model.kind === "embedding" ? [...model.inputs, "other_text"] : model.inputs;
  for (const name of names) {
    const [label, rows, placeholder] = FIELDS[name] ?? [name, 3, ""];
    const hint = model.kind === "fill-mask" ? "Paris is the [MASK] of France." : placeholder;
    const area = make("textarea", { id: `field-${name}`, name, rows, placeholder: hint, value: written[name] ?? "" });
    area.addEventListener("input", () => { written[name] = area.value; });
    find("fields").append(make("label", { htmlFor: area.id }, label), area);
  }
  find("ask").disabled = false;
}

/** The rows of a request, of what stands in the fields. */
function rowsOf() {
  const value = (name) => find(`field-${name}`).value;
  if (model.kind === "embedding") return [{ text: value("text") }, { text: value("other_text") }];
  const row = Object.fromEntries(model.inputs.map((name) => [name, value(name)]));
  if ("choices" in row) {
    row.choices = row.choices.split("\n").filter((line) => line.trim());
    if (!row.choices.length) throw new RequestError("Give one choice or more, each on a line of its own.");
  }
  return [row];
}

/** The answer as elements, asking other signatures where they say more. */
async function view(row, first, rows, signal) {
  switch (model.kind) {
    case "classification":
    case "multi-label":
      return views.labels(row, model.has("classify") ? await classify(model.path, first, signal) : null);
    case "regression":
      return views.regression(row);
    case "tagging":
      return views.tagging(row, first.text);
    case "question answering": {
      const best = model.has("nbest") ? (await predict(model.path, [first], "nbest", signal)).rows[0] : null;
      return views.answers(row, first.context, best);
    }
    case "embedding":
      return views.similarity(rows);
    case "fill-mask":
      return views.blanks(row);
    case "multiple choice":
      return views.choices(row, first.choices);
    default:
      return [make("pre", {}, JSON.stringify(row, null, 1))];
  }
}

async function ask() {
  if (!model) return;
  const signal = clear();
  find("answer").ariaBusy = "true";
  try {
    const asked = rowsOf();
    const { rows, text, body, milliseconds } = await predict(model.path, asked, "", signal);
    const shown = await view(rows[0], asked[0], rows, signal);
    find("answer").replaceChildren(...shown);
    find("latency").textContent = `${milliseconds.toFixed(milliseconds < 10 ? 1 : 0)} ms`;
    find("notes").textContent = views.notes(rows[0]);
    find("request").textContent = `POST ${model.path}:predict\n${JSON.stringify(body, null, 1)}`;
    find("response").textContent = text.length > 20000 ? `${text.slice(0, 20000)} …` : text;
    if (model.has("attention")) map.show((await predict(model.path, [asked[0]], "attention", signal)).rows[0]);
  } catch (error) {
    showError(error);
  } finally {
    if (!signal.aborted) find("answer").ariaBusy = "false";
  }
}

function choose(name, version) {
  const parts = [name, ...(version ? version.split(/\/(.*)/s).slice(0, 2) : [])];
  location.hash = `#/${parts.map(encodeURIComponent).join("/")}`;
}

find("model").addEventListener("change", () => choose(find("model").value, ""));
find("version").addEventListener("change", () => choose(find("model").value, find("version").value));
addEventListener("hashchange", turn);
find("form").addEventListener("submit", (event) => {
  event.preventDefault();
  ask();
});
find("form").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) ask();
});

try {
  ({ models } = (await send("/models.json")).value);
  fillModels();
  await turn();
} catch (error) {
  showError(error);
}
