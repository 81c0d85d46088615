/** Answers as elements. Data becomes text nodes only: nothing here reads markup. */

export function make(tag, properties = {}, ...children) {
  const node = Object.assign(document.createElement(tag), properties);
  node.append(...children);
  return node;
}

const percent = (value) => `${(100 * value).toFixed(1)} %`;
const number = (value) => value.toPrecision(4);

/** Rows of name, bar and number. `entries`: {name, value from 0 to 1, chosen}. */
function bars(entries, label) {
  const list = make("ol", { className: "bars", ariaLabel: label });
  for (const { name, value, chosen } of entries) {
    const fill = make("span", { className: "fill" });
    fill.style.width = `${Math.max(0, Math.min(1, value)) * 100}%`;
    const track = make("span", { className: "track", ariaHidden: "true" }, fill);
    list.append(
      make("li", { className: chosen ? "chosen" : "" },
        make("span", { className: "name", title: name }, chosen === true ? `✓ ${name}` : name),
        track, make("span", { className: "value" }, percent(value))),
    );
  }
  return list;
}

/** Probabilities of labels, the likeliest first; `named`: [[label, score], ...] or nothing. */
export function labels(row, named) {
  const entries = row.probabilities.map((value, place) => ({
    name: named?.[place][0] ?? (place === row.label_id ? row.label : `label ${place}`),
    value: named?.[place][1] ?? value,
    chosen: row.predicted ? row.predicted[place] : undefined,
  }));
  const list = bars(entries.sort((a, b) => b.value - a.value), "Probabilities");
  if (!row.predicted) return [make("p", { className: "headline" }, row.label), list];
  const given = entries.filter((entry) => entry.chosen).map((entry) => entry.name);
  return [make("p", { className: "headline" }, given.join(", ") || "no label"), list];
}

export function regression(row) {
  return [make("p", { className: "headline" }, number(row.score))];
}

/** Runs of words that are one thing. Tags of no scheme for entities, such as parts of speech, stay alone. */
export function joinEntities(row) {
  const words = Array.from({ length: row.num_words }, (_, place) => place);
  const isScheme = words.every((place) => /^([BIMES](-|$)|O$)/.test(row.tags[place]));
  const found = [];
  let before = ["O", ""];
  for (const place of words) {
    const tag = row.tags[place], cut = tag.indexOf("-");
    const [letter, type] = !isScheme ? ["S", tag] : cut < 0 ? [tag, ""] : [tag.slice(0, cut), tag.slice(cut + 1)];
    const word = { start: row.starts[place], end: row.ends[place], scores: [row.scores[place]], type };
    if ("IME".includes(letter) && "BIM".includes(before[0]) && type === before[1]) {
      const entity = found.at(-1);
      entity.end = word.end;
      entity.scores.push(...word.scores);
    } else if (letter !== "O") {
      found.push(word);
    }
    before = [letter, type];
  }
  return found.map((entity) => ({ ...entity, score: entityScore(entity.scores) }));
}

/** The mean over the words of which the model said something. */
function entityScore(scores) {
  const said = scores.filter((score) => score > 0);
  return said.length ? said.reduce((sum, score) => sum + score, 0) / said.length : 0;
}

/** The text with parts of it marked; `parts`: {start, end, node(text)} in order, in code points. */
function marked(text, parts) {
  const characters = Array.from(text); // Code points, as the server counts; an index counts UTF-16 units.
  const paragraph = make("p", { className: "text" });
  let place = 0;
  for (const { start, end, node } of parts) {
    paragraph.append(characters.slice(place, start).join(""), node(characters.slice(start, end).join("")));
    place = end;
  }
  paragraph.append(characters.slice(place).join(""));
  return paragraph;
}

/** Entities in their text, with a legend. */
export function tagging(row, text) {
  const entities = joinEntities(row);
  const types = [...new Set(entities.map((entity) => entity.type))].sort();
  const colour = (type) => `c${types.indexOf(type) % 8}`;
  const parts = entities.map(({ start, end, type, score }) => ({
    start, end,
    node: (part) => make("mark", { className: colour(type), title: `${type} ${percent(score)}` }, part,
      ...(type ? [make("small", {}, type)] : [])),
  }));
  const legend = make("ul", { className: "legend", ariaLabel: "Types" });
  for (const type of types) {
    const count = entities.filter((entity) => entity.type === type).length;
    legend.append(make("li", {}, make("mark", { className: colour(type) }, type || "word"), ` ${count}`));
  }
  return [types.length ? legend : make("p", { className: "hint" }, "Nothing is marked in this text."),
    marked(text, parts)];
}

/** The answer in its passage, and others that were nearly as good, which can be looked at. */
export function answers(row, passage, best) {
  const others = best
    ? best.answers.slice(0, best.num_answers).map((answer, place) => ({
      answer, start: best.starts[place], end: best.ends[place],
      score: best.scores[place], probability: best.probabilities[place],
    }))
    : [row];
  const holder = make("div");
  const headline = make("p", { className: "headline" });
  const show = ({ answer, start, end }) => {
    headline.textContent = start < 0 ? "no answer" : answer;
    const part = { start, end, node: (found) => make("mark", { className: "c0" }, found) };
    holder.replaceChildren(marked(passage, start < 0 ? [] : [part]));
  };
  show(row);
  const list = make("ol", { className: "answers", ariaLabel: "Best answers" });
  for (const other of others) {
    const button = make("button", { type: "button", className: "plain" }, other.start < 0 ? "no answer" : other.answer);
    button.addEventListener("click", () => show(other));
    const likely = other.probability === undefined ? "" : percent(other.probability);
    const numbers = `${likely}  score ${number(other.score)}`;
    list.append(make("li", {}, button, make("span", { className: "value" }, numbers)));
  }
  return [headline, holder, list];
}

/** How alike two texts are, by the angle between their vectors. */
export function similarity([one, other]) {
  const dot = (a, b) => a.reduce((sum, value, place) => sum + value * b[place], 0);
  const [a, b] = [one.embedding, other.embedding];
  const lengths = Math.sqrt(dot(a, a) * dot(b, b));
  const cosine = lengths > 0 ? dot(a, b) / lengths : 0;
  const said = cosine.toFixed(4);
  return [make("p", { className: "headline" }, said),
    make("meter", { min: -1, max: 1, value: cosine, ariaLabel: "Cosine similarity" }),
    make("p", { className: "hint" }, `Cosine of two vectors of ${a.length} numbers: 1 is the same direction.`)];
}

/** The likeliest tokens for each blank. */
export function blanks(row) {
  if (!row.num_masks) return [make("p", { className: "hint" }, "Put [MASK] where a word is missing.")];
  return row.tokens.slice(0, row.num_masks).flatMap((tokens, place) => [
    make("h3", {}, `Blank ${place + 1}`),
    bars(tokens.map((name, rank) => ({ name, value: row.scores[place][rank] })), `Blank ${place + 1}`),
  ]);
}

export function choices(row, given) {
  const entries = given.map((name, place) => ({ name, value: row.probabilities[place] }));
  return [make("p", { className: "headline" }, row.choice), bars(entries.sort((a, b) => b.value - a.value), "Choices")];
}

/** What was read, in words; empty if the model does not tell. */
export function notes(row) {
  return [
    row.num_tokens !== undefined && `${row.num_tokens} pieces were read, special tokens included.`,
    row.num_windows > 1 && `The passage was read in ${row.num_windows} windows.`,
    row.truncated && "The text is longer than the model reads: its end was left out.",
  ].filter(Boolean).join(" ");
}
