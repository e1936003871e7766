// The table of pairs in memory: columns as arrays, what passes the filters, and in which order. No part of the page.
"use strict";

var cohortreg = window.cohortreg || {};
window.cohortreg = cohortreg;

cohortreg.Store = class {
  // columns: [{key, title, full, kind}], kind being text, rating or a format of numbers.js. size: how many rows there
  // will be. ratings: of ratings.js.
  constructor(columns, size, ratings) {
    this.ratings = ratings;
    this.texts = columns.filter(column => column.kind === "text").map(column => column.key);
    this.measures = columns.filter(column => !["text", "rating"].includes(column.kind)).map(column => column.key);
    this.size = size;
    this.loaded = new Uint8Array(size);
    this.page = new Uint8Array(size);
    // Each text once; a column has their numbers, so that comparing texts is comparing numbers.
    this.strings = [];
    this.codes = new Map();
    this.values = {};
    for (const key of this.texts) this.values[key] = new Int32Array(size);
    for (const key of this.measures) this.values[key] = new Float64Array(size).fill(NaN);
    this.forgetRatings();
  }

  // Take a part of the table, the rows from `start` on; a list a column.
  add(start, part) {
    const codes = part.strings.map(text => this.codeOf(text));
    for (const key of this.texts) part[key].forEach((code, row) => (this.values[key][start + row] = codes[code]));
    for (const key of this.measures) {
      part[key].forEach((value, row) => (this.values[key][start + row] = value === null ? NaN : value));
    }
    part.page.forEach((page, row) => (this.page[start + row] = page));
    this.loaded.fill(1, start, start + part.page.length);
    this.ranks = null;
    this.forgetRatings();
  }

  codeOf(text) {
    if (!this.codes.has(text)) this.codes.set(text, this.strings.push(text) - 1);
    return this.codes.get(text);
  }

  text(key, row) {
    return key in this.values ? this.strings[this.values[key][row]] : "";
  }

  // What is rated is looked up when it is needed, for all rows at once.
  forgetRatings() {
    this.rated = null;
  }

  // Of each row the place of its rating among ratings.WORDS, NaN where it has none.
  ratingValues() {
    if (this.rated) return this.rated;
    this.rated = new Float64Array(this.size).fill(NaN);
    if (!this.ratings.all().length) return this.rated;
    for (let row = 0; row < this.size; row++) {
      const found = this.ratings.get(this.text("moving", row), this.text("fixed", row));
      if (found && found.rating) this.rated[row] = this.ratings.WORDS.indexOf(found.rating);
    }
    return this.rated;
  }

  // The rows that the choices pass, and those of them that are within every range.
  //
  // choices: {method, set, rating, text}, null for any; rating "none" for pairs without one; text is looked for in the ids.
  // ranges: key -> [from, to), of which the ends may be infinite; a missing value is in no range.
  //
  // Returns {chosen, rows, outside}: rows as Uint32Array in the table's order, and of each chosen row how many ranges it
  // is not in and, where it is one, which (its place in the ranges).
  filter(choices, ranges) {
    const chosen = this.choose(choices);
    const limits = Object.entries(ranges).map(([key, [from, to]]) => [this.values[key], from, to]);
    const outside = new Uint8Array(chosen.length);
    const which = new Uint8Array(chosen.length);
    limits.forEach(([values, from, to], place) => {
      for (let i = 0; i < chosen.length; i++) {
        const value = values[chosen[i]];
        if (value >= from && value < to) continue;
        outside[i] += 1;
        which[i] = place;
      }
    });
    return { chosen, rows: chosen.filter((row, i) => !outside[i]), outside, which };
  }

  choose({ method, set, rating, text }) {
    const passes = [row => this.loaded[row]];
    for (const [key, wanted] of [["method", method], ["set", set]]) {
      if (wanted === null || !(key in this.values)) continue;
      const code = this.codes.get(wanted);
      passes.push(row => this.values[key][row] === code);
    }
    if (rating !== null) {
      const rated = this.ratingValues();
      const wanted = this.ratings.WORDS.indexOf(rating);
      passes.push(rating === "none" ? row => Number.isNaN(rated[row]) : row => rated[row] === wanted);
    }
    if (text) passes.push(this.textPasses(text));
    const rows = new Uint32Array(this.size);
    let count = 0;
    for (let row = 0; row < this.size; row++) {
      if (passes.every(pass => pass(row))) rows[count++] = row;
    }
    return rows.slice(0, count);
  }

  // Every word must be in one of the ids, whatever its case.
  textPasses(text) {
    const words = text.toLowerCase().split(/\s+/).filter(Boolean);
    const found = words.map(word => this.strings.map(string => string.toLowerCase().includes(word)));
    const { moving, fixed } = this.values;
    return row => found.every(strings => strings[moving[row]] || strings[fixed[row]]);
  }

  // Sort rows in place; what is missing comes last, and equal ones keep the table's order.
  sort(rows, key, ascending) {
    const values = this.sortValues(key);
    const sign = ascending ? 1 : -1;
    return rows.sort((a, b) => {
      const x = values[a];
      const y = values[b];
      if (x === y) return a - b;
      if (Number.isNaN(x) || Number.isNaN(y)) return Number.isNaN(x) - Number.isNaN(y) || a - b;
      return sign * (x - y);
    });
  }

  // Numbers in the order of a column: texts get their rank in the order of the alphabet, an empty one is missing.
  sortValues(key) {
    if (key === "rating") return this.ratingValues();
    if (!this.texts.includes(key)) return this.values[key];
    if (!this.ranks) {
      const { compare } = new Intl.Collator(undefined, { numeric: true });
      const order = this.strings.map((string, code) => code).sort((a, b) => compare(this.strings[a], this.strings[b]));
      this.ranks = new Float64Array(order.length);
      order.forEach((code, rank) => (this.ranks[code] = this.strings[code] ? rank : NaN));
    }
    return Float64Array.from(this.values[key], code => this.ranks[code]);
  }

  // Where the bars of a measure's histogram end: up to `most` of one width. What is far out, beyond the middle 96 % and
  // as much again to each side, is in the outermost ones, which have no other end.
  edges(key, rows, most) {
    const values = Float64Array.from(rows, row => this.values[key][row]).filter(value => !Number.isNaN(value)).sort();
    if (!values.length) return null;
    const at = part => values[Math.round(part * (values.length - 1))];
    const spread = at(0.98) - at(0.02);
    const low = Math.max(at(0), at(0.02) - spread);
    const high = Math.min(at(1), at(0.98) + spread);
    const inner = [];
    for (let bar = 1; bar < most; bar++) {
      const edge = Number((low + ((high - low) * bar) / most).toPrecision(6));
      if (edge > (inner.length ? inner[inner.length - 1] : low)) inner.push(edge);
    }
    return { least: at(0), greatest: at(1), bounds: [-Infinity, ...inner, Infinity] };
  }
};
