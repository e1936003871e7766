// What a pair's page says beside its slices: the voxel, captions, the legend, what is missing.
"use strict";

var cohortreg = window.cohortreg || {};
window.cohortreg = cohortreg;

cohortreg.words = (function () {
  const { viewer } = cohortreg;
  const { state, here, make, ofMethods, OF_A_METHOD } = viewer;
  const { GRID_COLOUR, FOLD_COLOUR, onBlack, onWhite } = cohortreg.drawing;
  const { voxel } = cohortreg.volumes;
  const NAMED = 24; // structures in the legend; the cross-hair tells which one it is in
  const byId = id => document.getElementById(id);

  const percentOf = (volume, at) => Math.round((100 * voxel(volume, at)) / 255);

  function tellPosition() {
    for (const plane of viewer.planes) {
      const slider = byId(`slice-${plane.name}`);
      if (!slider) continue;
      const index = state.position[plane.axis];
      const text = `${index + 1} of ${viewer.volumes.fixed.shape[plane.axis]}`;
      slider.value = index;
      slider.nextElementSibling.textContent = text;
      slider.setAttribute("aria-valuetext", text);
    }
    const words = [`Voxel ${state.position.slice(0, viewer.planes.length === 1 ? 2 : 3).map(n => n + 1).join(", ")}`];
    words.push(`fixed ${percentOf(viewer.volumes.fixed, here(viewer.volumes.fixed))} %${nameOf(viewer.volumes.fixed_label)}`);
    const method = ofMethods.get(state.method);
    if (method) {
      words.push(`warped ${percentOf(method.warped, here(method.warped))} %${nameOf(method.label)}`);
      const volume = 2 ** ((voxel(method.jacobian, here(method.jacobian)) / 255) * 4 - 2);
      words.push(`volume × ${volume.toFixed(2)}`);
      if (method.folded && voxel(method.folded, here(method.folded))) words.push("folded");
    }
    byId("readout").textContent = `${words.join(" · ")}`;
  }

  // The structure of a label under the cross-hair.
  function nameOf(label) {
    if (!label || voxel(label, here(label), 1) < 128) return "";
    return ` (${viewer.pair.structures[voxel(label, here(label)) - 1].name})`;
  }

  function caption(tile) {
    const method = viewer.pair.methods.find(one => one.name === tile.method);
    if (method) {
      const dice = method.dice === "–" ? [] : [`Dice ${method.dice}`];
      return [...dice, `${method.folds.toLocaleString("en")} folds`].join(" · ");
    }
    if (viewer.pair.mirrored.includes(tile.panel)) return `${tile.panel}, mirrored`;
    if (tile.panel !== "warped" || state.blend === 1) return tile.panel;
    const share = Math.round(100 * state.blend);
    return `warped ${share} %, fixed ${100 - share} %`;
  }

  function tellCaptions() {
    for (const tile of viewer.tiles) {
      tile.words.textContent = caption(tile);
      tile.canvas.setAttribute("aria-label", `${tile.plane.name} slice: ${tile.method || tile.panel}`);
    }
  }

  // line: as CSS has borders.
  function swatch(words, line) {
    const drawn = make("span");
    drawn.style.borderTop = line;
    return make("li", {}, make("span", { className: "swatch" }, drawn), words);
  }

  function bar(words, low, high, colour) {
    const stops = [-1, -0.5, 0, 0.5, 1].map(share => `rgb(${colour(share).map(Math.round).join(" ")})`);
    const strip = make("span", { className: "ramp" });
    strip.style.background = `linear-gradient(to right, ${stops.join(", ")})`;
    return make("li", {}, `${words} ${low}`, strip, high);
  }

  function tellLegend() {
    const shows = panel => (state.mode === "all" ? panel === "warped" : state.panels.includes(panel));
    const items = [];
    if (state.outlines && viewer.volumes.fixed_label) {
      const { structures } = viewer.pair;
      for (const { name, colour } of structures.slice(0, NAMED)) items.push(swatch(name, `2px solid ${colour}`));
      if (structures.length > NAMED) items.push(make("li", {}, `and ${structures.length - NAMED} more`));
      if (OF_A_METHOD.some(shows)) items.push(swatch("fixed, for comparison", "2px dotted #ddd"));
    }
    if (state.grid) items.push(swatch("deformed grid", `1px solid ${GRID_COLOUR}`));
    const folds = shows("Jacobian") ? "folds, on the Jacobian black" : "folds";
    if (state.folds) items.push(swatch(folds, `8px solid ${FOLD_COLOUR}`));
    if (shows("difference")) items.push(bar("warped minus fixed", "−50 %", "+50 %", onBlack));
    if (shows("Jacobian")) items.push(bar("volume", "÷ 4", "× 4", onWhite));
    byId("legend").replaceChildren(...items);
  }

  // Which method is shown, in the list and the table; and what is missing of it.
  function tellMethod() {
    byId("method").value = state.method;
    for (const row of byId("measures").tBodies[0].rows) {
      const choice = row.querySelector("input");
      choice.checked = choice.value === state.method;
      row.classList.toggle("shown", choice.checked);
    }
    const silent = viewer.pair.methods.filter(method => method.absent && (state.mode === "all" || method.name === state.method));
    byId("absent").replaceChildren(...silent.map(({ name, absent }) => make("span", { textContent: `${name}: ${absent}` })));
  }

  return { tellPosition, tellCaptions, tellLegend, tellMethod };
})();
