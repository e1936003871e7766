// What people do on a pair's page: they move the cross-hair, and choose what is shown, by mouse, finger and keyboard.
"use strict";

var cohortreg = window.cohortreg || {};
window.cohortreg = cohortreg;

cohortreg.controls = (function () {
  const { viewer } = cohortreg;
  const { state, make, clamp, ofMethods, PANELS } = viewer;
  const { draw, frame } = cohortreg.drawing;
  const { build, followWidth } = cohortreg.tiles;
  const { tellPosition, tellCaptions, tellLegend, tellMethod } = cohortreg.words;
  const byId = id => document.getElementById(id);

  let asked = false;
  // Draw everything when the browser next does.
  function redraw() {
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => {
      asked = false;
      viewer.tiles.forEach(draw);
      tellPosition();
    });
  }

  // Move the cross-hair along an axis to a voxel.
  function move(axis, index) {
    state.position[axis] = clamp(index, 0, viewer.volumes.fixed.shape[axis] - 1);
    redraw();
  }

  function stepByKey(event) {
    if (!event.target.matches(".panels")) return;
    const plane = planeOf(event.target);
    const steps = {
      ArrowLeft: [plane.across, 1], ArrowRight: [plane.across, -1], ArrowUp: [plane.up, 1], ArrowDown: [plane.up, -1],
      PageUp: [plane.axis, 1], PageDown: [plane.axis, -1],
    };
    const step = steps[event.key];
    if (!step) return;
    event.preventDefault();
    move(step[0], state.position[step[0]] + step[1]);
  }

  // The wheel is for the page until someone has clicked in a slice: slices fill the page.
  function stepByWheel(event) {
    const group = event.target.closest(".panels");
    if (!group || document.activeElement !== group || event.ctrlKey || !event.deltaY) return;
    event.preventDefault();
    const { axis } = planeOf(group);
    move(axis, state.position[axis] - Math.sign(event.deltaY));
  }

  function press(event) {
    if (event.target.tagName !== "CANVAS" || event.button) return;
    event.target.closest(".panels").focus({ preventScroll: true });
    event.target.setPointerCapture(event.pointerId);
    drag(event);
  }

  // Put the cross-hair where the pointer is.
  function drag(event) {
    const tile = viewer.tiles.find(one => one.canvas === event.target);
    if (!tile || !tile.canvas.hasPointerCapture(event.pointerId)) return;
    const { left, top, scale } = frame(tile);
    const { across, up } = tile.plane;
    const { shape, spacing } = viewer.volumes.fixed;
    for (const [axis, pixels] of [[across, event.offsetX - left], [up, event.offsetY - top]]) {
      move(axis, shape[axis] - 1 - Math.floor(pixels / scale / spacing[axis]));
    }
  }

  // The plane of an element among the slices.
  function planeOf(element) {
    const { plane } = element.closest(".plane").dataset;
    return viewer.planes.find(one => one.name === plane);
  }

  // Change what is shown, and keep it for the next pair.
  async function change(settings) {
    Object.assign(state, settings);
    viewer.keep();
    for (const { name, volumes } of viewer.pair.methods) {
      const shown = state.mode === "all" || name === state.method;
      if (shown && volumes && !ofMethods.has(name)) ofMethods.set(name, await cohortreg.volumes.unpackAll(volumes));
    }
    tellControls();
    if (["mode", "planes", "panels"].some(name => name in settings)) build();
    tellMethod();
    tellCaptions();
    tellLegend();
    redraw();
  }

  function tellControls() {
    const tools = byId("tools");
    const chosen = { mode: state.mode, plane: state.planes[state.mode] };
    for (const box of tools.querySelectorAll("input[type=radio]")) box.checked = box.value === chosen[box.name];
    for (const name of ["outlines", "grid", "folds", "cross", "smooth"]) tools.elements[name].checked = state[name];
    for (const input of byId("panels").querySelectorAll("input")) input.checked = state.panels.includes(input.value);
    byId("blend").value = 100 * state.blend;
    byId("brightest").value = 100 * state.brightest;
    byId("white").textContent = `${Math.round(100 * state.brightest)} %`;
  }

  function choice(type, name, value, words) {
    return make("label", {}, make("input", { type, name, value }), words);
  }

  // Change what a control stands for.
  function changeBy({ id, name, type, value, checked }) {
    if (id === "blend" || id === "brightest") change({ [id]: value / 100 });
    else if (id === "method") change({ method: value });
    else if (name === "plane") change({ planes: { ...state.planes, [state.mode]: value } });
    else if (name === "panel") {
      const kept = [...byId("panels").querySelectorAll("input:checked")].map(box => box.value);
      change({ panels: kept.length ? kept : [value] });
    } else change({ [name]: type === "checkbox" ? checked : value });
  }

  // Fill in what depends on the pair.
  function fill() {
    byId("plane").append(choice("radio", "plane", "", "all"));
    byId("plane").append(...viewer.planes.map(plane => choice("radio", "plane", plane.name, plane.name)));
    byId("plane").hidden = viewer.planes.length === 1;
    byId("panels").append(...PANELS.map(panel => choice("checkbox", "panel", panel, panel)));
    byId("outlines").hidden = !viewer.volumes.fixed_label;
    byId("method").append(...viewer.pair.methods.map(({ name }) => make("option", { value: name, textContent: name })));
    for (const row of byId("measures").tBodies[0].rows) {
      const name = row.cells[0].firstChild;
      const label = choice("radio", "shown", name.textContent.trim(), name.textContent.trim());
      name.replaceWith(label);
    }
  }

  function listen() {
    const [tools, slices] = [byId("tools"), byId("slices")];
    tools.addEventListener("submit", event => event.preventDefault());
    tools.addEventListener("input", ({ target }) => target.type === "range" && changeBy(target));
    tools.addEventListener("change", ({ target }) => target.type !== "range" && changeBy(target));
    byId("measures").addEventListener("change", ({ target }) => change({ method: target.value }));
    slices.addEventListener("input", ({ target }) => move(planeOf(target).axis, Number(target.value)));
    slices.addEventListener("click", ({ target }) => {
      if (target.tagName === "BUTTON") change({ method: target.textContent, mode: "one" });
    });
    slices.addEventListener("keydown", stepByKey);
    slices.addEventListener("wheel", stepByWheel, { passive: false });
    slices.addEventListener("pointerdown", press);
    slices.addEventListener("pointermove", drag);
    document.addEventListener("keydown", event => cohortreg.forThePage(event) && KEYS[event.key] && KEYS[event.key]());
    new ResizeObserver(followWidth).observe(slices);
  }

  const KEYS = {
    t: () => change({ blend: state.blend > 0 ? 0 : 1 }),
    s: () => change({ mode: state.mode === "all" ? "one" : "all" }),
    m() {
      const names = viewer.pair.methods.filter(method => method.volumes).map(method => method.name);
      if (names.length) change({ method: names[(names.indexOf(state.method) + 1) % names.length] });
    },
  };

  return { change, fill, listen };
})();
