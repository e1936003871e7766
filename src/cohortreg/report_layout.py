"""Where everything lies in the folder of a report, which knows nothing of the results beside it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

FIGURE_SUFFIXES = ("png", "svg")


class Below:
    """An attribute of a layout: a path below its root."""

    def __init__(self, path: str):
        self.path = path

    def __get__(self, layout: Any, kind: type) -> Path:
        return layout.root / self.path


@dataclass(frozen=True)
class Figures:
    """A folder that has figures."""

    root: Path

    def __post_init__(self) -> None:
        object.__setattr__(self, "root", Path(self.root))

    def figure(self, name: str, suffix: str = "png") -> Path:
        """A figure, in one of its formats."""
        return self.root / "figures" / f"{name}.{suffix}"

    def figure_files(self, name: str) -> list[Path]:
        """A figure in every format."""
        return [self.figure(name, suffix) for suffix in FIGURE_SUFFIXES]


@dataclass(frozen=True)
class ReportLayout(Figures):
    """Paths below `results/{cohort}/report/`, which can be moved and served as it is."""

    #: The report's first page.
    index = Below("index.html")
    #: JSON: every file of the report; whatever else lies in its folder is somebody's own.
    manifest = Below("files.json")

    def static(self, name: str) -> Path:
        """Style and scripts, the same in every report."""
        return self.root / "static" / name

    def rows(self, part: int) -> Path:
        """A part of the table of pairs, from 0, as a script: pages opened from disk can read no other files."""
        return self.root / "rows" / f"{part}.js"

    def image(self, image_id: str) -> Path:
        """What the pages of pairs show of an image, as a script that they share."""
        return self.root / "images" / f"{image_id}.js"

    def pair(self, moving: str, fixed: str, suffix: str = "html") -> Path:
        """The page of a pair, or with suffix js what it shows."""
        return self.root / "pairs" / moving / f"{fixed}.{suffix}"
