// Volumes of a pair's page: {shape, spacing, columns, image}. The image is a picture in a data URL, with the slices across
// the third axis side by side, `columns` in a row, each with the first axis to the right and the second down. Axes run to
// the patient's right, to the front and up; lengths are in millimetres from the outer corner of the first voxel.
"use strict";

var cohortreg = window.cohortreg || {};
window.cohortreg = cohortreg;

cohortreg.volumes = (function () {
  // What the scripts of images said, by image: {id, image, label}, volumes that pages of several pairs show.
  const images = new Map();
  cohortreg.image = content => images.set(content.id, content);

  // Decode a volume: adds `data`, bytes of red, green, blue and opacity of the mosaic.
  async function unpack(packed) {
    const picture = new Image();
    picture.src = packed.image;
    await picture.decode();
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [picture.width, picture.height];
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.drawImage(picture, 0, 0);
    const { data } = context.getImageData(0, 0, picture.width, picture.height);
    return { ...packed, data, width: picture.width, outlines: new Map(), lines: new Map() };
  }

  async function unpackAll(packed) {
    const names = Object.keys(packed);
    const unpacked = await Promise.all(names.map(name => unpack(packed[name])));
    return Object.fromEntries(names.map((name, n) => [name, unpacked[n]]));
  }

  function voxel(volume, [i, j, k], channel = 0) {
    const [across, down] = volume.shape;
    const column = (k % volume.columns) * across + i;
    const row = Math.floor(k / volume.columns) * down + j;
    return volume.data[4 * (row * volume.width + column) + channel];
  }

  // Extent along an axis, in millimetres.
  const size = (volume, axis) => volume.shape[axis] * volume.spacing[axis];

  // The slice of a volume through a voxel, row by row from the upper left as radiologists look at it: the end of the
  // plane's axis `across` at the left, that of its axis `up` on top.
  function slice(volume, plane, through, channel) {
    const [width, height] = [volume.shape[plane.across], volume.shape[plane.up]];
    const values = new Uint8Array(width * height);
    const at = [...through];
    for (let row = 0; row < height; row++) {
      at[plane.up] = height - 1 - row;
      for (let column = 0; column < width; column++) {
        at[plane.across] = width - 1 - column;
        values[row * width + column] = voxel(volume, at, channel);
      }
    }
    return values;
  }

  return { images, unpackAll, voxel, size, slice };
})();
