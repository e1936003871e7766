// What a pair's page shows: the pair, its volumes, and what its reader chose. viewer_*.js draw, word and change it.
"use strict";

var cohortreg = window.cohortreg || {};
window.cohortreg = cohortreg;

cohortreg.viewer = (function () {
  // As radiologists look at slices: the end of the axis `across` at the left, that of `up` on top.
  const PLANES = [
    { name: "sagittal", axis: 0, across: 1, up: 2, sides: "AP", ends: "SI" },
    { name: "coronal", axis: 1, across: 0, up: 2, sides: "RL", ends: "SI" },
    { name: "axial", axis: 2, across: 0, up: 1, sides: "RL", ends: "AP" },
  ];
  const PANELS = ["moving", "fixed", "warped", "difference", "Jacobian"];
  const OF_A_METHOD = ["warped", "difference", "Jacobian"];
  const SETTINGS = "cohortreg.viewer";

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

  const viewer = {
    PANELS,
    OF_A_METHOD,
    state,
    pair: null, // what the page's script gave
    volumes: null, // of the pair's images and, if it has any, labels
    ofMethods: new Map(), // name -> the method's volumes, once they are unpacked
    planes: [], // one of a 2D image
    tiles: [], // what is on the page: {canvas, words, plane, panel, method, figure}
    here,
    slice,
    imagesOf,
    unpack,
    keep,
    kept,
    clamp,
    make,
  };

  // Decode the images of the pair, which all the rest needs, and begin where its page does.
  async function unpack(pair) {
    const [moving, fixed] = imagesOf(pair);
    const packed = { moving: moving.image, fixed: fixed.image };
    if (pair.labelled) Object.assign(packed, { moving_label: moving.label, fixed_label: fixed.label });
    viewer.pair = pair;
    viewer.volumes = await cohortreg.volumes.unpackAll(packed);
    viewer.planes = viewer.volumes.fixed.shape[2] > 1 ? PLANES : PLANES.slice(2);
    state.position = [...pair.start, 0].slice(0, 3);
  }

  // What the scripts of the moving and the fixed image said; undefined for one that is missing.
  function imagesOf(pair) {
    return [pair.moving, pair.fixed].map(id => cohortreg.volumes.images.get(id));
  }

  // The voxel of a volume under the cross-hair.
  function here(volume) {
    return volume.shape.map((n, axis) => {
      const millimetres = (state.position[axis] + 0.5) * viewer.volumes.fixed.spacing[axis];
      return clamp(Math.floor(millimetres / volume.spacing[axis]), 0, n - 1);
    });
  }

  // The slice of a volume through the cross-hair, row by row as it is shown.
  function slice(volume, plane, channel = 0) {
    return cohortreg.volumes.slice(volume, plane, here(volume), channel);
  }

  // Keep what is chosen for the next pair.
  function keep() {
    try {
      const { position, ...settings } = state;
      sessionStorage.setItem(SETTINGS, JSON.stringify(settings));
    } catch {
      // Then each page begins anew.
    }
  }

  function kept() {
    try {
      return JSON.parse(sessionStorage.getItem(SETTINGS)) || {};
    } catch {
      return {};
    }
  }

  function clamp(value, low, high) {
    return Math.min(Math.max(value, low), high);
  }

  function make(tag, properties = {}, ...children) {
    const element = Object.assign(document.createElement(tag), properties);
    element.append(...children);
    return element;
  }

  return viewer;
})();
