"""Figures of a pair: which slices they have, and how they stand."""

import numpy as np

from cohortreg.images.grid import Grid
from cohortreg.images.io import Image
from cohortreg.jobs.comparison import OnDisk
from cohortreg.maps.transforms import Transform
from cohortreg.report.figures import style
from cohortreg.report.figures.pair_panels import Pair, choose_slice, pair_figure, read_pair


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
