"""What the transforms of pairs take on disk, in bytes and seconds, and what it changes of their measures.

python benchmarks/disk.py CONFIG.yaml RESULTS OUTPUT.csv METHODS... [--pairs 1]

RESULTS is a cohort's folder with preprocessed images; a method may be NAME=FOLDER, with the folder of a model. Each
pair is registered anew and in memory, so that its maps are compared before and after they were written, on one thread:

nii      displacement fields as float32, as results had them before
map      as results have them, `maps.coded`
int16    NIfTI of two bytes a number, compressed, in steps that make the same error at most
thrice   differences of such numbers along each of the three axes in turn, compressed

`half_off` is by how many voxels a field is off that is interpolated linearly from every other voxel.
"""

import argparse
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import SimpleITK as sitk
import torch
from torch import Tensor

from cohortreg.config.files import merged
from cohortreg.evaluation.measures import Maps, measures_of_labels, measures_of_maps
from cohortreg.files import whole
from cohortreg.images.io import read_label
from cohortreg.images.itk import to_sitk
from cohortreg.jobs.register import _preprocessed, open_row
from cohortreg.jobs.registered import cohort_pairs
from cohortreg.layout import Layout
from cohortreg.learning.devices import Device, use_processor
from cohortreg.maps.coded import margin, read_coded, write_coded
from cohortreg.maps.grids import resize
from cohortreg.maps.sealed import seal
from cohortreg.maps.transforms import Transform, read_transform, to_physical, to_unit
from cohortreg.methods.registry import read
from cohortreg.provenance import git_commit, hardware, software


def write_before(path: Path, transform: Transform) -> None:
    sitk.WriteImage(to_sitk(transform.displacement, transform.grid), str(path))
    seal(path)


FORMS = {"nii": ("a.nii", write_before, read_transform), "map": ("a.map.gz", write_coded, read_coded)}


def timed(function: Callable, *given):
    started = time.process_time()
    result = function(*given)
    return result, time.process_time() - started


def in_voxels(vectors: np.ndarray, transform: Transform) -> np.ndarray:
    """Vectors in millimetres as float32 voxels along the array axes, [dim, *grid]."""
    linear = transform.grid.lps_to_voxel[:-1, :-1]
    return np.einsum("ij,j...->i...", linear, vectors).astype(np.float32)


def other_forms(transform: Transform) -> dict[str, float]:
    """Bytes of forms that are not used, and what is lost at half the resolution."""
    vectors = in_voxels(transform.displacement, transform)
    steps = np.rint(vectors / (2 * margin(vectors.shape[1:]))).astype(np.int32)
    thrice = steps
    for axis in range(1, steps.ndim):
        thrice = np.diff(thrice, axis=axis, prepend=0)
    signless = (thrice << 1) ^ (thrice >> 31)
    packed = zlib.compressobj(1, zlib.DEFLATED, zlib.MAX_WBITS, 9, zlib.Z_RLE)
    parts = b"".join((signless >> 8 * place & 255).astype(np.uint8).tobytes() for place in range(4))
    field = torch.from_numpy(vectors)[None]
    half = resize(field, [(size + 2) // 2 for size in field.shape[2:]])
    return {
        "int16_bytes": len(zlib.compress(steps.astype(np.int16).tobytes(), 6)),
        "thrice_bytes": len(packed.compress(parts) + packed.flush()),
        "half_off": (resize(half, field.shape[2:]) - field).abs().max().item(),
    }


def measures(layout: Layout, pair, images, transforms, structures) -> dict[str, float]:
    moving, fixed = (image.grid for image in images)
    forward, inverse = transforms
    maps = Maps(to_unit(forward, moving), None if inverse is None else to_unit(inverse, fixed))
    labels = (read_label(layout.label(image)) for image in pair)
    return measures_of_maps(maps) | measures_of_labels(*labels, forward, structures)


def rows(layout: Layout, structures, methods: list[str], count: int, folder: Path) -> list[dict]:
    found = []
    for given in methods:
        name, _, model = given.partition("=")
        method = open_row(name, layout, 1, 1, Device("cpu", "32-true"), model=model or None)
        for pair in cohort_pairs(layout)[["moving", "fixed"]].drop_duplicates().head(count).values.tolist():
            images = [_preprocessed(layout, image) for image in pair]
            made = method(*images)
            grids = [image.grid for image in images]
            phis: list[tuple[Tensor | None, list]] = [(made.forward, grids), (made.inverse, grids[::-1])]
            exact = [None if phi is None else to_physical(phi, *order) for phi, order in phis]
            row = {"method": name, "moving": pair[0], "fixed": pair[1], "directions": 2 - exact.count(None)}
            numbers = {"exact": measures(layout, pair, images, exact, structures)}
            for form, (file, write, load) in FORMS.items():
                path, back, seconds, size = folder / file, [], [0.0, 0.0], 0
                for transform in exact:
                    if transform is None:
                        back.append(None)
                        continue
                    seconds[0] += timed(write, path, transform)[1]
                    size += path.stat().st_size
                    again, taken = timed(load, path)
                    seconds[1] += taken
                    back.append(again)
                row |= {f"{form}_bytes": size, f"{form}_write_s": seconds[0], f"{form}_read_s": seconds[1]}
                if form == "map":
                    numbers["stored"] = measures(layout, pair, images, back, structures)
                    apart = [
                        np.abs(in_voxels(b.displacement.astype(float) - a.displacement, a))
                        for a, b in zip(exact, back, strict=True)
                        if a is not None
                    ]
                    row["map_off"] = max(each.max() for each in apart)
                    row["map_off_rms"] = np.sqrt(np.mean([np.square(each).mean() for each in apart]))
            others = pd.DataFrame(other_forms(each) for each in exact if each is not None)
            row |= others.filter(like="bytes").sum().to_dict() | {"half_off": others["half_off"].max()}
            row |= {f"{key}_{kind}": value for kind, of in numbers.items() for key, value in of.items()}
            found.append(row)
            print(name, *pair, row["nii_bytes"], row["map_bytes"], flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", type=Path)
    parser.add_argument("results", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("methods", nargs="+")
    parser.add_argument("--pairs", type=int, default=1)
    given = parser.parse_args()
    use_processor(1)
    with TemporaryDirectory() as folder:
        structures = read(merged(given.config)).structures
        table = pd.DataFrame(
            rows(Layout(given.results), structures, given.methods, given.pairs, Path(folder))
        )
    versions = software()
    table = table.assign(
        seed=1,
        hardware=hardware("cpu", 1),
        torch=versions["torch"],
        numpy=np.__version__,
        commit=git_commit(),
    )
    with whole(given.output) as beside:
        table.to_csv(beside, index=False, float_format="%.8g")
    shown = table.groupby("method", sort=False).mean(numeric_only=True)
    print((shown.filter(like="_bytes") / 1e6).round(2).to_string())
    for key in (
        "folds",
        "folds_percent",
        "log_jacobian_std",
        "inverse_consistency_voxels",
        "dice_mean",
        "hd95_mean",
    ):
        print(key, (shown[f"{key}_stored"] - shown[f"{key}_exact"]).to_dict())


if __name__ == "__main__":
    main()
