"""Every figure is there, whatever the cohort has."""

import shutil
from xml.etree import ElementTree

import pytest
from PIL import Image as Picture

from cohortreg.jobs.comparison import read_comparison
from cohortreg.jobs.figures import draw_figures
from cohortreg.layout import Layout
from cohortreg.report.figures.registry import FIGURES
from cohortreg.report_layout import FIGURE_SUFFIXES


@pytest.mark.parametrize("cohort", ["drawn", "bare", "failing"])
def test_every_figure_is_there_as_png_and_svg(cohort, request):
    layout, _ = request.getfixturevalue(cohort)
    for name in FIGURES:
        with Picture.open(layout.figure(name, "png")) as picture:
            # 89 or 182 mm, one column or two of a journal, at the 300 dots an inch that journals ask for.
            assert picture.width in (3.5 * 300, 7.16 * 300)
            assert picture.info["dpi"] == pytest.approx((300, 300), rel=1e-3)
            # More than one colour: something was drawn.
            assert len(picture.convert("L").getcolors()) > 10
        assert ElementTree.parse(layout.figure(name, "svg")).getroot().tag.endswith("svg")
    found = sorted(path.name for path in layout.figure(next(iter(FIGURES))).parent.iterdir())
    assert found == sorted(f"{name}.{suffix}" for name in FIGURES for suffix in FIGURE_SUFFIXES)


def test_without_the_transforms_the_other_figures_are_drawn(drawn, tmp_path):
    """They are large, and may be deleted once the tables are made."""
    layout = Layout(tmp_path / "results")
    shutil.copytree(drawn[0].root, layout.root)
    for path in layout.root.glob("transforms/*/forward"):
        shutil.rmtree(path)
    before = {path.name: path.read_bytes() for path in layout.root.glob("figures/*.png")}
    config = drawn[1]
    draw_figures(layout, read_comparison(layout, config))
    changed = {name for name, old in before.items() if (layout.root / "figures" / name).read_bytes() != old}
    assert changed == {"pairs-best.png", "pairs-median.png", "pairs-worst.png"}
