"""Where everything lies in the folder of a report, which knows nothing of the results beside it."""

from dataclasses import dataclass
from pathlib import Path

FIGURE_SUFFIXES = ("png", "svg")


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

    @property
    def index(self) -> Path:
        """The report's first page."""
        return self.root / "index.html"

    @property
    def manifest(self) -> Path:
        """JSON: every file of the report; whatever else lies in its folder is somebody's own."""
        return self.root / "files.json"

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
