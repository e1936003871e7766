"""The pages that people read, and what stands in them."""

import re
from dataclasses import dataclass
from pathlib import Path

from projects import REPOSITORY

#: Everything that Sphinx builds, and what GitHub shows beside it.
PAGES = sorted(
    [
        *REPOSITORY.glob("*.md"),
        *(REPOSITORY / "docs").rglob("*.md"),
        *(
            REPOSITORY / folder / "README.md"
            for folder in ("config", "benchmarks", "resources", "results", "workflow/paper")
        ),
        REPOSITORY / "benchmarks" / "accelerator" / "README.md",
        REPOSITORY / "workflow" / "paper" / "README.md",
        *(REPOSITORY / ".github").rglob("*.md"),
    ]
)
FENCE = re.compile(r"^( *)```(\S*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its text, and the line of the page that it begins at."""

    page: Path
    language: str
    text: str
    line: int

    def __str__(self) -> str:
        return f"{self.page.relative_to(REPOSITORY)}:{self.line}"


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page, without the indentation of the list that they stand in."""
    text = page.read_text("utf-8")
    found = []
    for match in FENCE.finditer(text):
        indent = match[1]
        lines = [line.removeprefix(indent) for line in match[3].splitlines()]
        found.append(Block(page, match[2], "\n".join(lines) + "\n", text[: match.start()].count("\n") + 1))
    return found


def commands(block: Block) -> list[str]:
    """The commands of a shell block, without comments, each on one line."""
    joined = re.sub(r"\\\n\s*", "", block.text)
    lines = [re.sub(r"(^|\s+)#.*", "", line).strip() for line in joined.splitlines()]
    return [line for line in lines if line]


def without_code(text: str) -> str:
    """A page's text without fenced blocks and spans of code, where what looks like a link is none."""
    text = FENCE.sub("", text)
    return re.sub(r"(`+)(?!`).+?(?<!`)\1(?!`)", "`code`", text)
