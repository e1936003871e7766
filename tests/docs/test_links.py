"""Links between pages lead somewhere, to headings as well."""

import re
from urllib.parse import unquote

import pytest
from pages import PAGES, without_code
from projects import REPOSITORY

LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)|<img src=\"([^\"]+)\"")


def anchors(text: str) -> set[str]:
    """The anchors that GitHub gives to a page's headings."""
    found: dict[str, int] = {}
    names = set()
    for heading in re.findall(
        r"^#+ +(.+?)\s*$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), re.MULTILINE
    ):
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        name = re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
        again = found.get(name, 0)
        found[name] = again + 1
        names.add(f"{name}-{again}" if again else name)
    return names


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_every_link_of_a_page_leads_somewhere(page):
    text = page.read_text("utf-8")
    for link in map("".join, LINK.findall(without_code(text))):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = unquote(link).partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), f"{page.name}: {link}"
        assert target.is_relative_to(REPOSITORY), f"{page.name}: {link}"
        if anchor:
            assert anchor in anchors(target.read_text("utf-8")), f"{page.name}: {link}"


def test_every_page_of_the_documentation_is_in_its_contents():
    index = (REPOSITORY / "docs" / "index.md").read_text("utf-8")
    for page in (REPOSITORY / "docs").glob("*.md"):
        assert page.name == "index.md" or f"({page.name})" in index, page.name


def test_files_that_pages_name_are_there():
    """Within sentences, of folders that a clone has."""
    named = re.compile(r"`((?:config|docs|workflow|src|benchmarks|tests)/[\w./-]+\.\w+)`")
    for page in PAGES:
        for name in named.findall(page.read_text("utf-8")):
            # What the tutorial has its reader, or `init`, write.
            if not name.startswith(("config/knees", "config/mine")):
                assert (REPOSITORY / name).exists(), f"{page.name}: {name}"
