"""Ratings: kept in the browser, saved for the workflow, read again."""

from pathlib import Path

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import Select

from cohortreg.cohort.tables import read_ratings


def rate(page, row: int, rating: str) -> tuple[str, str]:
    """Rate the pair of a row of the table; which pair it is."""
    Select(page.all(".rows tbody select")[row]).select_by_visible_text(rating)
    return page.column("moving")[row], page.column("fixed")[row]


def saved(page) -> Path:
    """The file that the page's button saves."""
    page.press(page.part("save"))
    return page.saved()


def shown(page) -> list[str]:
    return [Select(select).first_selected_option.text for select in page.all(".rows tbody select")]


def test_ratings_are_of_a_pair_whatever_the_method_and_outlast_a_reload(page):
    moving, fixed = rate(page, 0, "bad")
    rate(page, 2, "good")
    assert page.part("rated").text == "2 pairs rated"
    page.reload()
    assert shown(page)[:3] == ["bad", "–", "good"]
    Select(page.part("method")).select_by_visible_text("all")
    Select(page.part("rating")).select_by_visible_text("bad")
    assert page.part("count").text == "3 of 120 rows"
    assert set(zip(page.column("moving"), page.column("fixed"), strict=True)) == {(moving, fixed)}
    Select(page.part("rating")).select_by_visible_text("not rated")
    assert page.part("count").text == "114 of 120 rows"


def test_the_workflow_reads_what_the_page_saves(page):
    pairs = [rate(page, row, rating) for row, rating in enumerate(["bad", "doubtful", "good"])]
    # As a pair's page does, with a note that would break a table.
    page.run(
        "cohortreg.ratings.set(arguments[0], arguments[1], 'bad', 'upside\\tdown\\nI think ')", *pairs[0]
    )
    ratings = read_ratings(saved(page)).set_index(["moving", "fixed"])
    assert ratings.loc[pairs[0]].tolist() == ["bad", "upside down I think"]
    assert [ratings.loc[pair, "rating"] for pair in pairs] == ["bad", "doubtful", "good"]
    assert len(ratings) == 3


def test_a_saved_file_is_read_again_and_counts_more_than_what_is_there(page):
    first, second = rate(page, 0, "bad"), rate(page, 1, "doubtful")
    path = saved(page)
    page.run("localStorage.clear()")
    page.reload()
    assert page.part("rated").text == "0 pairs rated"
    rate(page, 0, "good")
    rate(page, 2, "good")
    page.part("load").send_keys(str(path))
    page.wait(lambda: page.part("said").text == "qc.tsv: 2 ratings read.")
    assert page.part("rated").text == "3 pairs rated"
    assert shown(page)[:3] == ["bad", "doubtful", "good"]
    assert page.run("return cohortreg.ratings.get(arguments[0], arguments[1])", *first)["rating"] == "bad"
    assert (
        page.run("return cohortreg.ratings.get(arguments[0], arguments[1])", *second)["rating"] == "doubtful"
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("moving\tfixed\nk0\tk1\n", "The file has no column rating"),
        ("moving\tfixed\trating\nk0\tk1\tgood\nk1\tk2\tawful\n", 'Row 3, column rating: "awful" is not'),
        ("moving\tfixed\trating\nk0\t\tgood\n", "Row 2, column fixed: is empty"),
    ],
)
def test_a_wrong_file_is_told_and_changes_nothing(page, tmp_path, text, words):
    rate(page, 0, "good")
    (tmp_path / "wrong.tsv").write_text(text)
    page.part("load").send_keys(str(tmp_path / "wrong.tsv"))
    page.wait(lambda: words in page.part("said").text)
    assert page.part("rated").text == "1 pair rated"


def test_taking_a_rating_back_forgets_it(page):
    rate(page, 0, "good")
    rate(page, 0, "–")
    assert page.run("return cohortreg.ratings.all()") == []
    assert not page.part("save").is_enabled()


def test_a_rated_row_stays_where_it_is_until_something_else_is_chosen(page):
    Select(page.part("rating")).select_by_visible_text("not rated")
    before = page.column("moving")
    rate(page, 0, "bad")
    assert page.column("moving") == before
    assert page.driver.switch_to.active_element.get_attribute("aria-label").startswith("Rating of")
    page.press(page.head("Moving").find_element(By.TAG_NAME, "button"))
    assert page.part("count").text == "39 of 120 rows"


def test_a_note_is_written_in_the_table_too(page):
    """Not every pair has a page."""
    pair = rate(page, 0, "doubtful")
    note = page.all(".rows tbody td.rating button")[0]
    assert note.get_attribute("aria-label") == f"Note on {pair[0]} to {pair[1]}"

    def write(words: str | None) -> dict | None:
        page.press(note)
        prompt = page.driver.switch_to.alert
        if words is None:
            prompt.dismiss()
        else:
            prompt.send_keys(words)
            prompt.accept()
        return page.run("return cohortreg.ratings.get(arguments[0], arguments[1])", *pair)

    assert write("much noise") == {"rating": "doubtful", "note": "much noise"}
    assert note.get_attribute("title") == "much noise" and "noted" in note.get_attribute("class")
    assert write(None) == {"rating": "doubtful", "note": "much noise"}
    rate(page, 0, "bad")
    assert read_ratings(saved(page)).iloc[0].tolist() == [*pair, "bad", "much noise"]
