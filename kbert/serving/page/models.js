/** The models behind the page: what they are, by their signatures, and requests to them. */

/** What `serving_default` gives besides, by which a kind is known; the first that fits. */
const KINDS = [
  ["question answering", ["answer", "start", "end"]],
  ["tagging", ["words", "tags", "starts", "ends"]],
  ["multiple choice", ["choice", "probabilities"]],
  ["fill-mask", ["tokens", "scores", "num_masks"]],
  ["embedding", ["embedding"]],
  ["classification", ["label", "probabilities"]],
  ["multi-label", ["predicted", "probabilities"]],
  ["regression", ["score"]],
];

/** How the inputs are asked for: label, lines, placeholder. Others get their own name and three lines. */
export const FIELDS = {
  text: ["Text", 4, ""],
  text_pair: ["Second text", 4, ""],
  other_text: ["Text to compare with", 4, ""],
  question: ["Question", 2, ""],
  context: ["Passage", 10, "The text in which the answer is looked for"],
  choices: ["Choices", 4, "One on each line"],
};

/** A failure that the server has put into words, or the lack of a server. */
export class RequestError extends Error {}

/** Everything the page must know of a model, from its signatures: a kind, the inputs, other signatures. */
export function describe(signatures) {
  const { inputs, outputs } = signatures.serving_default ?? { inputs: {}, outputs: {} };
  const kind = KINDS.find(([, names]) => names.every((name) => name in outputs))?.[0] ?? "other";
  const order = Object.keys(FIELDS);
  const rank = (name) => (order.includes(name) ? order.indexOf(name) : order.length);
  const names = Object.keys(inputs).sort((a, b) => rank(a) - rank(b) || a.localeCompare(b));
  const takesTexts = names.length > 0 && names.every((name) => inputs[name].dtype === "DT_STRING");
  return { kind, inputs: takesTexts ? names : [], has: (name) => name in signatures };
}

/** Path of a model: its name and, in the page's own form, "versions/2" or "labels/stable". */
export function pathOf(name, version) {
  const [kind, value] = version.split(/\/(.*)/s);
  const suffix = value === undefined ? "" : `/${kind}/${encodeURIComponent(value)}`;
  return `/v1/models/${encodeURIComponent(name)}${suffix}`;
}

/** GET, or POST of `body`. Gives the answer as a value and as text, and how long it took. */
export async function send(path, body, signal) {
  const options = body === undefined ? { signal } : { signal, method: "POST", body: JSON.stringify(body) };
  const start = performance.now();
  let response, text;
  try {
    response = await fetch(path, { cache: "no-store", ...options });
    text = await response.text();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new RequestError("The server does not answer. Is it still running?");
  }
  const milliseconds = performance.now() - start;
  let value;
  try {
    value = JSON.parse(text);
  } catch {
    value = {};
  }
  if (!response.ok) {
    throw new RequestError(`${value.error ?? (text.slice(0, 500) || response.statusText)} (HTTP ${response.status})`);
  }
  return { value, text, milliseconds };
}

/** Asks a signature for an answer to each row (input name -> value). */
export async function predict(path, rows, signature, signal) {
  const body = { ...(signature && { signature_name: signature }), instances: rows };
  const sent = await send(`${path}:predict`, body, signal);
  return { ...sent, body, rows: sent.value.predictions };
}

/** Labels with their scores, [["good", 0.9], ...]: in `serving_default` the probabilities have no names. */
export async function classify(path, row, signal) {
  const body = { signature_name: "classify", examples: [row] };
  return (await send(`${path}:classify`, body, signal)).value.results[0];
}
