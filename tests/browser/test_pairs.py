"""The table of pairs: found, sorted, filtered, kept in the address."""

import math
import re
import shutil

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select

from cohortreg.evaluation import numbers as evaluation_numbers
from cohortreg.evaluation.csv_files import read_table
from cohortreg.report_layout import ReportLayout

from .conftest import resize

FAST = 300  # milliseconds, which the table has to answer in


def numbers(texts: list[str]) -> list[float]:
    return [float(text.replace(",", "")) for text in texts]


def expected(layout, method: str, column: str = "dice_mean"):
    """A method's values of the table of pairs."""
    table = read_table(layout.pairs_table)
    return table.loc[table["method"] == method, column]


def test_the_main_methods_worst_pairs_come_first(page, small):
    assert page.part("count").text == "40 of 120 rows"
    assert set(page.column("method")) == {"demons"}
    assert not page.head_of("method").is_displayed() and page.head_of("moving").is_displayed()
    Select(page.part("method")).select_by_visible_text("all")
    assert page.head_of("method").is_displayed()
    Select(page.part("method")).select_by_visible_text("demons")
    shown = numbers(page.column("dice_mean"))
    worst = sorted(expected(small, "demons"))[: len(shown)]
    assert shown == pytest.approx([100 * dice for dice in worst], abs=0.006)
    assert page.head("Dice").get_attribute("aria-sort") == "ascending"


def test_headings_sort_by_mouse_and_keyboard(page):
    page.press(page.head("Time").find_element(By.TAG_NAME, "button"))
    times = numbers(page.column("time_s"))
    assert times == sorted(times, reverse=True)
    assert page.head("Time").get_attribute("aria-sort") == "descending"
    assert page.head("Dice").get_attribute("aria-sort") is None
    page.head("Time").find_element(By.TAG_NAME, "button").send_keys(Keys.ENTER)
    times = numbers(page.column("time_s"))
    assert times == sorted(times)
    page.press(page.head("Moving").find_element(By.TAG_NAME, "button"))
    names = page.column("moving")
    assert names[:11] == [f"k{number}" for number in range(11)]


def test_bars_filter_and_combine_and_a_second_click_takes_it_back(page):
    bars = page.bars("Dice [%]")
    best = bars[-1]
    page.press(best)
    assert best.get_attribute("aria-pressed") == "true"
    assert best.get_attribute("aria-label").endswith(f": {page.count()} rows")
    dice, alone = numbers(page.column("dice_mean")), page.count()
    assert 0 < alone < 40 and len(dice) == alone
    limit = float(best.get_attribute("aria-label").split(" from ")[1].split(" on")[0])
    assert min(dice) >= limit - 0.006
    page.press(page.bars("Time [s]")[2])
    assert page.count() < alone
    assert len(page.all(".range")) == 2
    page.press(best)
    page.press(page.bars("Time [s]")[2])
    assert page.count() == 40 and not page.all(".range")


def test_bars_are_reached_and_joined_by_the_keyboard(page):
    bars = page.bars("Folds")
    assert [bar.get_attribute("tabindex") for bar in bars] == ["0"] + ["-1"] * (len(bars) - 1)
    bars[0].send_keys(Keys.ENTER)
    first = page.count()
    bars[0].send_keys(Keys.ARROW_RIGHT)
    focused = page.driver.switch_to.active_element
    assert focused == bars[1]
    assert page.run("return getComputedStyle(document.activeElement).outlineStyle") == "solid"
    focused.send_keys(Keys.SHIFT, Keys.ENTER)
    assert page.count() >= first
    assert [bar.get_attribute("aria-pressed") for bar in bars[:3]] == ["true", "true", "false"]
    page.press(page.find(".range"))
    assert page.count() == 40


def test_filters_of_method_set_and_ids_and_clearing_them(page):
    Select(page.part("method")).select_by_visible_text("all")
    assert page.part("count").text == "120 of 120 rows"
    Select(page.part("set")).select_by_visible_text("years")
    assert page.part("count").text == "30 of 120 rows"
    assert set(page.column("set")) == {"years"}
    page.part("text").send_keys("K31 32")
    assert page.part("count").text == "3 of 120 rows"
    assert set(page.column("moving")) == {"k31"} and set(page.column("fixed")) == {"k32"}
    page.part("text").send_keys("nothing")
    assert page.part("nothing").is_displayed() and page.column("moving") == []
    page.press(page.part("clear"))
    assert page.part("count").text == "40 of 120 rows"
    assert page.part("text").get_attribute("value") == ""


def test_what_is_shown_is_kept_in_the_address_and_on_the_way_back(page):
    Select(page.part("method")).select_by_visible_text("affine")
    page.press(page.bars("Folds")[0])
    page.press(page.head("HD95").find_element(By.TAG_NAME, "button"))
    shown, order = page.part("count").text, page.column("moving")
    page.wait(lambda: "sort=hd95_mean" in page.driver.current_url)
    address = page.driver.current_url.partition("#")[2]
    page.run("location.href = 'figures/dice.svg'")
    page.wait(lambda: page.driver.current_url.endswith(".svg"))
    page.driver.back()
    page.wait_until_ready()
    assert page.part("count").text == shown and page.column("moving") == order
    page.driver.get("about:blank")
    page.open(f"#{address}")
    assert page.part("count").text == shown and page.column("moving") == order
    assert Select(page.part("method")).first_selected_option.text == "affine"


def test_an_address_that_makes_no_sense_is_as_none(page):
    page.open("#pairs?method=x&rating=x&set=x&sort=x&in.dice_mean=x..y&in.x=1..2")
    assert page.part("count").text == "40 of 120 rows"


def test_what_failed_stands_there_as_text_and_is_found(page):
    Select(page.part("method")).select_by_visible_text("affine")
    page.press(page.head("Failure").find_element(By.TAG_NAME, "button"))
    assert page.column("failure")[:2] == ["out of memory <b>", ""]
    assert page.column("dice_mean")[0] == "–"


def test_of_5000_pairs_few_are_in_the_page_and_a_sort_is_fast(page, large):
    page.open(index=large.report.index)
    assert page.part("count").text == "5,000 of 5,000 rows"
    assert len(page.column("dice_mean")) < 80
    for key in ("folds", "moving", "dice_mean", "time_s"):
        took = page.run(
            """
            const button = document.querySelector(`.rows th[data-key=${arguments[0]}] button`);
            const start = performance.now();
            button.click();
            document.body.getBoundingClientRect(); // the page is laid out again
            return performance.now() - start;
            """,
            key,
        )
        assert took < FAST, f"{key}: {took} ms"
    times = numbers(page.column("time_s"))
    assert times == sorted(times, reverse=True)
    page.run("document.querySelector('[data-part=box]').scrollTop = 1e9")
    page.wait(lambda: page.all("tr[aria-rowindex='5001']"))
    least = expected(large, "demons", "time_s").min()
    assert numbers(page.column("time_s"))[-1] == pytest.approx(least, abs=0.006)
    assert len(page.column("time_s")) < 80


@pytest.mark.parametrize(("width", "height"), [(1440, 900), (1024, 768), (390, 844)])
def test_the_page_is_as_wide_as_the_window(page, width, height):
    resize(page, width, height)
    assert page.run("return document.documentElement.scrollWidth") <= width
    assert page.part("box").is_displayed()


def test_dark_where_the_reader_prefers_it(page):
    light = page.run("return getComputedStyle(document.body).backgroundColor")
    resize(page, 1440, 900, dark=True)
    assert page.run("return getComputedStyle(document.body).backgroundColor") != light


def test_everything_that_can_be_pressed_has_a_name(page):
    nodes = page.driver.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    roles = {"button", "combobox", "searchbox", "textbox", "link", "toolbar", "image", "region"}
    asked = [node for node in nodes if node.get("role", {}).get("value") in roles and not node["ignored"]]
    assert len(asked) > 100
    assert [node for node in asked if not node.get("name", {}).get("value")] == []


def test_on_paper_the_first_rows_stand_below_each_other(page, large):
    page.open(index=large.report.index)
    page.run(
        """
        addEventListener("beforeprint", () => (window.printed = document.querySelectorAll(".rows tbody tr").length));
        """
    )
    page.driver.execute_cdp_cmd("Page.printToPDF", {})
    assert page.run("return window.printed") == 100 + 2
    assert len(page.column("dice_mean")) < 80


def test_without_scripts_the_worst_pairs_are_a_plain_table(page, small):
    page.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        page.driver.get(page.index.as_uri())
        rows = page.all("#pairs .scroll tbody tr")
        assert len(rows) == 40 and not page.part("box").is_displayed()
        assert rows[0].text.split()[:2] == worst_names(small)
    finally:
        page.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


def worst_names(layout) -> list[str]:
    table = read_table(layout.pairs_table)
    rows = table[table["method"] == "demons"]
    return rows.loc[rows["dice_mean"].idxmin(), ["moving", "fixed"]].tolist()


def test_a_pairs_page_is_a_click_away_and_the_way_back_leads_to_the_same_rows(page, large, tmp_path):
    shutil.copytree(large.report.root, tmp_path / "report")
    report = ReportLayout(tmp_path / "report")
    # Odd pages only; the second one's name has what addresses have to escape.
    text = report.rows(0).read_text("utf-8")
    pages = ",".join(str(row % 2) for row in range(5000))
    report.rows(0).write_text(
        re.sub(r'"page": \[[^]]*\]', f'"page": [{pages}]', text.replace('"k7"', '"k?#7"'))
    )
    for number in range(80):
        for other in range(80):
            names = [f"k{'?#' if one == 7 else ''}{one}" for one in (number, other)]
            report.pair(*names).parent.mkdir(parents=True, exist_ok=True)
            report.pair(*names).write_text(f'<link rel="icon" href="data:,">{" to ".join(names)}')
    page.open(index=report.index)
    page.part("text").send_keys("?#7")
    page.run("document.querySelector('[data-part=box]').scrollTop = 900")
    page.wait(lambda: page.all("tr[aria-rowindex='40']"))
    address, count = page.driver.current_url, page.part("count").text
    link = page.all(".rows tbody a")[len(page.all(".rows tbody a")) // 2]
    name = link.get_attribute("aria-label")
    page.press(link)
    page.wait(lambda: page.driver.current_url != address and page.find("body").text == name)
    page.driver.back()
    page.wait_until_ready()
    assert page.part("count").text == count and page.part("text").get_attribute("value") == "?#7"
    page.wait(lambda: name in [link.get_attribute("aria-label") for link in page.all(".rows tbody a")])
    assert page.run("return document.querySelector('[data-part=box]').scrollTop") > 500


@pytest.mark.parametrize("kind", ["dice", "count", "percent", "distance", "spread", "seconds"])
def test_numbers_are_written_as_in_the_tables(page, kind):
    values = [
        0,
        0.0004,
        0.004,
        0.01234,
        0.5,
        0.99951,
        1,
        3.456,
        9.996,
        12.34,
        99.4,
        345.6,
        1234.5,
        1e6,
        math.nan,
    ]
    written = page.run(
        "return arguments[1].map(value => cohortreg.numbers.format(arguments[0], value === null ? NaN : value))",
        kind,
        [None if math.isnan(value) else value for value in values],
    )
    python = [getattr(evaluation_numbers, kind)(value) for value in values]
    assert written == python


def test_a_part_that_is_missing_is_told(page, small, tmp_path):
    shutil.copytree(small.report.root, tmp_path / "report")
    (tmp_path / "report" / "rows" / "0.js").unlink()
    page.open(index=tmp_path / "report" / "index.html")
    assert "rows/0.js is missing" in page.part("missing").text
    assert page.part("count").text == "0 of 120 rows"
    assert any("0.js" in message for message in page.messages())


def test_a_script_that_is_missing_is_told(page, small, tmp_path):
    shutil.copytree(small.report.root, tmp_path / "report")
    (tmp_path / "report" / "static" / "histograms.js").unlink()
    assert not page.find("#broken").is_displayed()
    page.driver.get((tmp_path / "report" / "index.html").as_uri())
    page.wait(lambda: page.find("#broken").is_displayed())
    assert "tables/pairs.csv has every pair" in page.find("#broken").text
    assert any("histograms.js" in message for message in page.messages())


def test_a_single_pair_without_labels_and_figures(page, unlabelled):
    page.open(index=unlabelled.report.index)
    assert page.part("count").text == "1 of 1 rows"
    assert page.column("moving") == ["k0"]
    assert not page.bars("Dice [%]") and len(page.bars("Folds")) == 1
    text = page.find("main").text
    assert "No pair has a value of: Dice [%], HD95 [mm], since the cohort has no labels." in text
    assert "The file of this figure is missing: figures/folds.png." in text


def test_a_script_that_is_not_the_report_s_does_not_run(page):
    page.run("""
        const script = document.createElement("script");
        script.textContent = "window.ran = 'a script in the page'";
        const image = document.createElement("img");
        image.setAttribute("onerror", "window.ran = 'a handler'");
        image.src = "gone.png";
        document.body.append(script, image);
    """)
    page.wait(lambda: page.run("return [...document.images].at(-1).complete"))
    assert page.run("return window.ran") is None
    refused = [message for message in page.messages() if "Content Security Policy" in message]
    assert len(refused) == 2
