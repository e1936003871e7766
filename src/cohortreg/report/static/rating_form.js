// A pair's page without its images: its rating, and keys that rate it or lead to the pages beside it.
"use strict";

// Whether a key was pressed for the page, and not to write something.
cohortreg.forThePage = function (event) {
  const typing = event.target.matches("input[type=text], select, textarea");
  return !(typing || event.ctrlKey || event.metaKey || event.altKey);
};

(function () {
  const byId = id => document.getElementById(id);
  const form = byId("rating");
  const note = byId("note");
  const { moving, fixed } = form.dataset;

  function rate(rating = form.elements.rating.value) {
    cohortreg.ratings.set(moving, fixed, rating, note.value);
    if (!cohortreg.ratings.kept()) byId("kept").textContent = "This browser keeps no ratings: save qc.tsv before you leave.";
  }

  function tell() {
    const rated = cohortreg.ratings.get(moving, fixed) || { rating: "", note: "" };
    form.elements.rating.value = rated.rating;
    if (document.activeElement !== note) note.value = rated.note; // the blank at its end is of a word that goes on
  }

  function follow(id) {
    if (byId(id)) byId(id).click();
  }

  const KEYS = {
    g: () => rate("good"),
    d: () => rate("doubtful"),
    b: () => rate("bad"),
    n: () => follow("next"),
    p: () => follow("previous"),
  };

  document.addEventListener("keydown", event => cohortreg.forThePage(event) && KEYS[event.key] && KEYS[event.key]());
  form.addEventListener("submit", event => event.preventDefault());
  form.addEventListener("change", event => event.target.name === "rating" && rate());
  note.addEventListener("input", () => rate());
  byId("save").addEventListener("click", () => cohortreg.ratings.save());
  window.addEventListener("ratingchange", tell);
  window.addEventListener("load", () => (byId("missing").hidden = cohortreg.shown === true));
  form.hidden = false;
  tell();
})();
