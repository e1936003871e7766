"""What the build adds to pages as they stand in the repository, where they have to be readable as well.

- The contents, from the links of docs/index.md.
- `<!-- generated: NAME -->` becomes the reference NAME, see `reference`.
- A link whose text is the dotted name of something in src/, such as [`icon.objective.icon_loss`](../src/...), gets its
  source below the paragraph, and a warning where there is no such thing.
"""

import re
from pathlib import Path

from reference import REFERENCES
from source import NAMED, source_of
from sphinx.application import Sphinx
from sphinx.util import logging

LOGGER = logging.getLogger(__name__)
GENERATED = re.compile(r"<!-- generated: (.+?) -->")
HEADING = re.compile(r"^# ", re.MULTILINE)
INLINE_MATH = re.compile(r"\$`([^`]+)`\$")
LINK = re.compile(r"^- \[.+?\]\((?!https?:)(.+?)\.md\)")


def contents(index: str) -> dict[str, list[str]]:
    """The pages under each heading of the index, as paths relative to it and without their suffix."""
    sections: dict[str, list[str]] = {}
    for line in index.splitlines():
        if line.startswith("## "):
            section = sections.setdefault(line.removeprefix("## "), [])
        elif link := LINK.match(line):
            section.append(link[1])
    return sections


def toctrees(index: str) -> str:
    """What makes Sphinx show the contents beside every page."""
    parts = [
        "\n".join(["```{toctree}", ":hidden:", f":caption: {caption}", "", *pages, "```"])
        for caption, pages in contents(index).items()
    ]
    return "\n\n".join(["", *parts, ""])


def with_sources(text: str, docname: str) -> str:
    """A page with the source of what its links name, below each paragraph."""
    return "\n\n".join(
        "\n\n".join([paragraph, *(_details(docname, *found) for found in NAMED.findall(paragraph))])
        for paragraph in text.split("\n\n")
    )


def _details(docname: str, name: str, path: str) -> str:
    try:
        code = source_of(name, path)
    except LookupError as error:
        LOGGER.warning(str(error), location=docname)
        return ""
    return f"<details><summary>{name}</summary>\n\n```python\n{code}\n```\n\n</details>"


def complete(app: Sphinx, docname: str, source: list[str]) -> None:
    """Add what is generated to a page that was read."""
    text = INLINE_MATH.sub(r"{math}`\1`", source[0])
    text = with_sources(text, docname)
    text = GENERATED.sub(lambda found: REFERENCES[found[1]](), text)
    if not HEADING.search(text):  # a run's table: the search names pages by their titles
        text = f"# {docname}\n\n{text}"
    index = (Path(app.srcdir) / f"{app.config.root_doc}.md").read_text("utf-8")
    if docname == app.config.root_doc:
        text += toctrees(index)
    elif docname not in listed(index, app.config.root_doc):
        text = f"---\norphan: true\n---\n\n{text}"
    source[0] = text


def listed(index: str, root: str) -> set[str]:
    """Pages of the contents, as Sphinx names them."""
    folder = Path("/") / Path(root).parent
    pages = [page for section in contents(index).values() for page in section]
    return {(folder / page).resolve().as_posix().removeprefix("/") for page in pages}


def setup(app: Sphinx) -> dict:
    """Complete every page that is read; references are written anew at each build."""
    app.connect("source-read", complete)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
