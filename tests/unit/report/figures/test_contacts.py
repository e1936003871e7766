import numpy as np
import pytest
from matplotlib import pyplot as plt
from matplotlib.colors import to_rgb

from cohortreg.images.checks import Checked, Facts, MiddleSlice
from cohortreg.jobs.check import write_sheets
from cohortreg.layout import SHEET_IMAGES, CheckLayout
from cohortreg.report.figures import style
from cohortreg.report.figures.contacts import COLOURS

STRUCTURES = {"bone": [1, 2]}
EVIL = "a$b$_{" + "long" * 40


def checked(name: str, found: tuple[str, ...] = (), label: bool = True, bad: bool = False) -> Checked:
    values = np.zeros((12, 10), np.uint8)
    values[3:8, 3:7] = 2
    part = MiddleSlice(40 * values, values if label else None, (24.0, 30.0))
    facts = Facts((12, 12, 10), np.ones(3), np.ones(3), "RAS", (0, 1), [], {}, "", [part] * 3, np.zeros(1))
    return Checked(name, "left", None if bad else facts, list(found))


def pixels(path, colour: str) -> int:
    """Pixels of a page that have the colour, about."""
    picture = plt.imread(path)[..., :3]
    return int((np.abs(picture - to_rgb(colour)).max(axis=-1) < 0.02).sum())


@pytest.fixture
def layout(tmp_path):
    return CheckLayout(tmp_path / "check")


def test_marks(layout):
    """A colour in the legend alone is a few pixels; a frame around a tile is many."""
    few = {}
    for name, image in {
        "ok": checked("a"),
        "warning": checked("a", ("is odd",)),
        "bad": checked("a", ("cannot be read",), bad=True),
    }.items():
        write_sheets(layout, [image], STRUCTURES)
        (page,) = layout.sheets(1)
        few[name] = {status: pixels(page, COLOURS[status]) for status in ("warning", "bad")}
    assert few["warning"]["warning"] > 5 * few["ok"]["warning"] > 0
    assert few["bad"]["bad"] > 5 * few["ok"]["bad"] > 0
    assert few["warning"]["bad"] == few["ok"]["bad"]


def test_structures_are_outlined(layout):
    (colour,) = style.colours_on_grey(["bone"]).values()
    (page,) = layout.sheets(1)
    drawn = []
    for label in (False, True):
        write_sheets(layout, [checked("a", label=label)], STRUCTURES)
        drawn.append(pixels(page, colour))
    assert drawn[1] > 2 * drawn[0]


def test_any_name(layout):
    write_sheets(layout, [checked(EVIL), checked("b")], {})
    assert layout.sheets(2)[0].stat().st_size > 0


def test_pages_and_those_of_a_larger_cohort(layout):
    many = [checked(f"image-{n}") for n in range(SHEET_IMAGES + 1)]
    write_sheets(layout, many, STRUCTURES)
    names = ["contact-sheet.png", "contact-sheet-2.png"]
    assert [page.name for page in layout.sheets(len(many))] == names
    assert sorted(path.name for path in layout.root.iterdir()) == sorted(names)
    write_sheets(layout, many[:3], STRUCTURES)
    assert [path.name for path in layout.root.iterdir()] == names[:1]


def test_nothing_but_bad_images(layout):
    write_sheets(layout, [checked("a", bad=True), checked("b", bad=True)], STRUCTURES)
    assert layout.sheets(2)[0].stat().st_size > 0
