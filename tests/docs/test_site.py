"""The built documentation: without a warning, and without a request to another host."""

import re
import subprocess
import sys

import pytest
from projects import REPOSITORY

pytest.importorskip("sphinx", reason="make .venv/installed-docs installs what builds the documentation")
pytest.importorskip("furo", reason="make .venv/installed-docs installs what builds the documentation")

#: What a browser fetches by itself; a link that a reader may follow is another matter.
FETCHED = re.compile(
    r"""<(?:script|img|iframe|source|video|audio|embed)\b[^>]*\bsrc=["']?(?:https?:)?//"""
    r"""|<link\b(?![^>]*rel=["']?canonical)[^>]*href=["']?(?:https?:)?//"""
    r"""|url\(\s*["']?(?:https?:)?//|@import\s+["'](?:https?:)?//""",
    re.IGNORECASE,
)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "--fail-on-warning", "--keep-going", "--quiet", "-b", "html"]
    run = subprocess.run(
        [*command, "-c", "docs", "-d", folder / "doctrees", ".", folder / "html"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    return folder / "html"


def test_no_page_asks_another_host(site):
    files = [path for path in site.rglob("*") if path.suffix in {".html", ".css", ".js"}]
    assert len(files) > 30
    asked = {path.name: FETCHED.findall(path.read_text("utf-8")) for path in files}
    assert not {name: found for name, found in asked.items() if found}


def test_pages_have_what_the_build_adds(site):
    how = (site / "docs" / "how-it-works.html").read_text("utf-8")
    assert how.count("<math") > 15 and "def gradient_inverse_consistency" in re.sub("<[^>]+>", "", how)
    assert "preprocess.percentiles" in (site / "docs" / "configuration.html").read_text("utf-8")
    assert "cohortreg import oai-split" in (site / "docs" / "command-line.html").read_text("utf-8")
    index = (site / "docs" / "index.html").read_text("utf-8")
    assert "quick-start.html" in index and "../config/README.html" in index
    assert "docs/index.html" in (site / "index.html").read_text("utf-8")
