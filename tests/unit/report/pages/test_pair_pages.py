"""What the pages of pairs hold, decoded as a browser would, against maps made by hand and the figures' own numbers."""

import base64
import io
import json
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from importlib import resources
from urllib.parse import unquote

import numpy as np
import pandas as pd
import pytest
from cohorts import configuration
from matplotlib import pyplot as plt
from PIL import Image as Picture

from cohortreg.config import Report
from cohortreg.evaluation.csv_files import read_table
from cohortreg.evaluation.sampling import centres
from cohortreg.evaluation.structures import structure_masks
from cohortreg.files import write_json
from cohortreg.images.grid import Grid
from cohortreg.images.io import Image, read_label, write_image
from cohortreg.jobs.comparison import OnDisk, read_comparison
from cohortreg.layout import Layout
from cohortreg.maps.coded import read_coded, write_coded
from cohortreg.maps.transforms import Transform
from cohortreg.report.figures.pair_panels import pair_figure, read_pair
from cohortreg.report.pages import pair_pages, volumes
from cohortreg.report.pages.index import templates
from cohortreg.report.pages.pair_pages import choose_pairs, show_image, show_pair, write_pair_pages
from cohortreg.report.pages.pair_volumes import APART, Images, label_pixels, register
from cohortreg.report_layout import ReportLayout

EVIL = "<img src=x onerror=alert(1)>&\"'"


def unpack(volume: dict) -> np.ndarray:
    """A page's volume as uint8 [i, j, k, 3]."""
    data = base64.b64decode(volume["image"].removeprefix("data:image/webp;base64,"))
    pixels = np.asarray(Picture.open(io.BytesIO(data)).convert("RGB"))
    width, height, depth = volume["shape"]
    slices = []
    for k in range(depth):
        row, column = divmod(k, volume["columns"])
        tile = pixels[row * height : (row + 1) * height, column * width : (column + 1) * width]
        slices.append(tile.swapaxes(0, 1))
    return np.stack(slices, axis=2)


def script(report: ReportLayout, moving: str, fixed: str) -> dict:
    """What a page's script gives to the viewer."""
    text = report.pair(moving, fixed, "js").read_text("utf-8")
    return json.loads(text.removeprefix("cohortreg.pair(").removesuffix(");\n"))


def image_of(report: ReportLayout, image_id: str) -> dict:
    """What an image's script gives to the viewer."""
    text = report.image(image_id).read_text("utf-8")
    content = json.loads(text.removeprefix("cohortreg.image(").removesuffix(");\n"))
    assert content["id"] == image_id
    return content


def method_of(page: dict, name: str) -> dict:
    return next(method for method in page["methods"] if method["name"] == name)


def rows_of(layout: Layout, moving: str, fixed: str) -> pd.DataFrame:
    table = read_table(layout.pairs_table)
    return table[(table["moving"] == moving) & (table["fixed"] == fixed)]


@pytest.fixture(scope="module")
def written(results, tmp_path_factory) -> tuple[Layout, dict, ReportLayout, list]:
    layout, config = results
    report = ReportLayout(tmp_path_factory.mktemp("report"))
    steps = []
    pages = write_pair_pages(
        report.root, read_comparison(layout, config), templates(), lambda: steps.append(1)
    )
    assert len(steps) == len(pages) == 3
    return layout, config, report, pages


class Links(HTMLParser):
    def __init__(self, text: str):
        super().__init__()
        self.found: list[tuple[str, dict]] = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))


def test_images_are_what_the_figures_show_up_to_what_compression_loses(written):
    layout, config, report, _ = written
    page = script(report, "a", "b")
    for name in config.methods:
        pair = read_pair(OnDisk(layout), name, "a", "b")
        shown = unpack(method_of(page, name)["volumes"]["warped"])[..., 0] / 255
        assert shown.shape == pair.warped.shape
        assert np.sqrt(np.mean((shown - np.clip(pair.warped, 0, 1)) ** 2)) < 0.06  # it is mostly noise
    for image_id, image in (("a", pair.moving), ("b", pair.fixed)):
        packed = image_of(report, image_id)["image"]
        assert np.sqrt(np.mean((unpack(packed)[..., 0] / 255 - image.array) ** 2)) < 0.09
        assert packed["spacing"] == [2.0, 1.0, 1.5]


def test_folds_are_exact_and_left_out_where_there_are_none(written):
    layout, config, report, _ = written
    page = script(report, "a", "b")
    assert "folded" not in method_of(page, "identity")["volumes"]
    name = config.methods[-1]
    folded = unpack(method_of(page, name)["volumes"]["folded"])[..., 0]
    assert set(np.unique(folded)) == {0, 255}
    np.testing.assert_array_equal(folded == 255, read_pair(OnDisk(layout), name, "a", "b").folded)
    assert method_of(page, name)["folds"] == (folded == 255).sum()


def test_labels_are_the_masks_that_dice_is_measured_on(written):
    layout, config, report, _ = written
    page = script(report, "a", "b")
    moving, fixed = read_label(layout.label("a")), read_label(layout.label("b"))
    assert page["labelled"]
    for image_id, label in (("a", moving), ("b", fixed)):
        pixels = unpack(image_of(report, image_id)["label"])
        np.testing.assert_array_equal(np.where(pixels[..., 1] >= 128, pixels[..., 0], 0), label.array)
    for name in config.methods:
        pixels = unpack(method_of(page, name)["volumes"]["label"])
        shown = np.where(pixels[..., 1] >= 128, pixels[..., 0], 0)
        transform = read_coded(layout.forward(name, "a", "b"))
        for number, (_, warped, _) in enumerate(
            structure_masks(moving, fixed, transform, config.structures), 1
        ):
            # A voxel belongs to the larger of two structures that both have half of it.
            assert abs(int((shown == number).sum()) - int(warped.sum())) <= 2


def test_a_share_of_one_half_is_inside():
    label = Image(np.array([[0, 1, 1, 0]] * 4, np.uint8), np.eye(3))
    points = centres(Grid((4, 4), np.array([[1, 0, 0], [0, 1, 0.5], [0, 0, 1.0]])))
    pixels = label_pixels(label, points, {"it": [1]})
    np.testing.assert_array_equal(pixels[1, :, 1], [170, 255, 170, 0])
    np.testing.assert_array_equal(pixels[1, :, 0], [1, 1, 1, 0])


def test_the_coarse_map_is_exact_to_its_steps(tmp_path):
    """A map that is linear in space has a displacement that is linear between the coarse points."""
    shape, spacing = (9, 14, 5), np.array([2.0, 1.0, 1.5])
    image = Image(np.zeros(shape, np.float32), np.diag([*spacing, 1.0]))
    index = np.indices(shape).astype(np.float64)
    # In millimetres along the array axes; LPS has the first two the other way round.
    along = np.stack([0.5 + 0.1 * index[1], -1 + 0.2 * index[2], 0.05 * index[0]])
    lps = along * np.array([-1, -1, 1]).reshape(3, 1, 1, 1)
    images = Images(image, image, (1, 1, 1), image.grid, None)
    found = register(images, Transform(lps.astype(np.float32), image.grid), {})
    assert found.displacement.shape == (3, 3, 5, 2)  # ends, and at most APART voxels between
    assert all(n <= (m - 1) * APART + 1 for n, m in zip(shape, found.displacement.shape[1:], strict=True))
    coarse = [np.linspace(0, n - 1, m) for n, m in zip(shape, found.displacement.shape[1:], strict=True)]
    i, j, k = np.meshgrid(*coarse, indexing="ij")
    wanted = np.stack([0.5 + 0.1 * j, -1 + 0.2 * k, 0.05 * i])
    np.testing.assert_allclose(found.displacement, wanted, atol=1e-5)
    assert not found.folded.any()
    # 3 x 3 with slopes in millimetres a voxel over the voxel's size.
    slopes = np.eye(3) + np.array([[0, 0.1 / 1, 0], [0, 0, 0.2 / 1.5], [0.05 / 2, 0, 0]])
    np.testing.assert_allclose(found.log_jacobian, np.log2(np.linalg.det(slopes)), atol=1e-4)


def test_the_map_on_a_page_is_within_half_a_step(written):
    layout, config, report, _ = written
    name = config.methods[-1]
    packed = method_of(script(report, "a", "b"), name)["volumes"]["map"]
    low, high = np.array(packed["low"]), np.array(packed["high"])
    shown = low + unpack(packed) / 255 * (high - low)
    pair = read_pair(OnDisk(layout), name, "a", "b")
    spacing = pair.moving.spacing.reshape(3, 1, 1, 1)
    displacement = (pair.phi - np.indices(pair.fixed.shape)) * spacing
    corners = np.ix_(*[range(3)], *[[0, -1]] * 3)
    half = (high - low).reshape(3, 1, 1, 1) / 255 / 2 + 1e-4
    assert (np.abs(np.moveaxis(shown, -1, 0)[corners] - displacement[corners]) <= half).all()
    assert ((high - low) / 255 >= 0.1 * spacing.min() - 1e-9).all()


def test_pages_lead_from_the_worst_pair_to_the_best_and_to_the_index(written):
    layout, config, report, pages = written
    table = pd.read_csv(layout.pairs_table).set_index(["method", "moving", "fixed"])["dice_mean"]
    dice = [table[config.methods[-1], *pair] for pair in pages]
    assert dice == sorted(dice)
    for place, pair in enumerate(pages):
        page = report.pair(*pair)
        found = Links(page.read_text("utf-8")).found
        links = {attributes.get("rel"): attributes["href"] for tag, attributes in found if tag == "a"}
        assert links[None] == "../../index.html"
        assert ("prev" in links, "next" in links) == (place > 0, place < 2)
        if place < 2:
            assert (page.parent / unquote(links["next"])).samefile(report.pair(*pages[place + 1]))
        scripts = [unquote(attributes["src"]) for tag, attributes in found if tag == "script"]
        for image_id, path in zip(pair, scripts[-3:-1], strict=True):
            assert (page.parent / path).samefile(report.image(image_id))
        assert (page.parent / scripts[-1]).samefile(report.pair(*pair, "js"))
        assert scripts[0].endswith("ratings.js") and scripts[-4].endswith("viewer.js")
        static = {path.name for path in (resources.files("cohortreg") / "report" / "static").iterdir()}
        assert {path.split("/")[-1] for path in scripts[:-3]} <= static


def test_an_image_id_is_text_wherever_it_stands(written):
    _, _, report, _ = written
    found = Links(report.pair("b", EVIL).read_text("utf-8")).found
    assert not [attributes for tag, attributes in found if "onerror" in attributes]
    assert (
        next(attributes for tag, attributes in found if attributes.get("id") == "rating")["data-fixed"]
        == EVIL
    )


def test_where_scripts_are_off_there_is_a_picture_and_every_measure(written):
    _, config, report, _ = written
    text = report.pair("a", "b").read_text("utf-8")
    found = Links(text).found
    assert "hidden" in next(attributes for _, attributes in found if attributes.get("id") == "viewer")
    (source,) = [attributes["src"] for tag, attributes in found if tag == "img"]
    pixels = np.asarray(Picture.open(io.BytesIO(base64.b64decode(source.split(",")[1]))))
    assert pixels.shape[1] > 400 and pixels.shape[2] == 3 and pixels.std() > 20
    for cells in (method["cells"] for method in script(report, "a", "b")["methods"]):
        assert all(f'<td class="number">{cell}</td>' in text for cell in cells)
    for name in config.structures:
        assert name.replace("_", " ") in text


def test_a_deleted_transform_is_named_and_the_rest_shown(results, tmp_path):
    layout = Layout(tmp_path / "results")
    shutil.copytree(results[0].root, layout.root)
    shutil.rmtree(layout.forward("icon-3step", "a", "b").parents[1])
    layout.forward("affine", "a", "b").write_bytes(b"cut short")
    page = show_pair(OnDisk(layout), results[1], rows_of(layout, "a", "b"), pages=1)
    main = method_of(page, "icon-3step")
    assert main["volumes"] is None and "deleted" in main["absent"]
    assert main["dice"] != "–"  # the tables still have it
    assert "is cut short or damaged" in method_of(page, "affine")["absent"]
    assert str(tmp_path) not in json.dumps(page)
    assert method_of(page, "identity")["volumes"] and page["pictured"] == "identity"


def test_without_the_images_a_page_has_the_measures(results, tmp_path):
    layout = Layout(tmp_path / "results")
    shutil.copytree(results[0].root, layout.root)
    layout.image("a").unlink()
    report = ReportLayout(tmp_path / "report")
    write_pair_pages(report.root, read_comparison(layout, results[1]), templates())
    page = script(report, "a", "b")
    assert page["start"] is None and "images/a.nii.gz: no such file" in page["absent"]
    assert "nothing to look at" in report.pair("a", "b").read_text("utf-8")
    assert script(report, "b", EVIL)["start"]
    assert not report.image("a").exists() and report.image("b").exists()


def test_failed_registrations_are_named_and_their_pairs_come_last(failing, tmp_path):
    layout, config = failing
    assert len(choose_pairs(read_comparison(layout, config))) == 3  # of each the main method failed
    page = show_pair(OnDisk(layout), config, rows_of(layout, "b", EVIL), pages=1)
    assert method_of(page, "affine")["absent"] == "Registration failed: <exit 1>"
    assert method_of(page, "icon-3step")["volumes"] is None
    assert method_of(page, "affine")["folds"] is None
    report = ReportLayout(tmp_path)
    write_pair_pages(report.root, read_comparison(layout, config), templates())
    assert "&lt;exit 1&gt;" in report.pair("b", EVIL).read_text("utf-8")


def test_without_labels_there_are_images_and_no_dice(bare, tmp_path):
    layout, config = bare
    report = ReportLayout(tmp_path)
    pages = write_pair_pages(report.root, read_comparison(layout, config), templates())
    page = script(report, *pages[0])
    assert not page["labelled"] and image_of(report, pages[0][0])["label"] is None
    assert "label" not in page["methods"][0]["volumes"]
    assert not any("Dice" in heading for heading in page["columns"])
    assert page["start"] == [5, 6, 4]


def test_as_many_pages_as_are_asked_for_always_with_best_and_median(results):
    comparison = read_comparison(*results)
    one = comparison.pairs[comparison.pairs["method"] == comparison.main_method].iloc[:1]
    pairs = pd.concat(one.assign(moving=f"m{n:02}", fixed="f", dice_mean=n / 20) for n in range(20))

    def chosen(pages: int) -> list[str]:
        config = comparison.config.model_copy(update={"report": Report(pages=pages)})
        return [moving for moving, _ in choose_pairs(replace(comparison, pairs=pairs, config=config))]

    assert chosen(0) == []
    assert chosen(5) == ["m00", "m01", "m02", "m10", "m19"]
    assert chosen(1) == ["m00", "m10", "m19"]
    assert chosen(100) == [f"m{n:02}" for n in range(20)]


def test_a_2d_pair_is_a_volume_of_one_slice(tmp_path):
    layout = Layout(tmp_path)
    affine = np.array([[0.5, 0, -4.5], [0, 2, -22], [0, 0, 1]])
    rng = np.random.default_rng(1)
    mask = np.zeros((10, 12), np.uint8)
    mask[2:6, 3:9] = 1
    for name in ("a", "b"):
        write_image(layout.image(name), Image(rng.random((10, 12)).astype(np.float32), affine))
        write_image(layout.label(name), Image(mask, affine))
    displacement = np.zeros((2, 10, 12), np.float32)
    displacement[0] = -1.0  # to the patient's right: two voxels
    write_coded(layout.forward("affine", "a", "b"), Transform(displacement, Grid((10, 12), affine)))
    values = {
        "dice_mean": 0.5,
        "dice_it": 0.5,
        "hd95_mean": 1.0,
        "folds": 0,
        "folds_percent": 0.0,
        "failure": "",
    }
    values |= {"log_jacobian_std": 0.0, "inverse_consistency_voxels": 0.0, "time_s": 1.0}
    rows = pd.DataFrame([{"method": "affine", "moving": "a", "fixed": "b", **values}])
    config = configuration(models=False).model_copy(update={"methods": ["affine"], "structures": {"it": [1]}})
    page = show_pair(OnDisk(layout), config, rows, pages=1)
    image = show_image(OnDisk(layout), "b", config.structures)["image"]
    assert image["shape"] == [10, 12, 1] and image["spacing"] == [0.5, 2.0, 1.0]
    of_method = page["methods"][0]["volumes"]
    assert of_method["jacobian"]["shape"] == [5, 6, 1]
    pixels = unpack(of_method["label"])[..., 0, 1]
    assert (pixels[0:4, 3:9] == 255).all() and (pixels[4:] == 0).all()
    assert unpack(of_method["map"])[..., 2].max() == 0
    low, high = of_method["map"]["low"], of_method["map"]["high"]
    shown = low[0] + unpack(of_method["map"])[..., 0] / 255 * (high[0] - low[0])
    np.testing.assert_allclose(shown, 1.0, atol=1e-6)
    assert page["picture"].startswith("data:image/webp;base64,")


def test_a_large_volume_becomes_blocks_whose_map_is_that_of_their_centres(monkeypatch):
    monkeypatch.setattr(volumes, "VOXELS_AT_MOST", 1000)
    shape, spacing = (16, 20, 24), [1.0, 1.0, 3.0]
    sizes = volumes.block_sizes(shape, spacing)
    assert sizes == (3, 3, 1)  # cubes of 3 mm, of which there are 5 x 6 x 24
    image = Image(np.random.default_rng(1).random(shape).astype(np.float32), np.diag([*spacing, 1.0]))
    small = volumes.shrunk_image(image, sizes)
    np.testing.assert_allclose(
        small.array[0, 0, 0], image.array[tuple(slice(n) for n in sizes)].mean(), rtol=1e-5
    )
    np.testing.assert_allclose(small.affine[:3, 3], (np.array(sizes) - 1) / 2 * spacing)
    images = Images(small, small, sizes, image.grid, None)
    shift = np.zeros((3, *shape), np.float32)
    shift[2] = 3.0 * sizes[2]  # one voxel of the page
    found = register(images, Transform(shift, image.grid), {})
    np.testing.assert_allclose(found.warped[:, :, :-1], small.array[:, :, 1:], atol=1e-4)
    np.testing.assert_allclose(found.displacement[2], 3.0 * sizes[2], atol=1e-5)
    assert found.folded.shape == small.shape and not found.folded.any()


def test_a_mosaic_has_every_slice_in_its_place():
    volume = np.arange(3 * 4 * 7, dtype=np.uint8).reshape(3, 4, 7)
    np.testing.assert_array_equal(unpack(volumes.packed(volume, [1, 1, 1]))[..., 0], volume)


def test_of_more_structures_than_a_picture_tells_apart_the_first_are_drawn(results, monkeypatch):
    layout, config = results
    monkeypatch.setattr(pair_pages.pair_volumes, "DRAWN", 1)
    page = show_pair(OnDisk(layout), config, rows_of(layout, "a", "b"), pages=1)
    assert [structure["name"] for structure in page["structures"]] == ["core"]
    assert page["absent"] == "Outlines are of the first 1 of 2 structures."
    assert "outer rim" in page["columns"]  # all of them are measured
    label = unpack(show_image(OnDisk(layout), "a", config.structures)["label"])
    assert label[..., 0].max() == 1


def test_an_image_that_was_mirrored_is_said_to_be(results, tmp_path):
    layout, config = results
    copy = Layout(tmp_path / "results")
    shutil.copytree(layout.root, copy.root)
    write_json(copy.sidecar("b"), {"mirrored": True})
    write_json(copy.sidecar("a"), {"mirrored": False})
    write_pair_pages(tmp_path, read_comparison(copy, config), templates())
    report = ReportLayout(tmp_path)
    assert script(report, "a", "b")["mirrored"] == ["fixed"]
    assert script(report, "b", EVIL)["mirrored"] == ["moving"]
    assert script(report, EVIL, "a")["mirrored"] == []
    assert "fixed image (mirrored)" in report.pair("a", "b").read_text("utf-8")
    figure = pair_figure(read_pair(OnDisk(copy), "affine", "a", "b"), config.structures, "a to b")
    assert [axes.get_title() for axes in figure.axes[:4]][:3] == ["moving", "fixed (mirrored)", "warped"]
    plt.close(figure)
