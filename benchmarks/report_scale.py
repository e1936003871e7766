"""What the report of a finished run takes: seconds, memory, disk, and how soon a browser shows it.

python benchmarks/report_scale.py OUTPUT.csv RESULTS CONFIG.yaml FOLDER [PAIRS...]

RESULTS is the folder of a cohort that was run with CONFIG. FOLDER, which must not exist and be on the same disk, gets
a copy of it for each number of PAIRS (without one: its own). Where that is more than the cohort has, its pairs are
there again under other names, with their real images and transforms, and with Dice that differs a little, so that the
worst are of many pairs. Tables, figures and report are then made by their commands, one core each. The times of
opening need Debian's chromium and chromium-driver, and are empty without; they are the median of five, from disk.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from cohortreg import config as configuration
from cohortreg.cohort.tables import read_table as read_text_table
from cohortreg.cohort.tables import write_table as write_text_table
from cohortreg.evaluation.csv_files import read_table, write_table
from cohortreg.files import read_json, write_json
from cohortreg.layout import Layout
from cohortreg.provenance import git_commit, hardware

NOISE = 0.03  # standard deviation of what is added to Dice of copies
OPENED = 5  # times
READY = {
    "index": "return document.getElementById('table').dataset.ready",
    # Every slice has been drawn: a canvas is transparent before.
    "pair": """
        const drawn = one => one.getContext("2d").getImageData(one.width / 2, one.height / 2, 1, 1).data[3] > 0;
        const slices = [...document.querySelectorAll("#slices canvas")];
        return slices.length > 0 && slices.every(one => one.width > 0 && one.height > 0 && drawn(one));
    """,
}


def grow(source: Layout, target: Layout, wanted: int) -> None:
    """Write to target what tables, figures and report read of source, with as many pairs as wanted."""
    pairs = read_text_table(source.pairs, ["moving", "fixed"])
    images = read_text_table(source.images, ["image_id"])
    measured = read_table(source.pairs_table).drop(columns="set", errors="ignore")
    copies = range(-(-wanted // len(pairs)))
    rng = np.random.default_rng(1)
    all_pairs = pd.concat([_renamed(pairs, copy, "moving", "fixed") for copy in copies]).head(wanted)
    all_images = pd.concat([_renamed(images, copy, "image_id", "subject_id") for copy in copies])
    rows = pd.concat([_renamed(measured, copy, "moving", "fixed") for copy in copies])
    rows = rows.merge(all_pairs[["moving", "fixed"]].drop_duplicates())
    copied = rows["moving"].str.contains("~", regex=False)
    rows.loc[copied, "dice_mean"] += rng.normal(0, NOISE, copied.sum())
    for path, table in ((target.pairs, all_pairs), (target.images, all_images)):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text_table(path, table)
    for folder in ("models", "training"):
        if (source.root / folder).is_dir():
            (target.root / folder).symlink_to((source.root / folder).resolve())
    shutil.copy(source.excluded, target.excluded)
    write_json(target.cohort, read_json(source.cohort) | {"images": len(all_images), "pairs": len(all_pairs)})
    for image_id in all_images["image_id"]:
        for path in (Layout.image, Layout.sidecar, Layout.label):
            _link(path(source, image_id.split("~")[0]), path(target, image_id))
    for method, moving, fixed in rows[["method", "moving", "fixed"]].itertuples(index=False):
        original = source.forward(method, moving.split("~")[0], fixed.split("~")[0])
        _link(original, target.forward(method, moving, fixed))
    for method, own in rows.groupby("method"):
        write_table(target.evaluated_shard(method, 0), own)


def _renamed(table: pd.DataFrame, copy: int, *columns: str) -> pd.DataFrame:
    return table.assign(**{column: table[column] + (f"~{copy}" if copy else "") for column in columns})


def _link(source: Path, target: Path) -> None:
    if source.is_file():
        target.parent.mkdir(parents=True, exist_ok=True)
        os.link(source, target)


def made(layout: Layout, command: str, settings: dict, *more: str) -> tuple[float, float]:
    """Seconds of a command of ours, and its peak memory in GiB."""
    line = [sys.executable, "-c", "from cohortreg.cli import main; main()", command, layout.root]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    started = time.perf_counter()
    child = subprocess.Popen(
        [*map(str, line), "--settings", json.dumps(settings), *more],
        stdout=subprocess.DEVNULL,
        env=environment,
    )
    _, status, used = os.wait4(child.pid, 0)
    if status:
        sys.exit(f"{command} failed")
    return time.perf_counter() - started, used.ru_maxrss / 2**20


def opening(layout: Layout) -> tuple[float | str, float | str]:
    """Seconds until a browser shows the table of pairs, and until it shows the worst pair; empty without one."""
    if not (shutil.which("chromium") and shutil.which("chromedriver")):
        return "", ""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    with tempfile.TemporaryDirectory() as profile:
        for switch in ("--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}"):
            options.add_argument(switch)
        driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
        try:
            index = [_seconds(driver, layout.report.index.as_uri(), READY["index"]) for _ in range(OPENED)]
            links = driver.execute_script(
                "return [...document.querySelectorAll('.rows tbody a')].map(a => a.href)"
            )
            pair = [_seconds(driver, links[0], READY["pair"]) for _ in range(OPENED if links else 0)]
        finally:
            driver.quit()
    return statistics.median(index), statistics.median(pair) if pair else ""


def _seconds(driver, address: str, ready: str) -> float:
    """From asking for a page until it is ready and drawn."""
    driver.get("about:blank")
    started = time.perf_counter()
    driver.get(address)
    while not driver.execute_script(ready):
        time.sleep(0.005)
    driver.execute_async_script("requestAnimationFrame(() => requestAnimationFrame(arguments[0]))")
    return time.perf_counter() - started


def rounded(value: float | str) -> float | str:
    return value if value == "" else round(value, 2)


def measure(source: Layout, target: Layout, config: dict, wanted: int) -> dict:
    """A row of the output."""
    grow(source, target, wanted)
    steps: dict[str, Callable] = {
        "tables": lambda: made(target, "tables", config, "--shards", "1"),
        "figures": lambda: made(target, "figures", config),
        "report": lambda: made(target, "report", config),
    }
    taken = {name: step() for name, step in steps.items()}
    files = [path for path in target.report.root.rglob("*") if path.is_file()]
    index, pair = opening(target)
    return {
        "cohort": config["cohort"],
        "methods": len(config["methods"]),
        "pairs": wanted,
        "pages": len(list(target.report.root.glob("pairs/*/*.html"))),
        **{f"{name}_s": round(seconds, 1) for name, (seconds, _) in taken.items()},
        "peak_gib": round(max(memory for _, memory in taken.values()), 2),
        "megabytes": round(sum(path.stat().st_size for path in files) / 1e6, 1),
        "files": len(files),
        "opens_s": rounded(index),
        "pair_opens_s": rounded(pair),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("output", type=Path)
    parser.add_argument("results", type=Path)
    parser.add_argument("configuration", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("pairs", type=int, nargs="*")
    given = parser.parse_args()
    given.folder.mkdir()
    source = Layout(given.results)
    config = configuration.load(given.configuration).plain()
    own = len(read_text_table(source.pairs, ["moving", "fixed"]))
    rows = []
    for wanted in given.pairs or [own]:
        row = measure(source, Layout(given.folder.resolve() / str(wanted)), config, wanted)
        rows.append(row | {"hardware": hardware(), "git_commit": git_commit()})
        print(rows[-1])
    pd.DataFrame(rows).to_csv(given.output, index=False)


if __name__ == "__main__":
    main()
