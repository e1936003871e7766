"""The figure of a pair, as the report draws it."""

import matplotlib
import numpy as np
import pytest
from matplotlib import pyplot as plt

import cohortreg
from cohortreg.errors import UserError

STRUCTURES = {"anterior": 1, "posterior": [2]}


def test_four_panels_for_each_plane_with_outlines(pair, found):
    before = dict(matplotlib.rcParams), plt.get_backend(), plt.get_fignums()
    figure = cohortreg.plot(found, pair["moving_label"], pair["fixed_label"], STRUCTURES)
    assert len(figure.axes) == 12
    assert [axes.get_title() for axes in figure.axes[:4]] == ["moving", "fixed", "warped", "deformed grid"]
    assert all(axes.collections for axes in figure.axes)  # outlines, and the grid's lines
    assert [text.get_text() for text in figure.legends[0].texts][:2] == ["anterior", "posterior"]
    assert figure.get_suptitle().startswith("hippocampus_003 to hippocampus_004 by fit\n")
    # The user's own figures look as before, and a notebook shows this one once.
    assert (dict(matplotlib.rcParams), plt.get_backend(), plt.get_fignums()) == before


def test_the_panels_show_what_was_registered(found, tmp_path):
    figure = cohortreg.plot(found)
    moving, fixed, warped = (axes.images[0].get_array() for axes in figure.axes[:3])
    assert np.corrcoef(warped.ravel(), fixed.ravel())[0, 1] > np.corrcoef(moving.ravel(), fixed.ravel())[0, 1]
    figure.savefig(tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size > 20_000
    assert not figure.legends


def test_a_mirrored_image_has_its_outlines_where_it_is(pair):
    """Of two left sides, of which a method sees the mirror images."""
    mirrored = cohortreg.register(
        pair["moving"], pair["fixed"], method="affine", threads=1, moving_side="left", fixed_side="left"
    )
    figure = cohortreg.plot(mirrored, pair["moving_label"], pair["fixed_label"], STRUCTURES)
    assert figure.axes[0].get_title() == "moving (mirrored)"
    plain = cohortreg.register(pair["moving"], pair["fixed"], method="affine", threads=1)
    other = cohortreg.plot(plain, pair["moving_label"], pair["fixed_label"], STRUCTURES)
    # In the axial plane, an outline of the fixed image is the mirror image of what it is else.
    width = figure.axes[9].get_xlim()
    ours, theirs = (
        np.concatenate([path.vertices[:, 0] for path in each.axes[9].collections[0].get_paths()])
        for each in (figure, other)
    )
    # An outline begins at another of its points, which is there twice.
    np.testing.assert_array_equal(np.unique((sum(width) - ours).round(3)), np.unique(theirs.round(3)))


def test_two_dimensions_are_one_row():
    random = np.random.default_rng(0)
    image = random.random((20, 24), np.float32)
    found = cohortreg.register((image, np.eye(3)), (image[::-1].copy(), np.eye(3)), method="identity")
    assert len(cohortreg.plot(found).axes) == 4


def test_what_cannot_be_drawn_is_one_sentence(pair, found):
    for arguments, sentence in (
        ((found.forward,), "plot takes what register returned, not an object of type CompositeTransform"),
        ((found, pair["moving_label"]), "outlines need the label maps of both images"),
        ((found, None, None, STRUCTURES), "structures are of label maps"),
        ((found, pair["moving_label"], pair["fixed_label"], {"x": 9}), r"no voxel of x \(9\)"),
    ):
        with pytest.raises(UserError, match=sentence):
            cohortreg.plot(*arguments)
