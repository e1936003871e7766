// Lines of equal value on a lattice, and smooth values between the points of a coarse one.
"use strict";

var cohortreg = window.cohortreg || {};
window.cohortreg = cohortreg;

cohortreg.contours = (function () {
  // Of a cell by which of its corners are inside (1 top left, 2 top right, 4 bottom right, 8 bottom left): the pairs of
  // its sides (0 top, 1 right, 2 bottom, 3 left) that a line joins.
  const JOINED = [
    [], [3, 0], [0, 1], [3, 1], [1, 2], [3, 0, 1, 2], [0, 2], [3, 2],
    [2, 3], [0, 2], [0, 1, 2, 3], [1, 2], [3, 1], [0, 1], [3, 0], [],
  ];

  // Lines at which values on a lattice, row by row, cross a level, as arrays of x and y in turns; (0, 0) is the first
  // value. By marching squares, with pieces joined: dots and dashes would begin anew in each.
  function trace(values, width, height, level) {
    const links = new Map();
    const link = (from, to) => (links.has(from) ? links.get(from).push(to) : links.set(from, [to]));
    for (let y = 0; y + 1 < height; y++) {
      for (let x = 0; x + 1 < width; x++) {
        const at = y * width + x;
        const inside =
          (values[at] >= level) |
          ((values[at + 1] >= level) << 1) |
          ((values[at + width + 1] >= level) << 2) |
          ((values[at + width] >= level) << 3);
        if (inside === 0 || inside === 15) continue;
        // A side is named by the lattice point where it begins, and whether it runs down from there.
        const sides = [2 * at, 2 * (at + 1) + 1, 2 * (at + width), 2 * at + 1];
        const joined = JOINED[inside];
        for (let n = 0; n < joined.length; n += 2) {
          link(sides[joined[n]], sides[joined[n + 1]]);
          link(sides[joined[n + 1]], sides[joined[n]]);
        }
      }
    }
    return chains(links).map(sides => sides.flatMap(side => crossing(values, width, level, side)));
  }

  // Where the level is crossed on a side of a cell.
  function crossing(values, width, level, side) {
    const down = side & 1;
    const at = side >> 1;
    const from = values[at];
    const along = (level - from) / (values[at + (down ? width : 1)] - from);
    const x = at % width;
    const y = (at - x) / width;
    return down ? [x, y + along] : [x + along, y];
  }

  // Sides one after the other, as they are linked: lines with two ends first, then rings.
  function chains(links) {
    const found = [];
    const follow = start => {
      const chain = [start];
      for (let here = start, next; (next = links.get(here).pop()) !== undefined; here = next) {
        const back = links.get(next);
        back.splice(back.indexOf(here), 1);
        chain.push(next);
      }
      if (chain.length > 1) found.push(chain);
    };
    const ends = [...links.keys()].filter(side => links.get(side).length === 1);
    ends.forEach(follow);
    [...links.keys()].forEach(follow);
    return found;
  }

  // For each of `count` points over the extent of n: the four nearest of these, and their weights in a Catmull-Rom
  // spline. Beyond the ends values go on as they came.
  function spline(n, count) {
    return Array.from({ length: count }, (_, point) => {
      const place = count > 1 ? (point * (n - 1)) / (count - 1) : 0;
      const base = Math.min(Math.floor(place), Math.max(n - 2, 0));
      const t = place - base;
      const weights = new Array(n).fill(0);
      const add = (index, weight) => {
        if (n === 1) weights[0] += weight;
        else if (index < 0) {
          add(0, 2 * weight);
          add(1, -weight);
        } else if (index >= n) {
          add(n - 1, 2 * weight);
          add(n - 2, -weight);
        } else weights[index] += weight;
      };
      add(base - 1, (-t + 2 * t * t - t * t * t) / 2);
      add(base, (2 - 5 * t * t + 3 * t * t * t) / 2);
      add(base + 1, (t + 4 * t * t - 3 * t * t * t) / 2);
      add(base + 2, (-t * t + t * t * t) / 2);
      return [...weights.entries()].filter(entry => entry[1] !== 0);
    });
  }

  // Values on a coarse lattice at the points of a fine one over the same extent, outermost points on outermost points.
  function refine(values, width, height, fineWidth, fineHeight) {
    const across = spline(width, fineWidth);
    const down = spline(height, fineHeight);
    const rows = new Float32Array(height * fineWidth);
    for (let y = 0; y < height; y++) {
      across.forEach((near, x) => {
        for (const [index, weight] of near) rows[y * fineWidth + x] += weight * values[y * width + index];
      });
    }
    const fine = new Float32Array(fineHeight * fineWidth);
    down.forEach((near, y) => {
      for (const [index, weight] of near) {
        for (let x = 0; x < fineWidth; x++) fine[y * fineWidth + x] += weight * rows[index * fineWidth + x];
      }
    });
    return fine;
  }

  return { trace, refine };
})();
