// The tiles of a pair's page: which there are, and how large.
"use strict";

var cohortreg = window.cohortreg || {};
window.cohortreg = cohortreg;

cohortreg.tiles = (function () {
  const GAP = 4; // pixels between panels, as in pair.css

  const { viewer } = cohortreg;
  const { state, make, clamp, PANELS } = viewer;
  const { draw } = cohortreg.drawing;
  const { size } = cohortreg.volumes;
  const byId = id => document.getElementById(id);

  function shownPlanes() {
    if (viewer.planes.length === 1) return viewer.planes;
    return viewer.planes.filter(plane => [plane.name, ""].includes(state.planes[state.mode]));
  }

  // Panel and method of each tile of a plane.
  function contents() {
    if (state.mode === "one") return PANELS.filter(panel => state.panels.includes(panel)).map(panel => [panel, ""]);
    const methods = viewer.pair.methods.filter(method => method.volumes);
    return [["fixed", ""], ...methods.map(method => ["warped", method.name])];
  }

  function makeTile(plane, panel, method) {
    const canvas = make("canvas");
    canvas.setAttribute("role", "img");
    const words = make("span");
    const captioned = make("figcaption", {}, words);
    if (method) captioned.prepend(make("button", { type: "button", textContent: method, title: `Show ${method} alone` }));
    return { canvas, words, plane, panel, method, figure: make("figure", {}, captioned, canvas) };
  }

  function makePlane(plane) {
    const slider = make("input", {
      type: "range", id: `slice-${plane.name}`, min: 0, max: viewer.volumes.fixed.shape[plane.axis] - 1,
    });
    const name = make("label", { htmlFor: slider.id, textContent: plane.name[0].toUpperCase() + plane.name.slice(1) });
    const header = make("header", {}, name, slider, make("output"));
    if (viewer.planes.length === 1) header.hidden = true;
    const group = make("div", { className: "panels", id: `panels-${plane.name}`, tabIndex: 0 });
    group.setAttribute("role", "group");
    group.setAttribute("aria-label", `${plane.name} slices; arrow keys move the cross-hair, page up and down the slice`);
    const own = contents().map(([panel, method]) => makeTile(plane, panel, method));
    viewer.tiles.push(...own);
    group.append(...own.map(tile => tile.figure));
    const section = make("section", { className: "plane" }, header, group);
    section.dataset.plane = plane.name;
    return section;
  }

  // Make the slices anew, as many as are shown now.
  function build() {
    const focused = document.activeElement && document.activeElement.id;
    viewer.tiles = [];
    byId("slices").replaceChildren(...shownPlanes().map(makePlane));
    if (focused && byId(focused)) byId(focused).focus({ preventScroll: true });
    byId("panels").hidden = state.mode === "all";
    layOut();
  }

  let room = 0; // width of a plane's panels, in pixels

  // Give tiles the size that fills the page's width, all at one scale.
  function layOut() {
    const groups = [...document.querySelectorAll(".panels")];
    room = groups[0].clientWidth;
    const count = viewer.tiles.length / groups.length;
    const least = state.mode === "all" ? 185 : 160;
    const columns = clamp(Math.floor((room + GAP) / (least + GAP)), Math.min(2, count), count);
    const width = Math.floor((room + GAP) / columns) - GAP;
    const shown = shownPlanes();
    const widest = Math.max(...shown.map(plane => size(viewer.volumes.fixed, plane.across)));
    const highest = Math.max(...shown.map(plane => size(viewer.volumes.fixed, plane.up)));
    // A slice with its caption fits on the screen.
    const scale = Math.min(width / widest, Math.max(window.innerHeight * 0.8, 240) / highest);
    const dense = window.devicePixelRatio || 1;
    for (const tile of viewer.tiles) {
      tile.scale = scale;
      tile.width = Math.min(width, Math.ceil(widest * scale));
      tile.height = Math.round(size(viewer.volumes.fixed, tile.plane.up) * scale);
      tile.figure.style.width = tile.canvas.style.width = `${tile.width}px`;
      tile.canvas.style.height = `${tile.height}px`;
      tile.canvas.width = Math.round(tile.width * dense);
      tile.canvas.height = Math.round(tile.height * dense);
    }
  }

  // Not when only the height has changed, which laying out does itself. Drawn at once: a resized canvas is empty.
  function followWidth() {
    const panels = document.querySelector(".panels");
    if (!panels || panels.clientWidth === room) return;
    layOut();
    viewer.tiles.forEach(draw);
  }

  return { build, followWidth };
})();
