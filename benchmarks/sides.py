"""How often `cohortreg check` finds an image of the wrong side, and how often it accuses a right one.

python benchmarks/sides.py OUTPUT.csv OAI_LABELS HIPPOCAMPUS

Three anatomies: simulated scans of every 4th voxel of the label maps in OAI_LABELS, all of right knees; the first MR
images in the folder HIPPOCAMPUS of the Medical Segmentation Decathlon, which are of one side as well; the knees of the
demo. Up to a tenth of the field of view is cut off on either side of each, so that what they show is not in the middle.
In each cohort some are given the wrong side: each in turn, or those of a random draw.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

from cohortreg.images.geometry import canonical, mirrored
from cohortreg.images.io import Image, read_image, read_label
from cohortreg.images.preprocess import normalised
from cohortreg.images.sides import small, wrong_sides
from cohortreg.importers.split import generator
from cohortreg.phantoms.anatomy import anatomy
from cohortreg.phantoms.dess import dess
from cohortreg.phantoms.phantom import phantom_knees

EVERY, CUT, COHORTS, HIPPOCAMPI, SEED = 4, 0.1, 40, 60, 1


def shown(scan: Image, side: str, name: str) -> np.ndarray:
    """What the check keeps of a scan that was cut at random on both sides."""
    scan = canonical(scan)
    first, last = generator(SEED, name, "cut").integers(0, int(CUT * scan.shape[0]) + 1, 2)
    scan = Image(scan.array[first : scan.shape[0] - last], scan.affine)
    return small(normalised(mirrored(scan) if side == "left" else scan, (1, 99))[0])


def knees(folder: Path) -> list[np.ndarray]:
    """Knees of people."""
    images = []
    for path in sorted(folder.glob("*.nii.gz")):
        label = read_label(path)
        part = Image(label.array[(slice(None, None, EVERY),) * 3], label.affine @ np.diag([EVERY] * 3 + [1]))
        images.append(shown(dess(part, SEED, path.name), "right", path.name))
    return images


def hippocampi(folder: Path) -> list[np.ndarray]:
    """Hippocampi of people."""
    paths = sorted((folder / "imagesTr").glob("hippocampus_*.nii.gz"))[:HIPPOCAMPI]
    return [shown(read_image(path), "right", path.name) for path in paths]


def demo() -> list[np.ndarray]:
    """Knees of the demo, half of them left."""
    table = phantom_knees(subjects=30).images
    images = []
    for name, side in table[["image_id", "side"]].itertuples(index=False):
        label = anatomy(SEED, name, side, (48, 96, 96), (2.3, 1.46, 1.46))
        images.append(shown(dess(label, SEED, name), side, name))
    return images


def measure(images: list[np.ndarray], drawn: list[tuple[np.ndarray, int]]) -> dict:
    """Percent found and accused. drawn: of each cohort the images, and how many of them, the first, are wrong."""
    found, accused, silent = [], [], 0
    for chosen, wrong in drawn:
        cohort = [images[i][::-1] if place < wrong else images[i] for place, i in enumerate(chosen)]
        suspicious = wrong_sides(cohort)
        silent += suspicious is None
        suspicious = np.zeros(len(cohort), bool) if suspicious is None else suspicious
        found += suspicious[:wrong].tolist()
        accused += suspicious[wrong:].tolist()
    percent = {"found_percent": found, "accused_percent": accused, "silent_percent": [silent / len(drawn)]}
    return {
        name: round(100 * float(np.mean(values)), 2) if values else "" for name, values in percent.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", type=Path)
    parser.add_argument("labels", type=Path)
    parser.add_argument("hippocampus", type=Path)
    arguments = parser.parse_args()
    rows = []
    cohorts = {
        "knees": knees(arguments.labels),
        "hippocampi": hippocampi(arguments.hippocampus),
        "demo": demo(),
    }
    for name, images in cohorts.items():
        random, every = generator(SEED, name), np.arange(len(images))
        plan = {(len(images), 1): [(np.roll(every, -i), 1) for i in every]}
        for size in (8, 12, 20, 30):
            for wrong in (0, 1, size // 5):
                draws = [(random.choice(every, size, replace=False), wrong) for _ in range(COHORTS)]
                plan.setdefault((size, wrong), draws)
        for (size, wrong), draws in plan.items():
            row = {"anatomy": name, "images": size, "wrong": wrong, "cohorts": len(draws)}
            rows.append(row | measure(images, draws))
            print(rows[-1], flush=True)
    pd.DataFrame(rows).to_csv(arguments.output, index=False)


if __name__ == "__main__":
    main()
