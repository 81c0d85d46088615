/** The heat map of attention: which token looks at which, for a layer and a head. */

import { make } from "./views.js";

const MEAN = "mean";
const ARROWS = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };

export class AttentionMap {
  constructor(section) {
    const find = (name) => section.querySelector(`#${name}`);
    Object.assign(this, { section, layer: find("layer"), head: find("head"), said: find("weight"), map: find("map") });
    for (const select of [this.layer, this.head]) select.addEventListener("change", () => this.paint());
  }

  hide() {
    this.section.hidden = true;
  }

  /** `row`: tokens (L), attention (layers, heads, L, L), num_tokens. */
  show(row) {
    this.tokens = row.tokens.slice(0, row.num_tokens);
    this.attention = row.attention;
    const numbers = (count) => Array.from({ length: count }, (_, place) => new Option(place + 1, place));
    this.fill(this.layer, numbers(row.attention.length), row.attention.length - 1);
    this.fill(this.head, [new Option("mean of all", MEAN), ...numbers(row.attention[0].length)], MEAN);
    this.draw();
    this.paint();
    this.section.hidden = false;
  }

  /** Options of a choice; what was chosen stays chosen. */
  fill(select, options, initial) {
    const before = select.value;
    select.replaceChildren(...options);
    select.value = options.some((option) => option.value === before) ? before : initial;
  }

  /** The table without its colours. */
  draw() {
    const table = make("table", { tabIndex: 0, className: "map" });
    table.append(make("caption", {}, "From each token (rows) to each token (columns)"));
    const top = make("tr", {}, make("td"));
    for (const token of this.tokens) top.append(make("th", { scope: "col" }, make("span", {}, token)));
    table.append(make("thead", {}, top));
    const body = make("tbody");
    this.cells = this.tokens.map((token) => {
      const cells = this.tokens.map(() => make("td"));
      body.append(make("tr", {}, make("th", { scope: "row" }, token), ...cells));
      return cells;
    });
    table.append(body);
    table.addEventListener("pointerover", (event) => {
      const from = this.cells.findIndex((cells) => cells.includes(event.target));
      if (from >= 0) this.point(from, this.cells[from].indexOf(event.target));
    });
    table.addEventListener("keydown", (event) => {
      const step = ARROWS[event.key];
      if (!step) return;
      event.preventDefault();
      const last = this.tokens.length - 1;
      const [from, to] = this.current ? [0, 1].map((axis) => this.current[axis] + step[axis]) : [0, 0];
      this.point(Math.max(0, Math.min(last, from)), Math.max(0, Math.min(last, to)));
    });
    this.current = null;
    this.said.textContent = "";
    this.map.replaceChildren(table);
  }

  /** Weights of the layer and head that are chosen, (L, L). */
  weights() {
    const heads = this.attention[Number(this.layer.value)];
    if (this.head.value !== MEAN) return heads[Number(this.head.value)];
    const mean = (from, to) => heads.reduce((sum, head) => sum + head[from][to], 0) / heads.length;
    return this.tokens.map((_, from) => this.tokens.map((_, to) => mean(from, to)));
  }

  paint() {
    this.shown = this.weights();
    const real = this.cells.map((cells, from) => this.shown[from].slice(0, cells.length));
    const largest = Math.max(...real.flat(), Number.MIN_VALUE);
    this.cells.forEach((cells, from) =>
      cells.forEach((cell, to) => cell.style.setProperty("--weight", (this.shown[from][to] / largest).toFixed(4))));
    if (this.current) this.point(...this.current);
  }

  /** Says the weight of a cell, and marks it. */
  point(from, to) {
    if (this.current) this.cells[this.current[0]][this.current[1]].classList.remove("current");
    this.current = [from, to];
    this.cells[from][to].classList.add("current");
    const weight = `${(100 * this.shown[from][to]).toFixed(1)} %`;
    this.said.textContent = `${this.tokens[from]} → ${this.tokens[to]}  ${weight}`;
  }
}
