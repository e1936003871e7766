// The viewer of a pair's page: linked slices of its images, of what each method made of them, and of the maps.
//
// The page's own script calls `cohortreg.pair` with what pair_pages.py wrote; volumes.js says what a volume is.
"use strict";

var cohortreg = window.cohortreg || {};
window.cohortreg = cohortreg;

(function () {
  // As radiologists look at slices: the end of the axis `across` at the left, that of `up` on top.
  const PLANES = [
    { name: "sagittal", axis: 0, across: 1, up: 2, sides: "AP", ends: "SI" },
    { name: "coronal", axis: 1, across: 0, up: 2, sides: "RL", ends: "SI" },
    { name: "axial", axis: 2, across: 0, up: 1, sides: "RL", ends: "AP" },
  ];
  const PANELS = ["moving", "fixed", "warped", "difference", "Jacobian"];
  const OF_A_METHOD = ["warped", "difference", "Jacobian"];
  const DIFFERENCE = 0.5; // of the range of grey values, where its colours end
  const GRID_LINES = 24; // along the longest side of the image
  const GRID_COLOUR = "rgba(185, 246, 202, .6)";
  const FOLD_COLOUR = "#ff2d20";
  const [BLUE, ORANGE] = [[86, 180, 233], [230, 159, 0]];
  const GAP = 4; // pixels between panels, as in pair.css
  const SETTINGS = "cohortreg.viewer";

  const { unpackAll, voxel, size } = cohortreg.volumes;
  const byId = id => document.getElementById(id);
  const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
  const make = (tag, properties = {}, ...children) => {
    const element = Object.assign(document.createElement(tag), properties);
    element.append(...children);
    return element;
  };

  let pair; // what the page's script gave
  let volumes; // of the pair itself
  const ofMethods = new Map(); // name -> the method's volumes, once they are unpacked
  let planes; // one of a 2D image
  let tiles = []; // what is on the page: {canvas, caption, plane, panel, method}
  const state = {
    position: [0, 0, 0], // voxel of the fixed image under the cross-hair
    method: "",
    mode: "one", // or "all", side by side
    planes: { one: "", all: "sagittal" }, // the plane shown in each mode, empty for all three
    panels: [...PANELS],
    blend: 1, // share of the warped image in the panels of that name
    brightest: 1, // grey value shown as white
    outlines: true,
    grid: false,
    folds: true,
    cross: true,
    smooth: true,
  };

  // ---- Volumes ----

  // The voxel of a volume under the cross-hair.
  function here(volume) {
    return volume.shape.map((n, axis) => {
      const millimetres = (state.position[axis] + 0.5) * volumes.fixed.spacing[axis];
      return clamp(Math.floor(millimetres / volume.spacing[axis]), 0, n - 1);
    });
  }

  // The slice of a volume through the cross-hair, row by row as it is shown.
  const slice = (volume, plane, channel = 0) => cohortreg.volumes.slice(volume, plane, here(volume), channel);

  // ---- Lines ----

  // What `compute` gives for the slice under the cross-hair, computed once.
  function remembered(store, volume, plane, compute) {
    const key = `${plane.name} ${here(volume)[plane.axis]}`;
    if (!store.has(key)) store.set(key, compute());
    return store.get(key);
  }

  // Outlines of each structure in a slice of a label, in voxels from the slice's first centre.
  function outlinesOf(label, plane) {
    return remembered(label.outlines, label, plane, () => {
      const [width, height] = [label.shape[plane.across], label.shape[plane.up]];
      const [which, share] = [slice(label, plane, 0), slice(label, plane, 1)];
      return pair.structures.map((structure, n) => {
        // With nothing around it, so that every outline is closed.
        const field = new Float32Array((width + 2) * (height + 2));
        which.forEach((found, at) => {
          if (found !== n + 1) return;
          field[(Math.floor(at / width) + 1) * (width + 2) + (at % width) + 1] = share[at];
        });
        const lines = cohortreg.contours.trace(field, width + 2, height + 2, 127.5);
        return lines.map(line => line.map(value => value - 1));
      });
    });
  }

  // A component of the coarse map in a slice: displacement in millimetres at its points, row by row as shown.
  function coarse(map, plane, component) {
    const [width, height, depth] = [plane.across, plane.up, plane.axis].map(axis => map.shape[axis]);
    const n = volumes.fixed.shape[plane.axis];
    const place = n > 1 ? (state.position[plane.axis] / (n - 1)) * (depth - 1) : 0;
    const [low, high] = [map.low[component], map.high[component]];
    const values = new Float32Array(width * height);
    const at = [0, 0, 0];
    for (const [index, weight] of [[Math.floor(place), 1 - (place % 1)], [Math.ceil(place), place % 1]]) {
      at[plane.axis] = index;
      for (let row = 0; row < height; row++) {
        at[plane.up] = height - 1 - row;
        for (let column = 0; column < width; column++) {
          at[plane.across] = width - 1 - column;
          values[row * width + column] += weight * (low + (voxel(map, at, component) / 255) * (high - low));
        }
      }
    }
    return values;
  }

  // Lines of equal position in the moving image, in voxels of the fixed image from the slice's first centre.
  function gridOf(map, plane) {
    const { shape, spacing } = volumes.fixed;
    const key = `${plane.name} ${state.position[plane.axis]}`;
    if (map.lines.has(key)) return map.lines.get(key);
    const [width, height] = [shape[plane.across], shape[plane.up]];
    const apart = Math.max(...[0, 1, 2].map(axis => size(volumes.fixed, axis))) / GRID_LINES;
    const lines = [];
    for (const axis of [plane.across, plane.up]) {
      const values = cohortreg.contours.refine(
        coarse(map, plane, axis), map.shape[plane.across], map.shape[plane.up], width, height,
      );
      values.forEach((displacement, at) => {
        const index = axis === plane.across ? width - 1 - (at % width) : height - 1 - Math.floor(at / width);
        values[at] = displacement + (index + 0.5) * spacing[axis];
      });
      const [low, high] = values.reduce(([a, b], value) => [Math.min(a, value), Math.max(b, value)], [Infinity, -Infinity]);
      for (let level = Math.ceil(low / apart) * apart; level <= high; level += apart) {
        lines.push(...cohortreg.contours.trace(values, width, height, level));
      }
    }
    map.lines.set(key, lines);
    return lines;
  }

  // ---- Drawing ----

  const scratch = document.createElement("canvas");

  // Where a volume's slice lies on a tile: left and top in pixels, and pixels a millimetre.
  function frame(tile, volume = volumes.fixed) {
    const scale = tile.scale;
    const left = (tile.width - size(volumes.fixed, tile.plane.across) * scale) / 2;
    return {
      scale,
      left: left + (size(volumes.fixed, tile.plane.across) - size(volume, tile.plane.across)) * scale,
      top: (size(volumes.fixed, tile.plane.up) - size(volume, tile.plane.up)) * scale,
    };
  }

  // Draw a volume's slice. colour: from a value's place in the slice to red, green and blue.
  function paint(context, tile, volume, colour) {
    const [width, height] = [volume.shape[tile.plane.across], volume.shape[tile.plane.up]];
    scratch.width = width;
    scratch.height = height;
    const pixels = new ImageData(width, height);
    for (let at = 0; at < width * height; at++) {
      const [red, green, blue] = colour(at);
      pixels.data[4 * at] = red;
      pixels.data[4 * at + 1] = green;
      pixels.data[4 * at + 2] = blue;
      pixels.data[4 * at + 3] = 255;
    }
    scratch.getContext("2d").putImageData(pixels, 0, 0);
    const { left, top, scale } = frame(tile, volume);
    context.imageSmoothingEnabled = state.smooth;
    context.imageSmoothingQuality = "high";
    context.drawImage(scratch, left, top, size(volume, tile.plane.across) * scale, size(volume, tile.plane.up) * scale);
  }

  const grey = value => {
    const shown = value / state.brightest;
    return [shown, shown, shown];
  };

  // From blue over black to orange, for shares from -1 to 1.
  const onBlack = share => (share < 0 ? BLUE : ORANGE).map(value => value * Math.min(Math.abs(share), 1));

  // From blue over white to orange.
  const onWhite = share =>
    (share < 0 ? [0, 90, 181] : [213, 94, 0]).map(value => 255 + (value - 255) * Math.min(Math.abs(share), 1));

  const PAINT = {
    moving(context, tile) {
      const values = slice(volumes.moving, tile.plane);
      paint(context, tile, volumes.moving, at => grey(values[at]));
    },
    fixed(context, tile) {
      const values = slice(volumes.fixed, tile.plane);
      paint(context, tile, volumes.fixed, at => grey(values[at]));
    },
    warped(context, tile, method) {
      const [warped, fixed] = [slice(method.warped, tile.plane), slice(volumes.fixed, tile.plane)];
      paint(context, tile, volumes.fixed, at => grey(fixed[at] + state.blend * (warped[at] - fixed[at])));
    },
    difference(context, tile, method) {
      const [warped, fixed] = [slice(method.warped, tile.plane), slice(volumes.fixed, tile.plane)];
      paint(context, tile, volumes.fixed, at => onBlack((warped[at] - fixed[at]) / 255 / DIFFERENCE));
    },
    Jacobian(context, tile, method) {
      const values = slice(method.jacobian, tile.plane);
      paint(context, tile, method.jacobian, at => onWhite(values[at] / 127.5 - 1));
    },
  };

  // Stroke lines in voxels of a volume's slice.
  function stroke(context, tile, volume, lines) {
    const { left, top, scale } = frame(tile, volume);
    const [x, y] = [tile.plane.across, tile.plane.up].map(axis => volume.spacing[axis] * scale);
    context.beginPath();
    for (const line of lines) {
      for (let n = 0; n < line.length; n += 2) {
        context[n ? "lineTo" : "moveTo"](left + (line[n] + 0.5) * x, top + (line[n + 1] + 0.5) * y);
      }
    }
    context.stroke();
  }

  function drawOutlines(context, tile, label, dotted) {
    if (!label) return;
    context.lineWidth = dotted ? 1.75 : 1.5;
    context.lineCap = "round";
    context.setLineDash(dotted ? [0.1, 3.5] : []);
    outlinesOf(label, tile.plane).forEach((lines, n) => {
      context.strokeStyle = pair.structures[n].colour;
      stroke(context, tile, label, lines);
    });
    context.setLineDash([]);
  }

  function drawGrid(context, tile, map) {
    context.lineWidth = 0.8;
    context.strokeStyle = tile.panel === "Jacobian" ? "rgba(0, 0, 0, .6)" : GRID_COLOUR;
    stroke(context, tile, volumes.fixed, gridOf(map, tile.plane));
  }

  function drawFolds(context, tile, folded) {
    if (!folded) return;
    const { left, top, scale } = frame(tile, folded);
    const [x, y] = [tile.plane.across, tile.plane.up].map(axis => folded.spacing[axis] * scale);
    const width = folded.shape[tile.plane.across];
    context.fillStyle = tile.panel === "Jacobian" ? "#000" : FOLD_COLOUR;
    slice(folded, tile.plane).forEach((value, at) => {
      // A little more than the voxel, or neighbours would have a seam.
      if (value) context.fillRect(left + (at % width) * x, top + Math.floor(at / width) * y, x + 0.5, y + 0.5);
    });
  }

  function drawCross(context, tile) {
    const { left, top, scale } = frame(tile);
    const { across, up } = tile.plane;
    const { shape, spacing } = volumes.fixed;
    const x = Math.round(left + (shape[across] - state.position[across] - 0.5) * spacing[across] * scale) + 0.5;
    const y = Math.round(top + (shape[up] - state.position[up] - 0.5) * spacing[up] * scale) + 0.5;
    const gap = 7; // what is looked at stays free
    for (const [width, colour] of [[3, "rgba(0,0,0,.3)"], [1, "rgba(255,255,255,.8)"]]) {
      context.lineWidth = width;
      context.strokeStyle = colour;
      context.beginPath();
      for (const [fromX, fromY, toX, toY] of [
        [0, y, x - gap, y], [x + gap, y, tile.width, y], [x, 0, x, y - gap], [x, y + gap, x, tile.height],
      ]) {
        context.moveTo(fromX, fromY);
        context.lineTo(toX, toY);
      }
      context.stroke();
    }
  }

  function write(context, text, x, y, align, baseline) {
    Object.assign(context, { textAlign: align, textBaseline: baseline, lineWidth: 3, lineJoin: "round" });
    context.strokeStyle = "rgba(0,0,0,.75)";
    context.strokeText(text, x, y);
    context.fillStyle = "#e8e8e8";
    context.fillText(text, x, y);
  }

  function drawSides(context, tile) {
    if (planes.length === 1) return; // a picture need not have any
    const { width, height, plane } = tile;
    context.font = "600 11px system-ui, sans-serif";
    write(context, plane.sides[0], 4, height / 2, "left", "middle");
    write(context, plane.sides[1], width - 4, height / 2, "right", "middle");
    write(context, plane.ends[0], width / 2, 3, "center", "top");
    write(context, plane.ends[1], width / 2, height - 3, "center", "bottom");
  }

  function draw(tile) {
    const context = tile.canvas.getContext("2d");
    const dense = tile.canvas.width / tile.width; // pixels of the screen in one of the page's
    context.setTransform(dense, 0, 0, dense, 0, 0);
    context.fillStyle = "#000";
    context.fillRect(0, 0, tile.width, tile.height);
    const method = ofMethods.get(tile.method || state.method);
    const warps = OF_A_METHOD.includes(tile.panel);
    if (warps && !method) {
      context.font = "13px system-ui, sans-serif";
      write(context, "nothing to show", tile.width / 2, tile.height / 2, "center", "middle");
      return;
    }
    PAINT[tile.panel](context, tile, method);
    if (warps && state.folds) drawFolds(context, tile, method.folded);
    if (warps && state.grid) drawGrid(context, tile, method.map);
    if (state.outlines && tile.panel !== "Jacobian") {
      const fixed = volumes.fixed_label;
      if (tile.panel !== "moving") drawOutlines(context, tile, fixed, warps);
      if (tile.panel !== "fixed") drawOutlines(context, tile, warps ? method.label : volumes.moving_label, false);
    }
    if (state.cross) drawCross(context, tile);
    drawSides(context, tile);
  }

  let asked = false;
  // Draw everything when the browser next does.
  function redraw() {
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => {
      asked = false;
      tiles.forEach(draw);
      tellPosition();
    });
  }

  // ---- What is said beside the slices ----

  const percentOf = (volume, at) => Math.round((100 * voxel(volume, at)) / 255);

  function tellPosition() {
    for (const plane of planes) {
      const slider = byId(`slice-${plane.name}`);
      if (!slider) continue;
      const index = state.position[plane.axis];
      const text = `${index + 1} of ${volumes.fixed.shape[plane.axis]}`;
      slider.value = index;
      slider.nextElementSibling.textContent = text;
      slider.setAttribute("aria-valuetext", text);
    }
    const words = [`Voxel ${state.position.slice(0, planes.length === 1 ? 2 : 3).map(n => n + 1).join(", ")}`];
    words.push(`fixed ${percentOf(volumes.fixed, here(volumes.fixed))} %${nameOf(volumes.fixed_label)}`);
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
    return ` (${pair.structures[voxel(label, here(label)) - 1].name})`;
  }

  function caption(tile) {
    const method = pair.methods.find(one => one.name === tile.method);
    if (method) {
      const dice = method.dice === "–" ? [] : [`Dice ${method.dice}`];
      return [...dice, `${method.folds.toLocaleString("en")} folds`].join(" · ");
    }
    if (tile.panel !== "warped" || state.blend === 1) return tile.panel;
    const share = Math.round(100 * state.blend);
    return `warped ${share} %, fixed ${100 - share} %`;
  }

  function tellCaptions() {
    for (const tile of tiles) {
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
    if (state.outlines && volumes.fixed_label) {
      for (const { name, colour } of pair.structures) items.push(swatch(name, `2px solid ${colour}`));
      if (OF_A_METHOD.some(shows)) items.push(swatch("fixed, for comparison", "2px dotted #ddd"));
    }
    if (state.grid) items.push(swatch("deformed grid", `1px solid ${GRID_COLOUR}`));
    const folds = shows("Jacobian") ? "folds, on the Jacobian black" : "folds";
    if (state.folds) items.push(swatch(folds, `8px solid ${FOLD_COLOUR}`));
    if (shows("difference")) items.push(bar("fixed brighter", "−50 %", "+50 % warped brighter", onBlack));
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
    const silent = pair.methods.filter(method => method.absent && (state.mode === "all" || method.name === state.method));
    byId("absent").replaceChildren(...silent.map(({ name, absent }) => make("span", { textContent: `${name}: ${absent}` })));
  }

  // ---- The page's parts ----

  function shownPlanes() {
    return planes.filter(plane => [plane.name, ""].includes(state.planes[state.mode]) || planes.length === 1);
  }

  // Panel and method of each tile of a plane.
  function contents() {
    if (state.mode === "one") return PANELS.filter(panel => state.panels.includes(panel)).map(panel => [panel, ""]);
    const methods = pair.methods.filter(method => method.volumes);
    return [["fixed", ""], ...methods.map(method => ["warped", method.name])];
  }

  function makeTile(plane, panel, method) {
    const canvas = make("canvas");
    canvas.setAttribute("role", "img");
    const words = make("span");
    const captioned = make("figcaption", {}, words);
    if (method) {
      const choose = make("button", { type: "button", textContent: method, title: `Show ${method} alone` });
      choose.addEventListener("click", () => change({ method, mode: "one" }));
      captioned.prepend(choose);
    }
    const tile = { canvas, words, plane, panel, method, figure: make("figure", {}, captioned, canvas) };
    listen(tile);
    return tile;
  }

  function makePlane(plane) {
    const slider = make("input", {
      type: "range", id: `slice-${plane.name}`, min: 0, max: volumes.fixed.shape[plane.axis] - 1,
    });
    slider.addEventListener("input", () => move(plane.axis, Number(slider.value)));
    const name = make("label", { htmlFor: slider.id, textContent: plane.name[0].toUpperCase() + plane.name.slice(1) });
    const header = make("header", {}, name, slider, make("output"));
    if (planes.length === 1) header.hidden = true;
    const group = make("div", { className: "panels", id: `panels-${plane.name}`, tabIndex: 0 });
    group.setAttribute("role", "group");
    group.setAttribute("aria-label", `${plane.name} slices; arrow keys move the cross-hair, page up and down the slice`);
    group.addEventListener("keydown", event => stepByKey(event, plane));
    group.addEventListener("wheel", event => stepByWheel(event, plane, group), { passive: false });
    const own = contents().map(([panel, method]) => makeTile(plane, panel, method));
    tiles.push(...own);
    group.append(...own.map(tile => tile.figure));
    return make("section", { className: "plane" }, header, group);
  }

  // Make the slices anew, as many as are shown now.
  function build() {
    const focused = document.activeElement && document.activeElement.id;
    tiles = [];
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
    const count = tiles.length / groups.length;
    const least = state.mode === "all" ? 185 : 160;
    const columns = clamp(Math.floor((room + GAP) / (least + GAP)), Math.min(2, count), count);
    const width = Math.floor((room + GAP) / columns) - GAP;
    const shown = shownPlanes();
    const widest = Math.max(...shown.map(plane => size(volumes.fixed, plane.across)));
    const highest = Math.max(...shown.map(plane => size(volumes.fixed, plane.up)));
    // A slice with its caption fits on the screen.
    const scale = Math.min(width / widest, Math.max(window.innerHeight * 0.8, 240) / highest);
    const dense = window.devicePixelRatio || 1;
    for (const tile of tiles) {
      tile.scale = scale;
      tile.width = Math.min(width, Math.ceil(widest * scale));
      tile.height = Math.round(size(volumes.fixed, tile.plane.up) * scale);
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
    tiles.forEach(draw);
  }

  // ---- What people do ----

  // Move the cross-hair along an axis to a voxel.
  function move(axis, index) {
    state.position[axis] = clamp(index, 0, volumes.fixed.shape[axis] - 1);
    redraw();
  }

  function stepByKey(event, plane) {
    const steps = {
      ArrowLeft: [plane.across, 1], ArrowRight: [plane.across, -1], ArrowUp: [plane.up, 1], ArrowDown: [plane.up, -1],
      PageUp: [plane.axis, 1], PageDown: [plane.axis, -1],
    };
    const step = steps[event.key];
    if (!step || event.target.tagName === "BUTTON") return;
    event.preventDefault();
    move(step[0], state.position[step[0]] + step[1]);
  }

  // The wheel is for the page until someone has clicked in a slice: slices fill the page.
  function stepByWheel(event, plane, group) {
    if (document.activeElement !== group || event.ctrlKey || !event.deltaY) return;
    event.preventDefault();
    move(plane.axis, state.position[plane.axis] - Math.sign(event.deltaY));
  }

  function listen(tile) {
    const { canvas, plane } = tile;
    const follow = event => {
      const { left, top, scale } = frame(tile);
      const { shape, spacing } = volumes.fixed;
      for (const [axis, pixels] of [[plane.across, event.offsetX - left], [plane.up, event.offsetY - top]]) {
        move(axis, shape[axis] - 1 - Math.floor(pixels / scale / spacing[axis]));
      }
    };
    canvas.addEventListener("pointerdown", event => {
      if (event.button) return;
      canvas.parentElement.parentElement.focus({ preventScroll: true });
      canvas.setPointerCapture(event.pointerId);
      follow(event);
    });
    canvas.addEventListener("pointermove", event => canvas.hasPointerCapture(event.pointerId) && follow(event));
  }

  // Change what is shown, and keep it for the next pair.
  async function change(settings) {
    Object.assign(state, settings);
    try {
      const { position, ...kept } = state;
      sessionStorage.setItem(SETTINGS, JSON.stringify(kept));
    } catch (error) {
      // Then each page begins anew.
    }
    const needed = state.mode === "all" ? pair.methods : pair.methods.filter(method => method.name === state.method);
    for (const method of needed) {
      if (method.volumes && !ofMethods.has(method.name)) ofMethods.set(method.name, await unpackAll(method.volumes));
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
    for (const choice of byId("panels").querySelectorAll("input")) choice.checked = state.panels.includes(choice.value);
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

  // Fill in what depends on the pair, and listen.
  function connect() {
    const tools = byId("tools");
    byId("plane").append(choice("radio", "plane", "", "all"));
    byId("plane").append(...planes.map(plane => choice("radio", "plane", plane.name, plane.name)));
    byId("plane").hidden = planes.length === 1;
    byId("panels").append(...PANELS.map(panel => choice("checkbox", "panel", panel, panel)));
    byId("outlines").hidden = !volumes.fixed_label;
    byId("method").append(...pair.methods.map(({ name }) => make("option", { value: name, textContent: name })));
    for (const row of byId("measures").tBodies[0].rows) {
      const name = row.cells[0].firstChild;
      const label = choice("radio", "shown", name.textContent.trim(), name.textContent.trim());
      name.replaceWith(label);
      label.firstChild.addEventListener("change", event => change({ method: event.target.value }));
    }
    tools.addEventListener("submit", event => event.preventDefault());
    tools.addEventListener("input", ({ target }) => target.type === "range" && changeBy(target));
    tools.addEventListener("change", ({ target }) => target.type !== "range" && changeBy(target));
    document.addEventListener("keydown", event => cohortreg.forThePage(event) && KEYS[event.key] && KEYS[event.key]());
    new ResizeObserver(followWidth).observe(byId("slices"));
  }

  function settingsOfBefore() {
    try {
      return JSON.parse(sessionStorage.getItem(SETTINGS)) || {};
    } catch (error) {
      return {};
    }
  }

  const KEYS = {
    t: () => change({ blend: state.blend > 0 ? 0 : 1 }),
    s: () => change({ mode: state.mode === "all" ? "one" : "all" }),
    m() {
      const names = pair.methods.filter(method => method.volumes).map(method => method.name);
      if (names.length) change({ method: names[(names.indexOf(state.method) + 1) % names.length] });
    },
  };

  cohortreg.pair = async function (given) {
    pair = given;
    cohortreg.shown = true;
    if (!pair.volumes) return;
    volumes = await unpackAll(pair.volumes);
    planes = volumes.fixed.shape[2] > 1 ? PLANES : PLANES.slice(2);
    state.position = [...pair.start, 0].slice(0, 3);
    const shown = pair.methods.filter(method => method.volumes).map(method => method.name);
    const before = settingsOfBefore();
    const wanted = [before.method, pair.main, ...shown, pair.main].find(name => shown.includes(name)) || pair.main;
    if (window.matchMedia("(max-width: 40rem)").matches) {
      byId("more").open = false;
      state.planes.one = "sagittal";
    }
    connect();
    byId("viewer").hidden = false;
    document.documentElement.classList.add("live");
    await change({ ...state, ...before, method: wanted });
  };
})();
