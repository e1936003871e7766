// The viewer of a pair's page: linked slices of its images, of what each method made of them, and of the maps.
//
// The page's own script calls `cohortreg.pair` with what pair_pages.py wrote; volumes.js says what a volume is.
"use strict";

var cohortreg = window.cohortreg || {};
window.cohortreg = cohortreg;

cohortreg.pair = async function (pair) {
  const { viewer, controls } = cohortreg;
  cohortreg.shown = !pair.start || viewer.imagesOf(pair).every(Boolean);
  if (!pair.start || !cohortreg.shown) return;
  await viewer.unpack(pair);
  const shown = pair.methods.filter(method => method.volumes).map(method => method.name);
  const kept = viewer.kept();
  const method = [kept.method, pair.main, ...shown].find(name => shown.includes(name)) || pair.main;
  const byId = id => document.getElementById(id);
  if (window.matchMedia("(max-width: 40rem)").matches) {
    byId("more").open = false;
    viewer.state.planes.one = "sagittal";
  }
  controls.fill();
  controls.listen();
  byId("viewer").hidden = false;
  document.documentElement.classList.add("live");
  await controls.change({ ...viewer.state, ...kept, method });
};
