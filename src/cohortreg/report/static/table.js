// The table of pairs: what to show is chosen by filters, histograms and headings and kept in the address, and of the rows
// only those in sight are elements of the page.
"use strict";

var cohortreg = window.cohortreg || {};
window.cohortreg = cohortreg;

// An element with attributes and text; what comes from data is never taken for markup.
cohortreg.element = function (name, attributes = {}, text = "") {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text) element.textContent = text;
  return element;
};

// A range of a measure in words, such as "Dice [%] 71.20 to 74.50".
cohortreg.rangeInWords = function ({ full, kind }, [from, to]) {
  const write = value => cohortreg.numbers.format(kind, value);
  if (from === -Infinity && to === Infinity) return `${full} with a value`;
  if (from === -Infinity) return `${full} below ${write(to)}`;
  return to === Infinity ? `${full} from ${write(from)} on` : `${full} ${write(from)} to ${write(to)}`;
};

// What is shown, and the address that says so: #pairs?method=...&sort=...&dice_mean=0.71..0.74
cohortreg.View = class {
  // data: the description in the page: columns, methods, sets, method, sort, ascending.
  constructor(data) {
    this.known = { method: data.methods, set: data.sets, rating: ["none", ...cohortreg.ratings.WORDS] };
    this.measures = data.columns.filter(column => !["text", "rating"].includes(column.kind));
    this.sortable = data.columns.map(column => column.key);
    this.defaults = { method: data.method, set: null, rating: null, text: "", sort: data.sort, ascending: data.ascending };
    this.clear();
    Object.assign(this, { sort: data.sort, ascending: data.ascending });
  }

  // No filter but the main method; the order stays.
  clear() {
    const { method, set, rating, text } = this.defaults;
    Object.assign(this, { method, set, rating, text, ranges: {} });
  }

  // Empty where all is as usual.
  toHash() {
    const said = new URLSearchParams();
    const put = (key, value, usual) => value !== usual && said.set(key, value === null ? "" : value);
    put("method", this.method, this.defaults.method);
    // The main set's name is empty in the table.
    if (this.set !== null) said.set("set", this.set || "main");
    put("rating", this.rating, null);
    put("text", this.text, "");
    if (this.sort !== this.defaults.sort || this.ascending !== this.defaults.ascending) {
      said.set("sort", this.sort);
      said.set("order", this.ascending ? "up" : "down");
    }
    for (const [key, [from, to]] of Object.entries(this.ranges)) {
      said.set(`in.${key}`, [from, to].map(end => (Number.isFinite(end) ? end : "")).join(".."));
    }
    return said.toString() ? `#pairs?${said}` : "";
  }

  // Take what an address says; what it does not say is as usual, what makes no sense does not count.
  fromHash(hash) {
    const said = new URLSearchParams(hash.startsWith("#pairs?") ? hash.slice("#pairs?".length) : "");
    this.clear();
    const take = (key, value) => {
      if (value === null || this.known[key].includes(value)) this[key] = value;
    };
    if (said.has("method")) take("method", said.get("method") || null);
    if (said.has("set")) take("set", said.get("set") === "main" ? "" : said.get("set"));
    take("rating", said.get("rating") || null);
    this.text = said.get("text") || "";
    const sorted = this.sortable.includes(said.get("sort"));
    this.sort = sorted ? said.get("sort") : this.defaults.sort;
    this.ascending = sorted ? said.get("order") !== "down" : this.defaults.ascending;
    for (const { key } of this.measures) {
      const ends = (said.get(`in.${key}`) || "").split("..");
      if (ends.length !== 2) continue;
      const [from, to] = [ends[0] ? Number(ends[0]) : -Infinity, ends[1] ? Number(ends[1]) : Infinity];
      if (from < to) this.ranges[key] = [from, to];
    }
  }
};

// The rows in sight, between two empty ones as high as all the others.
cohortreg.Rows = class {
  static HEIGHT = 36; // pixels, as in report.css
  static MORE = 8; // rows above and below those in sight
  static PRINTED = 100;

  // box: the element that scrolls. body: its table's. cells: (row) -> elements of a row.
  constructor(box, body, cells) {
    Object.assign(this, { box, body, cells, rows: [], first: 0, last: 0, printing: false });
    this.above = this.space();
    this.below = this.space();
    body.replaceChildren(this.above, this.below);
    let waiting = false;
    const soon = () => {
      if (waiting) return;
      waiting = true;
      requestAnimationFrame(() => {
        waiting = false;
        this.update();
      });
    };
    box.addEventListener("scroll", soon, { passive: true });
    new ResizeObserver(soon).observe(box);
    window.addEventListener("beforeprint", () => this.print(true));
    window.addEventListener("afterprint", () => this.print(false));
  }

  space() {
    const row = cohortreg.element("tr", { class: "space", "aria-hidden": "true" });
    row.append(cohortreg.element("td"));
    return row;
  }

  show(rows) {
    this.rows = rows;
    this.again();
  }

  // Make every row in sight anew.
  again() {
    this.remove(this.first, this.last);
    this.first = this.last = 0;
    this.update();
  }

  // On paper nothing scrolls: the first rows are there, and no empty ones.
  print(printing) {
    this.printing = printing;
    this.again();
  }

  inSight() {
    const { HEIGHT, MORE, PRINTED } = cohortreg.Rows;
    if (this.printing) return [0, Math.min(this.rows.length, PRINTED)];
    const first = Math.max(0, Math.floor(this.box.scrollTop / HEIGHT) - MORE);
    const last = Math.ceil((this.box.scrollTop + this.box.clientHeight) / HEIGHT) + MORE;
    return [Math.min(first, this.rows.length), Math.min(last, this.rows.length)];
  }

  // Rows that stay in sight stay the elements that they are, so that one keeps its focus while others come and go.
  update() {
    const [first, last] = this.inSight();
    if (first >= this.last || last <= this.first) this.remove(this.first, this.last);
    else {
      this.remove(this.first, first);
      this.remove(last, this.last);
    }
    const empty = this.first >= this.last;
    if (empty) this.above.after(...this.make(first, last));
    else {
      this.above.after(...this.make(first, this.first));
      this.below.before(...this.make(this.last, last));
    }
    [this.first, this.last] = [first, last];
    const height = rows => (this.printing ? "0" : `${rows * cohortreg.Rows.HEIGHT}px`);
    this.above.style.height = height(first);
    this.below.style.height = height(this.rows.length - last);
  }

  // Remove the elements of the rows from place to place, which are at one end of those in sight.
  remove(from, to) {
    if (from >= to) return;
    const start = from - this.first + 1;
    for (const row of [...this.body.rows].slice(start, start + to - from)) {
      if (row.contains(document.activeElement)) this.box.focus({ preventScroll: true });
      row.remove();
    }
    if (from === this.first) this.first = to;
    else this.last = from;
  }

  make(from, to) {
    const made = [];
    for (let place = from; place < to; place++) {
      // The heading is row 1.
      const row = cohortreg.element("tr", { "aria-rowindex": place + 2 });
      row.append(...this.cells(this.rows[place]));
      made.push(row);
    }
    return made;
  }
};

// The whole: reads the description in the page, loads the parts, and joins the controls to them.
cohortreg.Table = class {
  constructor(root, data) {
    this.root = root;
    this.data = data;
    this.columns = data.columns;
    this.store = new cohortreg.Store(data.columns, data.rows, cohortreg.ratings);
    this.view = new cohortreg.View(data);
    this.at = name => root.querySelector(`[data-part="${name}"]`);
    this.histograms = new cohortreg.Histograms(
      this.at("histograms"), this.view.measures, this.store, (key, range) => this.narrow(key, range),
    );
    this.heads();
    this.rows = new cohortreg.Rows(this.at("box"), root.querySelector("tbody"), row => this.cells(row));
    this.controls();
    this.ratingsBar();
    this.missing = [];
    this.at("box").style.setProperty("--rows", data.rows);
    root.hidden = false;
    this.view.fromHash(location.hash);
  }

  // Parts come one after the other as scripts, since a page from disk may read no file. The first is shown at once.
  load() {
    cohortreg.rows = (start, part) => this.store.add(start, part);
    const next = number => {
      if (number === this.data.parts) return this.loaded();
      const script = cohortreg.element("script", { src: `rows/${number}.js` });
      const done = () => {
        if (number === 0) this.refresh();
        next(number + 1);
      };
      script.addEventListener("load", done);
      script.addEventListener("error", () => {
        this.missing.push(`rows/${number}.js`);
        done();
      });
      document.head.append(script);
    };
    next(0);
  }

  loaded() {
    if (this.missing.length) {
      const files = `${this.missing.join(", ")} ${this.missing.length === 1 ? "is" : "are"} missing`;
      this.at("missing").textContent = `${files} or damaged: rows are absent here. tables/pairs.csv has all.`;
      this.at("missing").hidden = false;
    }
    this.divided = null; // into bars, before all rows were there
    this.refresh();
    // Where the reader was before following a row to its page.
    if (history.state && "top" in history.state) this.at("box").scrollTop = history.state.top;
    else if (location.hash.startsWith("#pairs?")) this.root.closest("section").scrollIntoView();
    this.root.dataset.ready = "true";
  }

  // Filter, sort and show what the view says.
  refresh() {
    const { method, set, sort, ascending, ranges } = this.view;
    const chosen = JSON.stringify([method, set]);
    if (this.divided !== chosen) {
      this.histograms.divide(this.store.choose({ method, set, rating: null, text: "" }));
      this.divided = chosen;
    }
    this.fit(method !== null);
    const filtered = this.store.filter(this.view, ranges);
    this.store.sort(filtered.rows, sort, ascending);
    this.histograms.draw(filtered, ranges);
    this.showState(filtered.rows.length);
    this.rows.show(filtered.rows);
  }

  // The reader chose something: show it from its first row.
  changed() {
    this.at("box").scrollTop = 0;
    this.refresh();
    this.keepSoon();
  }

  // Browsers allow only so many changes of the address in a while.
  keepSoon() {
    clearTimeout(this.keeping);
    this.keeping = setTimeout(() => this.keep(), 150);
  }

  // Keep in the address what is shown and, for the way back from a pair's page, where.
  keep() {
    clearTimeout(this.keeping);
    const here = location.hash.startsWith("#pairs?") ? "#pairs" : location.hash;
    history.replaceState({ top: this.at("box").scrollTop }, "", this.view.toHash() || here || undefined);
  }

  narrow(key, range) {
    if (range) this.view.ranges[key] = range;
    else delete this.view.ranges[key];
    this.changed();
  }

  // Headings that sort: worst first where they are pressed first, as people look for what is wrong.
  heads() {
    const widths = cohortreg.element("colgroup");
    const row = cohortreg.element("tr", { "aria-rowindex": "1" });
    for (const column of this.columns) {
      const head = cohortreg.element("th", { scope: "col", "data-key": column.key });
      const button = cohortreg.element("button", { type: "button" }, column.title);
      if (column.definition) button.title = `${column.full}: ${column.definition}`;
      button.addEventListener("click", () => this.sortBy(column));
      head.className = this.isNumber(column) ? "number" : column.kind;
      head.append(button);
      row.append(head);
      const width = cohortreg.element("col");
      width.style.width = `${this.data.widths[column.key]}ch`;
      widths.append(width);
    }
    const table = this.root.querySelector("table");
    table.prepend(widths);
    table.tHead.append(row);
  }

  // As wide as its columns, of which that of the methods, the first, is hidden where one is chosen.
  fit(oneMethod) {
    const table = this.root.querySelector("table");
    table.classList.toggle("one-method", oneMethod);
    const shown = oneMethod ? this.columns.slice(1) : this.columns;
    table.style.minWidth = `${shown.reduce((sum, column) => sum + this.data.widths[column.key], 0)}ch`;
  }

  sortBy({ key, kind, higherIsBetter = false }) {
    const again = this.view.sort === key;
    this.view.ascending = again ? !this.view.ascending : kind === "text" || higherIsBetter;
    this.view.sort = key;
    this.changed();
  }

  isNumber({ kind }) {
    return kind !== "text" && kind !== "rating";
  }

  cells(row) {
    return this.columns.map(column => {
      if (column.key === "rating") return this.ratingCell(row);
      const number = this.isNumber(column);
      const text = number
        ? cohortreg.numbers.format(column.kind, this.store.values[column.key][row])
        : this.store.text(column.key, row);
      const cell = cohortreg.element("td", { class: number ? "number" : "id" });
      const linked = this.store.page[row] && column.key === "moving";
      cell.append(linked ? this.link(row, text) : text);
      if (!number) cell.title = text; // of which a narrow column may cut the end
      return cell;
    });
  }

  // Moving and fixed image of a row.
  pairOf(row) {
    return [this.store.text("moving", row), this.store.text("fixed", row)];
  }

  link(row, text) {
    const [moving, fixed] = this.pairOf(row);
    const link = cohortreg.element("a", { "aria-label": `${moving} to ${fixed}` }, text);
    link.href = `pairs/${encodeURIComponent(moving)}/${encodeURIComponent(fixed)}.html`;
    return link;
  }

  ratingCell(row) {
    const pair = this.pairOf(row);
    const cell = cohortreg.element("td", { class: "rating" });
    const select = cohortreg.element("select", { "aria-label": `Rating of ${pair.join(" to ")}` });
    const note = cohortreg.element("button", { type: "button", "aria-label": `Note on ${pair.join(" to ")}` }, "\u270e");
    for (const word of ["", ...cohortreg.ratings.WORDS]) {
      select.append(cohortreg.element("option", { value: word }, word || "–"));
    }
    const rated = () => cohortreg.ratings.get(...pair) || { rating: "", note: "" };
    // The row stays where it is, whatever the filter, until something else is chosen: people rate one after the other.
    const rate = (rating, words) => {
      this.own = true;
      cohortreg.ratings.set(...pair, rating, words);
      this.own = false;
    };
    select.addEventListener("change", () => rate(select.value, rated().note));
    note.addEventListener("click", () => {
      const words = window.prompt(`Note on ${pair.join(" to ")}`, rated().note);
      if (words !== null) rate(rated().rating, words);
    });
    cell.append(select, note);
    this.showRating(cell, pair);
    return cell;
  }

  showRating(cell, pair) {
    const { rating, note } = cohortreg.ratings.get(...pair) || { rating: "", note: "" };
    const [select, button] = cell.children;
    select.value = select.dataset.rating = rating;
    button.classList.toggle("noted", note !== "");
    select.title = note;
    button.title = note || "Add a note";
  }

  controls() {
    const choose = (name, event, read) => {
      const control = this.at(name);
      if (control) control.addEventListener(event, () => {
        this.view[name] = read(control.value);
        this.changed();
      });
    };
    // "any" has no name of its own: a method may be called so.
    const named = value => (value === "*" ? null : value.slice(1));
    for (const name of ["method", "set", "rating"]) choose(name, "change", named);
    choose("text", "input", value => value.trim());
    this.at("clear").addEventListener("click", () => {
      this.view.clear();
      this.changed();
    });
    window.addEventListener("hashchange", () => {
      if (!location.hash.startsWith("#pairs")) return;
      this.view.fromHash(location.hash);
      this.refresh();
    });
    this.at("box").addEventListener("scroll", () => this.keepSoon(), { passive: true });
    this.at("box").addEventListener("click", event => event.target.closest("a") && this.keep());
  }

  // The controls as the view says, whoever changed it.
  showState(count) {
    for (const name of ["method", "set", "rating"]) {
      if (this.at(name)) this.at(name).value = this.view[name] === null ? "*" : `=${this.view[name]}`;
    }
    if (this.at("text").value.trim() !== this.view.text) this.at("text").value = this.view.text;
    for (const head of this.root.querySelectorAll("th[data-key]")) {
      if (head.dataset.key !== this.view.sort) head.removeAttribute("aria-sort");
      else head.setAttribute("aria-sort", this.view.ascending ? "ascending" : "descending");
    }
    const whole = cohortreg.numbers.whole;
    this.at("count").textContent = `${whole(count)} of ${whole(this.data.rows)} rows`;
    this.root.querySelector("table").setAttribute("aria-rowcount", count + 1);
    this.at("nothing").hidden = count > 0;
    this.showRanges();
  }

  // The ranges in words, each a button that takes it away.
  showRanges() {
    const buttons = Object.entries(this.view.ranges).map(([key, range]) => {
      const column = this.columns.find(other => other.key === key);
      const words = cohortreg.rangeInWords(column, range);
      const button = cohortreg.element("button", { type: "button", class: "range", title: "Take this filter away" }, words);
      button.addEventListener("click", () => {
        this.narrow(key, null);
        this.at("count").focus(); // the button is gone
      });
      return button;
    });
    this.at("ranges").replaceChildren(...buttons);
  }

  ratingsBar() {
    const { ratings } = cohortreg;
    const file = this.at("load");
    this.at("save").addEventListener("click", () => ratings.save());
    file.addEventListener("change", async () => {
      if (!file.files.length) return;
      const name = file.files[0].name;
      try {
        const count = ratings.load(await file.files[0].text());
        this.at("said").textContent = `${name}: ${count === 1 ? "1 rating" : `${count} ratings`} read.`;
      } catch (error) {
        this.at("said").textContent = `${name} was not read. ${error.message}`;
      }
      file.value = ""; // so that the same file can be read again
    });
    window.addEventListener("ratingchange", () => {
      this.store.forgetRatings();
      if (this.own) this.showRatings();
      else this.refresh();
      this.countRatings();
    });
    this.countRatings();
  }

  // Rows of the same pair by other methods, without another order or a lost focus.
  showRatings() {
    for (const row of this.root.querySelectorAll("tbody tr[aria-rowindex]")) {
      const place = this.rows.rows[row.getAttribute("aria-rowindex") - 2];
      this.showRating(row.querySelector("td.rating"), this.pairOf(place));
    }
  }

  countRatings() {
    const count = cohortreg.ratings.all().filter(one => one.rating).length;
    this.at("rated").textContent = `${cohortreg.numbers.whole(count)} ${count === 1 ? "pair" : "pairs"} rated`;
    this.at("save").disabled = !cohortreg.ratings.all().length;
    this.at("unkept").hidden = cohortreg.ratings.kept();
  }
};

(function () {
  const root = document.getElementById("table");
  if (!root) return;
  new cohortreg.Table(root, JSON.parse(document.getElementById("table-data").textContent)).load();
})();
