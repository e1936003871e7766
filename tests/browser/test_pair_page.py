"""A pair's page: opened from the table, its slices moved, blended, compared; rated."""

import base64
import io
import json
import re
import shutil
from urllib.parse import unquote

import numpy as np
import pytest
from cohorts import make_results
from PIL import Image as Picture
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.actions.wheel_input import ScrollOrigin
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select

from cohortreg.cohort.tables import read_ratings
from cohortreg.jobs.comparison import read_comparison
from cohortreg.jobs.report import write_report
from cohortreg.report_layout import ReportLayout

from .conftest import Page, resize

METHODS = ["identity", "affine", "icon-2step", "icon-3step"]
PLANES = ["sagittal", "coronal", "axial"]


@pytest.fixture(scope="session")
def cohort(tmp_path_factory):
    """Three pairs of noisy images by four methods, one of them without its transforms; its report is written."""
    layout, config = make_results(tmp_path_factory.mktemp("cohort"))
    for path in layout.forward("affine", "a", "b").parents[1].rglob("*.map.gz"):
        path.unlink()
    write_report(layout, read_comparison(layout, config))
    return layout


@pytest.fixture
def pair(page, cohort) -> Page:
    """The page of the worst pair, opened from the table of pairs."""
    page.open(index=cohort.report.index)
    page.run("localStorage.clear(); sessionStorage.clear()")
    page.press(page.all(".rows tbody a")[0])
    return ready(page)


def ready(page) -> Page:
    """Wait until a pair's page has drawn."""
    page.wait(lambda: page.run("return document.documentElement.classList.contains('live')"))
    page.wait(lambda: pixels(page, page.all("canvas")[0]).any())
    return page


def pixels(page, canvas) -> np.ndarray:
    """What a canvas shows, [rows, columns, 3], after whatever was asked is drawn."""
    script = """
        const done = arguments[1];
        requestAnimationFrame(() => requestAnimationFrame(() => done(arguments[0].toDataURL())));
    """
    address = page.driver.execute_async_script(script, canvas)
    return np.asarray(
        Picture.open(io.BytesIO(base64.b64decode(address.split(",")[1]))).convert("RGB")
    ).astype(int)


def panel(page, plane: str, name: str):
    """The canvas of a panel or, side by side, of a method."""
    return page.find(f"canvas[aria-label='{plane} slice: {name}']")


def voxel(page) -> list[int]:
    """Where the cross-hair is, as is said below the slices."""
    page.driver.execute_async_script("requestAnimationFrame(() => requestAnimationFrame(arguments[0]))")
    return [int(number) for number in re.match(r"Voxel ([\d, ]+)", page.find("#readout").text)[1].split(", ")]


def tick(page, name: str, value: str = "") -> None:
    selector = f"#tools input[name={name}]" + (f"[value='{value}']" if value else "")
    page.press(page.find(selector))


def slide(page, selector: str, value: int) -> None:
    """Move a slider as its user would, with the events that this makes."""
    page.run(
        "arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('input', {bubbles: true}))",
        page.find(selector),
        value,
    )


def test_the_worst_pair_opens_from_the_table_with_the_main_method(pair):
    assert "/report/pairs/" in pair.driver.current_url
    assert Select(pair.find("#method")).first_selected_option.text == METHODS[-1]
    assert len(pair.all("canvas")) == 15
    assert pair.find(".pages").text.startswith("1 of 3, worst first")
    assert not pair.find(".picture").is_displayed()
    pair.press(pair.find(".up a"))
    pair.wait_until_ready()


def test_a_slider_changes_the_slice_in_every_panel_and_the_cross_hair_in_the_other_planes(pair):
    before = {plane: pixels(pair, panel(pair, plane, "fixed")) for plane in PLANES}
    moving = pixels(pair, panel(pair, "axial", "moving"))
    place = voxel(pair)
    slide(pair, "#slice-axial", 1)
    assert voxel(pair) == [*place[:2], 2]
    assert not np.array_equal(before["axial"], pixels(pair, panel(pair, "axial", "fixed")))
    assert not np.array_equal(moving, pixels(pair, panel(pair, "axial", "moving")))
    tick(pair, "cross")
    still = pixels(pair, panel(pair, "sagittal", "fixed"))
    slide(pair, "#slice-axial", 5)
    assert np.array_equal(
        still, pixels(pair, panel(pair, "sagittal", "fixed"))
    )  # but for the cross-hair, the same


def test_a_click_moves_the_cross_hair_to_the_voxel_that_is_there(pair):
    """The patient's right is at the left and the front on top: the first voxel is at the lower right."""
    canvas = panel(pair, "axial", "warped")
    pair.run("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", canvas)
    width, height = canvas.size["width"], canvas.size["height"]
    shape, spacing = (10, 12, 8), (2.0, 1.0, 1.5)
    scale = height / (shape[1] * spacing[1])
    right = width / 2 + shape[0] * spacing[0] * scale / 2
    there = [right - 2.5 * spacing[0] * scale, height - 4.5 * spacing[1] * scale]
    offset = [round(there[0] - width / 2), round(there[1] - height / 2)]
    ActionChains(pair.driver).move_to_element_with_offset(canvas, *offset).click().perform()
    z = voxel(pair)[2]
    assert voxel(pair) == [3, 5, z]
    assert pair.find("#slice-sagittal").get_attribute("value") == "2"
    # Slices have the focus now.
    ActionChains(pair.driver).send_keys(Keys.ARROW_LEFT, Keys.ARROW_UP, Keys.ARROW_UP, Keys.PAGE_UP).perform()
    assert voxel(pair) == [4, 7, z + 1]
    ActionChains(pair.driver).scroll_from_origin(ScrollOrigin.from_element(canvas), 0, 120).perform()
    pair.wait(lambda: voxel(pair) == [4, 7, z])


def test_blending_ends_at_the_fixed_image(pair):
    for name in ("outlines", "folds"):
        tick(pair, name)
    warped, fixed = (pixels(pair, panel(pair, "coronal", name)) for name in ("warped", "fixed"))
    assert not np.array_equal(warped, fixed)
    slide(pair, "#blend", 50)
    half = pixels(pair, panel(pair, "coronal", "warped"))
    np.testing.assert_allclose(half, (warped + fixed) / 2, atol=12)  # enlarging is not linear at edges
    assert "warped 50 %, fixed 50 %" in pair.find("#panels-coronal").text
    slide(pair, "#blend", 0)
    assert np.array_equal(pixels(pair, panel(pair, "coronal", "warped")), fixed)
    pair.find("body").send_keys("t")
    assert np.array_equal(pixels(pair, panel(pair, "coronal", "warped")), warped)


def test_another_method_is_chosen_in_the_table_or_the_list(pair):
    before = pixels(pair, panel(pair, "axial", "warped"))
    pair.press(pair.all("#measures tbody label")[0])
    assert Select(pair.find("#method")).first_selected_option.text == "identity"
    pair.wait(lambda: not np.array_equal(before, pixels(pair, panel(pair, "axial", "warped"))))
    Select(pair.find("#method")).select_by_visible_text("affine")
    pair.wait(lambda: "affine: Its transform was deleted" in pair.find("#absent").text)
    assert pair.find("#measures tr.shown th").text.startswith("affine")
    pair.find("body").send_keys("m")
    pair.wait(lambda: Select(pair.find("#method")).first_selected_option.text == "identity")


def test_every_method_side_by_side_at_the_same_place(pair):
    tick(pair, "mode", "all")
    pair.wait(lambda: len(pair.all("canvas")) == 4)  # fixed, and three methods in one plane
    assert [button.text for button in pair.all("figcaption button")] == [
        "identity",
        "icon-2step",
        "icon-3step",
    ]
    assert "affine" in pair.find("#absent").text
    shown = [pixels(pair, canvas) for canvas in pair.all("canvas")]
    assert all(picture.std() > 10 for picture in shown)
    slide(pair, "#slice-sagittal", 2)
    assert not any(
        np.array_equal(picture, pixels(pair, canvas))
        for picture, canvas in zip(shown, pair.all("canvas"), strict=True)
    )
    tick(pair, "plane", "")
    pair.wait(lambda: len(pair.all("canvas")) == 12)
    pair.press(pair.all("figcaption button")[1])
    pair.wait(lambda: len(pair.all("canvas")) == 15)
    assert Select(pair.find("#method")).first_selected_option.text == "icon-2step"


def test_the_deformed_grid_and_folds_are_drawn_when_asked(pair):
    for name in ("cross", "outlines", "folds"):
        tick(pair, name)
    plain = pixels(pair, panel(pair, "axial", "Jacobian"))
    tick(pair, "folds")
    folds = pixels(pair, panel(pair, "axial", "Jacobian"))
    assert (folds.sum(2) == 0).sum() > (plain.sum(2) == 0).sum()
    red = pixels(pair, panel(pair, "axial", "warped"))
    assert ((red == [255, 45, 32]).all(2)).any()
    tick(pair, "folds")
    tick(pair, "grid")
    assert not np.array_equal(plain, pixels(pair, panel(pair, "axial", "Jacobian")))


def test_what_is_shown_stays_for_the_next_pair(pair):
    first = pair.driver.current_url
    tick(pair, "mode", "all")
    pair.wait(lambda: len(pair.all("canvas")) == 4)
    pair.find("body").send_keys("n")
    pair.wait(lambda: unquote(pair.driver.current_url) != unquote(first))
    ready(pair)
    assert len(pair.all("canvas")) == 4
    pair.find("body").send_keys("p")
    pair.wait(lambda: unquote(pair.driver.current_url) == unquote(first))
    ready(pair)


def test_a_rating_and_its_note_outlast_a_reload_and_are_saved(pair):
    pair.find("body").send_keys("d")
    assert pair.find("input[name=rating][value=doubtful]").is_selected()
    pair.find("#note").send_keys("bad good nose ")
    assert pair.find("input[name=rating][value=doubtful]").is_selected()  # letters of a note are no keys
    assert pair.find("#note").get_attribute("value") == "bad good nose "
    pair.driver.refresh()
    ready(pair)
    assert pair.find("input[name=rating][value=doubtful]").is_selected()
    assert pair.find("#note").get_attribute("value") == "bad good nose"
    pair.press(pair.find("#save"))
    row = read_ratings(pair.saved()).iloc[0]
    form = pair.find("#rating")
    assert [row["moving"], row["fixed"]] == [
        form.get_attribute(f"data-{name}") for name in ("moving", "fixed")
    ]
    assert [row["rating"], row["note"]] == ["doubtful", "bad good nose"]


def test_a_browser_decodes_lossless_volumes_exactly(pair, cohort):
    script = """
        const [address, done] = arguments;
        const picture = new Image();
        picture.onload = () => {
          const canvas = document.createElement("canvas");
          [canvas.width, canvas.height] = [picture.width, picture.height];
          const context = canvas.getContext("2d");
          context.drawImage(picture, 0, 0);
          done([...context.getImageData(0, 0, picture.width, picture.height).data]);
        };
        picture.src = address;
    """
    text = cohort.report.pair("a", "b", "js").read_text("utf-8")
    of_main = json.loads(text.removeprefix("cohortreg.pair(").removesuffix(");\n"))["methods"][-1]["volumes"]
    for name in ("label", "map", "folded"):
        address = of_main[name]["image"]
        shown = np.array(pair.driver.execute_async_script(script, address)).reshape(-1, 4)[:, :3]
        written = Picture.open(io.BytesIO(base64.b64decode(address.split(",")[1]))).convert("RGB")
        np.testing.assert_array_equal(shown, np.asarray(written).reshape(-1, 3))


def test_without_an_image_a_page_has_the_picture_and_says_so(pair, cohort, tmp_path):
    shutil.copytree(cohort.report.root, tmp_path / "report")
    changed = ReportLayout(tmp_path / "report")
    changed.image("a").unlink()
    pair.driver.get(changed.pair("a", "b").as_uri())
    pair.wait(lambda: pair.find("#missing").is_displayed())
    assert "a script below images/" in pair.find("#missing").text
    assert pair.find(".picture img").is_displayed() and not pair.find("#viewer").is_displayed()
    assert any("a.js" in message for message in pair.messages())


def test_without_its_script_a_page_has_the_picture_and_says_so(pair, cohort, tmp_path):
    shutil.copytree(cohort.report.root, tmp_path / "report")
    changed = ReportLayout(tmp_path / "report")
    changed.pair("a", "b", "js").unlink()
    pair.driver.get(changed.pair("a", "b").as_uri())
    pair.wait(lambda: pair.find("#missing").is_displayed())
    assert "The file b.js beside this page" in pair.find("#missing").text
    assert pair.find(".picture img").is_displayed() and not pair.find("#viewer").is_displayed()
    pair.find("body").send_keys("b")
    assert pair.find("input[name=rating][value=bad]").is_selected()
    assert any("b.js" in message for message in pair.messages())


def test_images_without_labels_have_no_outlines(page, tmp_path):
    layout, config = make_results(tmp_path, labels=False, models=False)
    write_report(layout, read_comparison(layout, config))
    page.open(index=layout.report.index)
    page.press(page.all(".rows tbody a")[0])
    ready(page)
    assert not page.find("#outlines").is_displayed()
    assert "Dice" not in page.find("#measures thead").text
    assert "folds" in page.find("#legend").text and "comparison" not in page.find("#legend").text


def test_images_of_two_dimensions_are_one_plane(page, tmp_path):
    layout, config = make_results(tmp_path, models=False, shape=(10, 12))
    write_report(layout, read_comparison(layout, config))
    page.open(index=layout.report.index)
    page.press(page.all(".rows tbody a")[0])
    ready(page)
    assert not page.find("#plane").is_displayed() and not page.find("#slice-axial").is_displayed()
    assert len(page.all("canvas")) == 5
    place = voxel(page)
    page.find("#panels-axial").send_keys(Keys.ARROW_LEFT, Keys.ARROW_UP, Keys.PAGE_UP)
    assert voxel(page) == [place[0] + 1, place[1] + 1]
    tick(page, "mode", "all")
    page.wait(lambda: len(page.all("canvas")) == 3)


def test_on_paper_there_is_the_picture(pair):
    pair.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        assert pair.find(".picture img").is_displayed() and pair.run(
            "return document.querySelector('.picture img').naturalWidth > 400"
        )
        assert not pair.find("#viewer").is_displayed()
    finally:
        pair.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


@pytest.mark.parametrize("mode", ["one", "all"])
def test_nothing_is_wider_than_a_phone(pair, mode):
    resize(pair, 390, 844)
    pair.run("sessionStorage.clear()")
    pair.driver.refresh()
    ready(pair)
    tick(pair, "mode", mode)
    pair.wait(lambda: len(pair.all("canvas")) == (5 if mode == "one" else 4))
    pair.wait(lambda: pair.run("return document.documentElement.scrollWidth") <= 390)
    assert all(canvas.rect["x"] + canvas.rect["width"] <= 390 for canvas in pair.all("canvas"))
    resize(pair, 1440, 900)
    pair.wait(lambda: pair.all("canvas")[0].size["width"] > 180)
