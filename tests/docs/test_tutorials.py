"""Pages whose commands are run as they stand, one after the other, in a copy of the project."""

import re
import shlex
import shutil
import sys

import pandas as pd
from pages import blocks, commands
from projects import REPOSITORY

from cohortreg.cohort.tables import read_images, read_pairs
from cohortreg.images.io import read_image
from cohortreg.layout import Layout


def run(checkout, script: str) -> str:
    """What a script printed."""
    done = checkout.bash(script)
    assert done.returncode == 0, f"{script}\n{done.stdout}"
    return done.stdout


def test_a_cohort_of_ones_own_and_a_subject_that_comes_later(checkout):
    layout = Layout(checkout.folder / "results" / "knees")
    said, pairs = [], []
    for block in blocks(REPOSITORY / "docs" / "own-cohort.md"):
        if block.language == "yaml":
            (checkout.folder / "config" / "knees.yaml").write_text(block.text)
        elif block.language == "sh":
            said.append(run(checkout, block.text))
            pairs.append(len(pd.read_csv(layout.pairs_table)) if layout.pairs_table.exists() else 0)
    assert sorted(set(pairs)) == [0, 4 * 3, 4 * 4]
    assert (layout.check.root / "contact-sheet.png").is_file()
    assert "late-right" in layout.images.read_text()
    assert re.search(r"^total +\d+$", said[2], re.MULTILINE)
    ran = [re.findall(r"^(?:local)?(?:rule|checkpoint) (\w+):", text, flags=re.MULTILINE) for text in said]
    assert "train" in ran[3] and "train" not in ran[4]
    assert len(list((checkout.folder / "elsewhere").glob("*_to_*.nii.gz"))) == 2 * 4


def test_pairs_are_drawn_as_config_readme_says(checkout):
    knees = checkout.folder / "config" / "knees"
    knees.mkdir()
    shutil.copy(REPOSITORY / "config" / "demo" / "images.tsv", knees)
    (draw,) = [block for block in blocks(REPOSITORY / "config" / "README.md") if "draw_pairs" in block.text]
    (checkout.folder / "draw.py").write_text(draw.text)
    run(checkout, f"{shlex.quote(sys.executable)} draw.py")
    assert len(read_pairs(knees / "pairs.tsv", read_images(knees / "images.tsv"))) == 20


def test_two_images(checkout):
    """The blocks of docs/transforms.md that need no model, on two knees that are made for them."""
    for name in "AB":
        run(
            checkout,
            f"cohortreg phantom-anatomy {name}_label.nii.gz --id {name} --grid 20 32 32 --spacing 5 4 4",
        )
        run(checkout, f"cohortreg phantom-image {name}_label.nii.gz {name}.nii.gz")
    (checkout.folder / "landmarks_of_A.csv").write_text("x,y,z\n0,0,0\n")
    page = [line for block in blocks(REPOSITORY / "docs" / "transforms.md") for line in commands(block)]
    register = next(line for line in page if line == "cohortreg register A.nii.gz B.nii.gz")
    other = f"{register} --transform-out A_to_B.h5 --warped-moving-out w.nii.gz"
    back = "cohortreg register B.nii.gz A.nii.gz --transform-out B_to_A.nii.gz"
    after = [line for line in page if re.match(r"cohortreg (apply|jacobian)", line)]
    assert len(after) >= 5
    for line in [register, other, back, *after]:
        run(checkout, line)
    assert read_image(checkout.folder / "A_on_B.nii.gz").shape == (20, 32, 32)


def test_the_readme_registers_two_images_in_the_shell_and_in_python(checkout):
    for name in ("moving", "fixed"):
        run(
            checkout,
            f"cohortreg phantom-anatomy label.nii.gz --id {name} --grid 20 32 32 --spacing 5 4 4\n"
            f"cohortreg phantom-image label.nii.gz {name}.nii.gz",
        )
    page = blocks(REPOSITORY / "README.md")
    (shell,) = [block.text for block in page if block.text.startswith("cohortreg register")]
    assert "squared local correlation" in run(checkout, shell)
    (python,) = [block.text for block in page if block.language == "python"]
    (checkout.folder / "readme.py").write_text(python)
    assert "squared local correlation" in run(checkout, f"{shlex.quote(sys.executable)} readme.py")
    assert read_image(checkout.folder / "moving_on_fixed.nii.gz").shape == (20, 32, 32)
    assert (checkout.folder / "fixed_to_moving.h5").is_file()
