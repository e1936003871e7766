// Ratings of pairs: good, doubtful or bad, and a note, whatever the method.
//
// They are kept in this browser under the cohort's name, so that every page of a report, and the next report of the
// same cohort, has them. qc.tsv takes them to the workflow (`ratings` in its configuration) or to another browser.
"use strict";

var cohortreg = window.cohortreg || {};
window.cohortreg = cohortreg;

cohortreg.ratings = (function () {
  const WORDS = ["good", "doubtful", "bad"];
  const COLUMNS = ["moving", "fixed", "rating", "note"];
  const key = `cohortreg.ratings.${document.documentElement.dataset.cohort}`;

  // "moving\tfixed" -> {rating, note}; ids have no white space.
  let ratings = new Map();
  let kept = true;

  const nameOf = (moving, fixed) => `${moving}\t${fixed}`;
  // A cell of a table is one line.
  const oneLine = text => String(text || "").replace(/\s+/g, " ").trim();

  function read() {
    try {
      ratings = new Map(Object.entries(JSON.parse(localStorage.getItem(key) || "{}")));
      kept = true;
    } catch {
      kept = false; // A browser may forbid it; then ratings last as long as the page.
    }
  }

  function write() {
    try {
      localStorage.setItem(key, JSON.stringify(Object.fromEntries(ratings)));
      kept = true;
    } catch {
      kept = false;
    }
  }

  function changed(detail) {
    window.dispatchEvent(new CustomEvent("ratingchange", { detail }));
  }

  // The rating of a pair, {rating, note}, or undefined.
  function get(moving, fixed) {
    const found = ratings.get(nameOf(moving, fixed));
    return found && { rating: found.rating, note: found.note };
  }

  function put(moving, fixed, rating, note) {
    if (rating !== "" && !WORDS.includes(rating)) throw new Error(`${rating} is no rating.`);
    const cleaned = oneLine(note);
    if (rating || cleaned) ratings.set(nameOf(moving, fixed), { rating, note: cleaned });
    else ratings.delete(nameOf(moving, fixed));
  }

  // Rate a pair; an empty rating and an empty note forget it.
  function set(moving, fixed, rating, note) {
    read(); // Another window of the report may have rated meanwhile.
    put(moving, fixed, rating, note);
    write();
    changed({ moving, fixed });
  }

  // Every rating, [{moving, fixed, rating, note}], by the names of the pairs.
  function all() {
    return [...ratings]
      .map(([name, { rating, note }]) => {
        const [moving, fixed] = name.split("\t");
        return { moving, fixed, rating, note };
      })
      .sort((a, b) => {
        const [x, y] = [nameOf(a.moving, a.fixed), nameOf(b.moving, b.fixed)];
        return x < y ? -1 : x > y ? 1 : 0;
      });
  }

  // The text of qc.tsv.
  function tsv() {
    return [COLUMNS, ...all().map(row => COLUMNS.map(column => row[column]))]
      .map(cells => `${cells.join("\t")}\n`)
      .join("");
  }

  // Download qc.tsv.
  function save() {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([tsv()], { type: "text/tab-separated-values" }));
    link.download = "qc.tsv";
    document.body.append(link);
    link.click();
    link.remove();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  }

  // Add the ratings of a qc.tsv's text to these; where both have one, the file's counts. Returns how many it has.
  // Throws an Error with a sentence, and changes nothing, where the text is no such table.
  function load(text) {
    const lines = text.replace(/^\uFEFF/, "").split(/\r?\n/);
    const header = lines[0].split("\t");
    const missing = COLUMNS.slice(0, 3).filter(column => !header.includes(column));
    if (missing.length) throw new Error(`The file has no column ${missing.join(", ")}; its first row must name it.`);
    const rows = [];
    lines.slice(1).forEach((line, number) => {
      if (!line.trim()) return;
      const cells = line.split("\t");
      const [moving, fixed, rating, note] = COLUMNS.map(column => cells[header.indexOf(column)] || "");
      const where = `Row ${number + 2}`;
      if (!moving || !fixed) throw new Error(`${where}, column ${moving ? "fixed" : "moving"}: is empty.`);
      if (rating && !WORDS.includes(rating)) {
        throw new Error(`${where}, column rating: "${rating}" is not ${WORDS.join(", ")} or empty.`);
      }
      rows.push([moving, fixed, rating, note]);
    });
    read();
    rows.forEach(row => put(...row));
    write();
    changed({});
    return rows.length;
  }

  read();
  // Another window rated, or the back button brought this page as it was before another page rated.
  window.addEventListener("storage", event => {
    if (event.key !== key && event.key !== null) return;
    read();
    changed({});
  });
  window.addEventListener("pageshow", event => {
    if (!event.persisted) return;
    read();
    changed({});
  });

  return { WORDS, get, set, all, tsv, save, load, kept: () => kept };
})();
