// Lines of a pair's page: outlines of structures, and the deformed grid.
"use strict";

var cohortreg = window.cohortreg || {};
window.cohortreg = cohortreg;

cohortreg.lines = (function () {
  const GRID_LINES = 24; // along the longest side of the image

  const { viewer } = cohortreg;
  const { state, here, slice } = viewer;
  const { voxel, size } = cohortreg.volumes;

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
      return viewer.pair.structures.map((structure, n) => {
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
    const n = viewer.volumes.fixed.shape[plane.axis];
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
    const { shape, spacing } = viewer.volumes.fixed;
    const key = `${plane.name} ${state.position[plane.axis]}`;
    if (map.lines.has(key)) return map.lines.get(key);
    const [width, height] = [shape[plane.across], shape[plane.up]];
    const apart = Math.max(...[0, 1, 2].map(axis => size(viewer.volumes.fixed, axis))) / GRID_LINES;
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

  return { outlinesOf, gridOf };
})();
