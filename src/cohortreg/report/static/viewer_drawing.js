// Draws a tile of a pair's page: a slice in grey or colours, and over it lines, folds, cross-hair and sides.
"use strict";

var cohortreg = window.cohortreg || {};
window.cohortreg = cohortreg;

cohortreg.drawing = (function () {
  const DIFFERENCE = 0.5; // of the range of grey values, where its colours end
  const GRID_COLOUR = "rgba(185, 246, 202, .6)";
  const FOLD_COLOUR = "#ff2d20";
  const [BLUE, ORANGE] = [[86, 180, 233], [230, 159, 0]];

  const { viewer } = cohortreg;
  const { state, slice, ofMethods } = viewer;
  const { outlinesOf, gridOf } = cohortreg.lines;
  const { size } = cohortreg.volumes;

  const scratch = document.createElement("canvas");

  // Where a volume's slice lies on a tile: left and top in pixels, and pixels a millimetre.
  function frame(tile, volume = viewer.volumes.fixed) {
    const scale = tile.scale;
    const left = (tile.width - size(viewer.volumes.fixed, tile.plane.across) * scale) / 2;
    return {
      scale,
      left: left + (size(viewer.volumes.fixed, tile.plane.across) - size(volume, tile.plane.across)) * scale,
      top: (size(viewer.volumes.fixed, tile.plane.up) - size(volume, tile.plane.up)) * scale,
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
      const values = slice(viewer.volumes.moving, tile.plane);
      paint(context, tile, viewer.volumes.moving, at => grey(values[at]));
    },
    fixed(context, tile) {
      const values = slice(viewer.volumes.fixed, tile.plane);
      paint(context, tile, viewer.volumes.fixed, at => grey(values[at]));
    },
    warped(context, tile, method) {
      const [warped, fixed] = [slice(method.warped, tile.plane), slice(viewer.volumes.fixed, tile.plane)];
      paint(context, tile, viewer.volumes.fixed, at => grey(fixed[at] + state.blend * (warped[at] - fixed[at])));
    },
    difference(context, tile, method) {
      const [warped, fixed] = [slice(method.warped, tile.plane), slice(viewer.volumes.fixed, tile.plane)];
      paint(context, tile, viewer.volumes.fixed, at => onBlack((warped[at] - fixed[at]) / 255 / DIFFERENCE));
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
      context.strokeStyle = viewer.pair.structures[n].colour;
      stroke(context, tile, label, lines);
    });
    context.setLineDash([]);
  }

  function drawGrid(context, tile, map) {
    context.lineWidth = 0.8;
    context.strokeStyle = tile.panel === "Jacobian" ? "rgba(0, 0, 0, .6)" : GRID_COLOUR;
    stroke(context, tile, viewer.volumes.fixed, gridOf(map, tile.plane));
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
    const { shape, spacing } = viewer.volumes.fixed;
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
    if (viewer.planes.length === 1) return; // a picture need not have any
    const { width, height, plane } = tile;
    // All but the moving image lies where the fixed one does; a mirrored one has its patient's left at the left.
    const mirrored = viewer.pair.mirrored.includes(tile.panel === "moving" ? "moving" : "fixed");
    const sides = mirrored && plane.across === 0 ? plane.sides[1] + plane.sides[0] : plane.sides;
    context.font = "600 11px system-ui, sans-serif";
    write(context, sides[0], 4, height / 2, "left", "middle");
    write(context, sides[1], width - 4, height / 2, "right", "middle");
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
    const warps = viewer.OF_A_METHOD.includes(tile.panel);
    if (warps && !method) {
      context.font = "13px system-ui, sans-serif";
      write(context, "nothing to show", tile.width / 2, tile.height / 2, "center", "middle");
      return;
    }
    PAINT[tile.panel](context, tile, method);
    if (warps && state.folds) drawFolds(context, tile, method.folded);
    if (warps && state.grid) drawGrid(context, tile, method.map);
    if (state.outlines && tile.panel !== "Jacobian") {
      const fixed = viewer.volumes.fixed_label;
      if (tile.panel !== "moving") drawOutlines(context, tile, fixed, warps);
      if (tile.panel !== "fixed") drawOutlines(context, tile, warps ? method.label : viewer.volumes.moving_label, false);
    }
    if (state.cross) drawCross(context, tile);
    drawSides(context, tile);
  }

  return { draw, frame, GRID_COLOUR, FOLD_COLOUR, onBlack, onWhite };
})();
