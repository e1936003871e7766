"""Which pairs are shown, and that every figure is there whatever the cohort has."""

import shutil
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from PIL import Image as Picture

from cohortreg.images.grid import Grid
from cohortreg.images.io import Image
from cohortreg.jobs.comparison import OnDisk, read_comparison
from cohortreg.jobs.figures import draw_figures
from cohortreg.layout import Layout
from cohortreg.maps.transforms import Transform
from cohortreg.report.figures import style
from cohortreg.report.figures.charts import CURVES, dice_figure, join_stages, training_figure
from cohortreg.report.figures.pairs import Pair, choose_slice, pair_figure, read_pair
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


def test_slices_are_where_the_structures_of_a_finer_label_are_largest():
    label = np.zeros((40, 48, 32), np.uint8)
    label[24:26, 10:30, 4:20] = 2
    label[25, 8:32, 4:20] = 2
    label[2:30, 40, 30] = 9  # no structure of ours
    fine, coarse = np.diag([1.0, 0.5, 2.0, 1.0]), np.diag([4.0, 2.0, 8.0, 1.0])
    coarse[:3, 3] = [1.5, 0.75, 3.0]  # outer edges of both grids meet
    image = Image(np.zeros((10, 12, 8), np.float32), coarse)
    pair = Pair(
        moving=image,
        fixed=image,
        warped=image.array,
        phi=np.zeros((3, 10, 12, 8)),
        folded=image.array > 0,
        transform=Transform(np.zeros((3, 10, 12, 8), np.float32), Grid((10, 12, 8), coarse)),
        labels=(Image(label, fine), Image(label, fine)),
    )
    sagittal = choose_slice(pair, 0, {"ours": [2]})
    assert sagittal.index == 6  # label index 25, four label voxels an image voxel
    assert sagittal.extent == (0, 24, 0, 64)  # millimetres
    assert choose_slice(pair, 2, {"ours": [2]}).index in range(1, 5)


def test_a_2d_pair_is_one_row_that_stands_as_viewers_show_it():
    """The top left pixel of a picture is the last of both axes, right and anterior."""
    affine = np.array([[0.5, 0, -4.5], [0, 2, -22], [0, 0, 1]])
    array, mask = np.zeros((10, 12), np.float32), np.zeros((20, 24), np.uint8)
    array[-3:, -3:], mask[-6:, -6:] = 1, 1
    fine = affine @ np.array([[0.5, 0, -0.25], [0, 0.5, -0.25], [0, 0, 1]])
    image, label = Image(array, affine), Image(mask, fine)
    phi = np.stack(np.meshgrid(np.arange(10.0), np.arange(12.0), indexing="ij"))
    transform = Transform(np.zeros((2, 10, 12), np.float32), image.grid)
    pair = Pair(image, image, array, phi, array > 2, transform, (label, label))
    figure = pair_figure(pair, {"corner": [1]}, "a pair")
    assert len(figure.axes) == 4
    for axes in figure.axes[:3]:
        assert axes.get_xlim() == (5, 0) and axes.get_ylim() == (0, 24)
        picture = axes.images[0]
        assert list(picture.get_extent()) == [0, 5, 0, 24] and picture.origin == "lower"
        assert picture.get_array()[-1, -1] == 1
        corner = np.concatenate([path.vertices for path in axes.collections[0].get_paths()])
        np.testing.assert_allclose(corner.min(0), [3.5, 18], atol=0.2)


def test_slices_of_a_volume_have_right_and_front_at_the_left_as_the_pages_have():
    shape, affine = (4, 6, 8), np.diag([1.0, 2.0, 3.0, 1.0])
    image = Image(np.zeros(shape, np.float32), affine)
    phi = np.stack(np.meshgrid(*[np.arange(float(n)) for n in shape], indexing="ij"))
    transform = Transform(np.zeros((3, *shape), np.float32), image.grid)
    figure = pair_figure(Pair(image, image, image.array, phi, image.array > 0, transform, None), {}, "a pair")
    sides = [axes.get_xlim() for axes in figure.axes[::4]]
    assert sides == [(12, 0), (4, 0), (4, 0)]  # front, then twice right, in millimetres


def test_the_warped_image_and_folds_of_a_pair(results):
    layout, config = results
    pair = read_pair(OnDisk(layout), "identity", "a", "b")
    assert np.allclose(pair.warped, pair.moving.array, atol=1e-5)
    assert not pair.folded.any()
    assert np.allclose(pair.phi[1], np.arange(12).reshape(1, 12, 1), atol=1e-4)
    assert read_pair(OnDisk(layout), config.methods[-1], "a", "b").folded.any()


def test_stages_are_joined_one_after_another():
    first, second = (pd.DataFrame({"step": range(1, n + 1), "folds": 0.0}) for n in (3, 2))
    joined, starts = join_stages([first, second])
    assert joined["step"].tolist() == [1, 2, 3, 4, 5]
    assert joined["stage"].tolist() == [1, 1, 1, 2, 2]
    assert starts == [0, 3]


def test_a_similarity_whose_loss_is_below_zero_is_drawn():
    """Mutual information is one; an axis of logarithms would leave it out."""
    history = pd.DataFrame(
        {
            "step": [1, 2],
            "similarity": [-0.5, -0.7],
            "inverse_consistency": [0.2, 0.1],
            "folds": [0, 1],
            "weight": [1, 1],
        }
    )
    figure = training_figure({"mi": [history]})
    assert [axes.get_yscale() for axes in figure.axes] == ["linear", "log", "symlog", "linear"]


def test_a_loss_that_begins_at_zero_and_folds_have_axes_of_logarithms():
    """Before its first step a network is the identity, which has neither."""
    losses = {"similarity": [0.5, 0.3], "inverse_consistency": [0.0, 0.1], "folds": [0, 30]}
    figure = training_figure({"icon": [pd.DataFrame({"step": [1, 2], "weight": 1.0} | losses)]})
    assert [axes.get_yscale() for axes in figure.axes] == ["log", "log", "symlog", "linear"]
    assert -1 < figure.axes[2].get_ylim()[0] < 0


def test_what_was_measured_on_validation_pairs_is_drawn_as_dots():
    losses = {"similarity": [0.5, 0.3, 0.2], "inverse_consistency": [0.1, 0.1, 0.2], "folds": [0, 3, 1]}
    measured = {
        "validation_similarity": [None, 0.4, 0.35],
        "validation_inverse_consistency": [None, 0.1, 0.1],
    }
    history = pd.DataFrame({"step": [1, 2, 3], "weight": 1.0} | losses | measured)
    figure = training_figure({"icon": [history]})
    dots = [[line for line in axes.lines if line.get_marker() == "o"] for axes in figure.axes]
    assert [len(each) for each in dots] == [1, 1, 0, 0]
    assert dots[0][0].get_ydata()[1:].tolist() == [0.4, 0.35]
    assert figure.axes[-1].get_xlabel() == "Training step; dots: validation pairs"


def test_dice_of_validation_pairs_has_a_panel_of_its_own_where_there_is_one():
    history = pd.DataFrame({"step": [1, 2, 3]} | dict.fromkeys(CURVES, 1.0))
    measured = history.assign(validation_dice=[None, 0.4, 0.5])
    figure = training_figure({"icon": [measured, measured], "unlabelled": [history]})
    *others, panel = figure.axes
    dots = [line for line in panel.lines if line.get_marker() == "o"]
    assert len(others) == 4 and panel.get_ylabel() == "Dice,\nvalidation" and len(dots) == 1
    assert dots[0].get_xdata().tolist() == [2, 3, 5, 6] and dots[0].get_ydata().tolist() == [0.4, 0.5] * 2
    assert len(training_figure({"icon": [history.assign(validation_dice=None)]}).axes) == 4


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


@pytest.mark.parametrize(("pairs", "dots"), [(400, 400), (1001, 2)])
def test_of_many_pairs_only_those_beyond_the_whiskers_are_dots(pairs, dots):
    dice = np.linspace(0.7, 0.8, pairs)
    dice[[0, -1]] = 0.1, 0.99
    (axes,) = dice_figure(pd.DataFrame({"method": "m", "dice_core": dice}), ["core"]).axes
    assert sum(len(line.get_xdata()) for line in axes.lines if line.get_marker() == "o") == dots


def pair_of_many(count: int) -> tuple[Pair, dict[str, list[int]]]:
    """A pair of images with so many structures, each a slab."""
    shape = (count, 12, 10)
    label = Image(np.broadcast_to(np.arange(1, count + 1)[:, None, None], shape).astype(np.uint8), np.eye(4))
    image = Image(np.random.default_rng(0).random(shape).astype(np.float32), np.eye(4))
    centres = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij")).astype(np.float32)
    transform = Transform(np.zeros((3, *shape), np.float32), Grid(shape, np.eye(4)))
    pair = Pair(image, image, image.array, centres, np.zeros(shape, bool), transform, (label, label))
    return pair, {f"a_rather_long_name_of_a_structure_{k}": [k] for k in range(1, count + 1)}


def test_the_legend_of_many_structures_leaves_the_images_their_place():
    style.apply()
    widths, legends = [], []
    for count in (2, 30):
        pair, structures = pair_of_many(count)
        figure = pair_figure(pair, structures, "costs $5 or $6")
        figure.canvas.draw()
        widths.append(max(axes.get_window_extent().width for axes in figure.axes))
        legends.append([text.get_text() for text in figure.legends[0].get_texts()])
        box = figure.legends[0].get_window_extent()
        assert box.x0 >= 0 and box.x1 <= figure.bbox.width
    assert widths[1] > 0.8 * widths[0]
    assert len(legends[1]) == 16 and "and 16 more" in legends[1]


def test_of_many_structures_the_first_have_a_panel_and_the_figure_says_so():
    names = [f"s{k}" for k in range(40)]
    pairs = pd.DataFrame({"method": ["m", "m"], **{f"dice_{name}": [0.5, 0.6] for name in names}})
    figure = dice_figure(pairs, names)
    assert [axes.get_title(loc="left") for axes in figure.axes] == names[:24]
    assert "The first 24 of 40 structures; tables/pairs.csv has all." in figure.get_supxlabel()


@pytest.mark.parametrize("name", ["a$b$", "x" * 248, "$\\frac$", "👩", "א", "_^{", "%"])
def test_a_name_is_drawn_as_it_is(name):
    figure = style.message(f"The transform of {style.short(name, 32)} to b was deleted.")
    figure.canvas.draw()
    (text,) = figure.axes[0].texts
    assert len(text.get_text()) < 80
    assert text.get_window_extent().width < figure.bbox.width
