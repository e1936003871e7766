"""A browser that is driven as a person would use it, and reports for it to open."""

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

from cohortreg.config import Configuration
from cohortreg.evaluation.csv_files import write_table
from cohortreg.evaluation.sets import gather_sets
from cohortreg.evaluation.summaries import summarise, summarise_sets
from cohortreg.files import write_json, write_text
from cohortreg.jobs.comparison import read_comparison
from cohortreg.jobs.report import write_report
from cohortreg.layout import Layout
from cohortreg.report.figures import style
from cohortreg.report.figures.registry import FIGURES

SWITCHES = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
PROGRAMS = ("chromium", "chromedriver")
PATIENCE = 60  # seconds, for a machine that does other things


@dataclass
class Page:
    """An open report, and what tests ask of it."""

    driver: webdriver.Chrome
    index: Path
    downloads: Path

    def open(self, address: str = "", index: Path | None = None) -> "Page":
        self.index = index or self.index
        self.driver.get(self.index.as_uri() + address)
        return self.wait_until_ready()

    def wait_until_ready(self) -> "Page":
        self.wait(lambda: self.run("return document.getElementById('table').dataset.ready"))
        return self

    def reload(self) -> "Page":
        self.driver.refresh()
        return self.wait_until_ready()

    def wait(self, condition: Callable[[], object]) -> object:
        return WebDriverWait(self.driver, PATIENCE, 0.05).until(lambda _: condition())

    def run(self, script: str, *arguments: object) -> object:
        return self.driver.execute_script(script, *arguments)

    def find(self, selector: str) -> WebElement:
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def part(self, name: str) -> WebElement:
        return self.find(f"[data-part={name}]")

    def all(self, selector: str) -> list[WebElement]:
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def head(self, title: str) -> WebElement:
        """A heading of the table of pairs."""
        return next(head for head in self.all(".rows th") if head.text.split("\n")[0].startswith(title))

    def head_of(self, key: str) -> WebElement:
        return self.find(f".rows th[data-key={key}]")

    def bars(self, measure: str) -> list[WebElement]:
        return self.all(f".histogram[aria-label='{measure}'] .bar")

    def count(self) -> int:
        """How many rows there are, as the page says."""
        return int(self.part("count").text.split(" of ")[0].replace(",", ""))

    def column(self, key: str) -> list[str]:
        """The cells of a column that are in the page, from the top."""
        script = """
            const all = selector => [...document.querySelectorAll(selector)];
            const place = all(".rows th").findIndex(head => head.dataset.key === arguments[0]);
            return all(".rows tbody tr[aria-rowindex]").map(row => row.cells[place].textContent);
        """
        return self.run(script, key)

    def press(self, element: WebElement) -> None:
        """Click in the middle of what is in sight, also where it had to be scrolled to."""
        self.run(
            "arguments[0].scrollIntoView({block: 'center', inline: 'center', behavior: 'instant'})", element
        )
        element.click()

    def saved(self) -> Path:
        """The file of ratings, once the browser has written all of it: it is there before its text is."""
        path = self.downloads / "qc.tsv"
        self.wait(
            lambda: path.is_file() and path.stat().st_size > 0 and [*self.downloads.iterdir()] == [path]
        )
        return path

    def messages(self) -> list[str]:
        """Errors and warnings in the console since the last call."""
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def requests(self) -> list[str]:
        """The addresses that were asked for since the last call."""
        logged = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        return [
            one["params"]["request"]["url"] for one in logged if one["method"] == "Network.requestWillBeSent"
        ]


@pytest.fixture(scope="session")
def chromium(tmp_path_factory) -> Iterator[tuple[webdriver.Chrome, Path]]:
    """The browser and its folder of downloads."""
    if missing := [program for program in PROGRAMS if not shutil.which(program)]:
        pytest.skip(f"{' and '.join(missing)} not found; tests/browser/install.sh installs them on Debian")
    downloads = tmp_path_factory.mktemp("downloads")
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for switch in (*SWITCHES, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(switch)
    options.add_experimental_option("prefs", {"download.default_directory": str(downloads)})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    yield driver, downloads
    driver.quit()


@pytest.fixture
def page(chromium, small) -> Iterator[Page]:
    """The small cohort's report in a browser without ratings, at a laptop's width.

    When the test ends, nothing may have been said in the console, and nothing asked of another host.
    """
    driver, downloads = chromium
    for file in downloads.iterdir():
        file.unlink()
    page = Page(driver, small.report.index, downloads)
    resize(page, 1440, 900)
    driver.get(page.index.as_uri())
    page.run("localStorage.clear()")
    page.requests(), page.messages()  # what was before does not count
    yield page.open()
    assert page.messages() == []
    elsewhere = [url for url in page.requests() if not url.startswith(("file://", "data:", "blob:"))]
    assert elsewhere == []


def resize(page: Page, width: int, height: int, dark: bool = False) -> None:
    """Give the page another size, as of another device, and the colours that its reader prefers."""
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
    page.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    preferred = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    page.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [preferred]})


@pytest.fixture(scope="session")
def small(tmp_path_factory) -> Layout:
    """Three methods on 40 pairs, ten of them a set of their own; affine failed on one."""
    return make_report(tmp_path_factory.mktemp("small"), 40, ("identity", "affine", "demons"))


@pytest.fixture(scope="session")
def large(tmp_path_factory) -> Layout:
    """One method on 5,000 pairs."""
    return make_report(tmp_path_factory.mktemp("large"), 5000, ("demons",))


@pytest.fixture(scope="session")
def unlabelled(tmp_path_factory) -> Layout:
    """A single pair without labels, and no figure."""
    return make_report(tmp_path_factory.mktemp("bare"), 1, ("demons",), labels=False, figures=False)


def make_report(
    root: Path, pairs: int, methods: tuple[str, ...], labels: bool = True, figures: bool = True
) -> Layout:
    """A cohort's tables with made-up numbers, and its report by the real writer."""
    layout = Layout(root)
    measured = pd.concat([measures(method, pairs, labels) for method in methods], ignore_index=True)
    if "affine" in methods:
        failed = measured.index[measured["method"] == "affine"][0]
        measured.loc[failed, "failure"] = "out of memory <b>"
        measured.loc[failed, measured.columns[4:-1]] = np.nan
    write_table(layout.pairs_table, measured)
    main = measured[measured["set"] == ""]
    summary = summarise(main, dict.fromkeys(methods, ""), methods[0], seed=1).assign(hardware="abacus")
    write_table(layout.methods_table, summary)
    asked = measured.loc[measured["method"] == methods[0], ["moving", "fixed", "set"]]
    write_table(layout.sets_table, summarise_sets(gather_sets(measured, asked, []), methods, seed=1))
    counts = {"images": 80, "train": 0, "test": 80, "pairs": pairs, "excluded_images": 0, "excluded_pairs": 1}
    write_json(layout.cohort, {"name": "made-up", **counts, "warnings": []})
    write_text(layout.excluded, "kind\tid\treason\npair\tk0 k9\trated bad: upside down\n")
    if figures:
        style.apply()
        for name in FIGURES:
            style.save(style.message(name), layout.figure_files(name))
    structures = {"core": [1], "outer_rim": [2]}
    config = {"cohort": "made-up", "methods": list(methods), "structures": structures}
    config |= {"images": "i.tsv", "pairs": "p.tsv", "root": "raw", "preprocess": {"grid": [8, 8, 8]}}
    report = {"reference": methods[0], "pages": 0}
    write_report(layout, read_comparison(layout, Configuration.read(config | {"report": report})))
    return layout


def measures(method: str, pairs: int, labels: bool) -> pd.DataFrame:
    """Made-up rows of a method. Pair number n is of images k(n) and k(n + 1), from 80 on those further apart."""
    random = np.random.default_rng([*method.encode(), pairs])
    numbers = np.arange(pairs)
    dice = random.beta(8, 3, pairs) if labels else np.full(pairs, np.nan)
    distance = random.gamma(3, 1.2, pairs) if labels else np.full(pairs, np.nan)
    folds = random.poisson(random.exponential(30, pairs))
    columns = {
        "method": method,
        "moving": [f"k{number % 80}" for number in numbers],
        "fixed": [f"k{(number + 1 + number // 80) % 80}" for number in numbers],
        "set": ["years" if number % 4 == 3 and pairs > 1 else "" for number in numbers],
        "dice_mean": dice,
        "dice_core": dice**2,
        "dice_outer_rim": np.sqrt(dice),
        **{f"hd95_{name}": distance for name in ("mean", "core", "outer_rim")},
        "folds": folds,
        "folds_percent": folds / 2000,
        "log_jacobian_std": random.gamma(3, 0.1, pairs),
        "inverse_consistency_voxels": random.gamma(2, 0.2, pairs),
        "time_s": random.gamma(3, 0.3, pairs),
        "failure": "",
    }
    return pd.DataFrame(columns)
