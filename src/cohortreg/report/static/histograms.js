// A small histogram of each measure, whose bars filter the table: each bar is a button.
"use strict";

var cohortreg = window.cohortreg || {};
window.cohortreg = cohortreg;

cohortreg.Histograms = class {
  // place: the element to fill. columns: of the measures. store: of store.js. choose: called with a key and its new range,
  // [from, to] or null for none.
  constructor(place, columns, store, choose) {
    this.store = store;
    this.choose = choose;
    this.panels = columns.map(column => this.panel(place, column));
  }

  panel(place, column) {
    const panel = { column, bars: [], edges: null, ranges: {} };
    panel.box = cohortreg.element("div", { class: "histogram", role: "toolbar", "aria-label": column.full });
    panel.title = cohortreg.element("div", { class: "histogram-title" }, column.full);
    panel.row = cohortreg.element("div", { class: "bars" });
    panel.scale = cohortreg.element("div", { class: "scale", "aria-hidden": "true" });
    panel.box.append(panel.title, panel.row, panel.scale);
    panel.row.addEventListener("click", event => this.clicked(panel, event));
    panel.row.addEventListener("keydown", event => this.moved(panel, event));
    place.append(panel.box);
    return panel;
  }

  // Bars of other widths, where other rows are to be looked at.
  divide(rows) {
    for (const panel of this.panels) {
      panel.edges = this.store.edges(panel.column.key, rows, 12);
      const count = panel.edges ? panel.edges.bounds.length - 1 : 0;
      panel.bars = Array.from({ length: count }, (_, place) => {
        const bar = cohortreg.element("button", { type: "button", class: "bar", tabindex: place ? "-1" : "0" });
        bar.append(cohortreg.element("span", { class: "all" }), cohortreg.element("span", { class: "left" }));
        return bar;
      });
      panel.row.replaceChildren(...panel.bars);
      const write = value => cohortreg.numbers.format(panel.column.kind, value);
      const ends = panel.edges ? [write(panel.edges.least), write(panel.edges.greatest)] : ["no values"];
      panel.scale.replaceChildren(...ends.map(end => cohortreg.element("span", {}, end)));
    }
  }

  // Show how many rows each bar has, and how many of them the other measures' ranges leave.
  draw(filtered, ranges) {
    const places = Object.keys(ranges);
    for (const panel of this.panels) {
      if (!panel.edges) continue;
      panel.ranges = ranges;
      const [all, left] = this.counts(panel, filtered, places.indexOf(panel.column.key));
      const highest = Math.max(1, ...all);
      panel.bars.forEach((bar, place) => {
        const range = ranges[panel.column.key];
        bar.setAttribute("aria-pressed", String(Boolean(range) && this.overlaps(panel, place, range)));
        bar.children[0].style.height = this.height(all[place], highest);
        bar.children[1].style.height = this.height(left[place], highest);
        bar.title = `${this.words(panel, place)}: ${this.number(left[place], all[place])}`;
        bar.setAttribute("aria-label", bar.title);
      });
      panel.box.classList.toggle("filtered", panel.column.key in ranges);
    }
  }

  counts({ column, edges, bars }, { chosen, outside, which }, own) {
    const all = new Array(bars.length).fill(0);
    const left = new Array(bars.length).fill(0);
    const values = this.store.values[column.key];
    for (let i = 0; i < chosen.length; i++) {
      const value = values[chosen[i]];
      if (Number.isNaN(value)) continue;
      let bar = 0;
      while (value >= edges.bounds[bar + 1]) bar++;
      all[bar] += 1;
      if (!outside[i] || (outside[i] === 1 && which[i] === own)) left[bar] += 1;
    }
    return [all, left];
  }

  height(count, highest) {
    return count ? `max(2px, ${(100 * count) / highest}%)` : "0";
  }

  number(left, all) {
    const rows = cohortreg.numbers.whole(all) + (all === 1 ? " row" : " rows");
    return left === all ? rows : `${cohortreg.numbers.whole(left)} of ${rows}`;
  }

  words({ column, edges }, place) {
    return cohortreg.rangeInWords(column, [edges.bounds[place], edges.bounds[place + 1]]);
  }

  overlaps({ edges }, place, [from, to]) {
    return edges.bounds[place + 1] > from && edges.bounds[place] < to;
  }

  // A bar filters; the same one again does not; with shift, all up to it do.
  clicked(panel, event) {
    const bar = event.target.closest(".bar");
    if (!bar) return;
    const place = panel.bars.indexOf(bar);
    const [from, to] = [panel.edges.bounds[place], panel.edges.bounds[place + 1]];
    const before = panel.ranges[panel.column.key];
    this.focus(panel, place);
    if (before && event.shiftKey) {
      this.choose(panel.column.key, [Math.min(before[0], from), Math.max(before[1], to)]);
    } else if (before && bar.getAttribute("aria-pressed") === "true") this.choose(panel.column.key, null);
    else this.choose(panel.column.key, [from, to]);
  }

  // One tab stop a histogram; arrows go from bar to bar.
  moved(panel, event) {
    const place = panel.bars.indexOf(document.activeElement);
    const steps = { ArrowLeft: place - 1, ArrowRight: place + 1, Home: 0, End: panel.bars.length - 1 };
    if (place < 0 || !(event.key in steps)) return;
    event.preventDefault();
    this.focus(panel, Math.max(0, Math.min(panel.bars.length - 1, steps[event.key])));
  }

  focus(panel, place) {
    panel.bars.forEach((bar, other) => bar.setAttribute("tabindex", other === place ? "0" : "-1"));
    panel.bars[place].focus();
  }
};
