"""Where raw images are, and where the workflow may write: never where a user's own files lie."""

import os
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from cohortreg.config import Configuration, expand_root
from cohortreg.errors import UserError
from cohortreg.files import read_kept
from cohortreg.layout import Layout, Results

#: The one folder below which images are made, see `phantom` of the configuration.
RESOURCES = Path("resources")
#: What the workflow leaves in a folder of results that it has written to; the last two are of earlier versions.
OURS = ("settings/*/*/settings.json", "provenance/*.json", "cohort.json", "logs/preprocess/*", "logs/check/*")


def check_places(config: Configuration, images: pd.DataFrame, root: Path, layout: Layout) -> None:
    """Raise UserError where the workflow would write over what a user brought, whatever the configuration says."""
    refuse_results_of_others(layout)
    for key, path in _inputs(config):
        # Ratings are saved in a browser that shows the report, and the report leaves them alone.
        if _below(path, layout.root) and not (key == "ratings" and _below(path, layout.report.root)):
            raise UserError(
                f"configuration: {key}: {path} lies in {layout.root}, which the workflow writes; move it elsewhere."
            )
    made = set(map(os.path.realpath, (layout.report.manifest, layout.report.index)))
    if config.ratings and os.path.realpath(config.ratings) in made:
        raise UserError(f"configuration: ratings: {config.ratings} is a file of the report; name its qc.tsv.")
    if config.phantom:
        _check_made(config, root)
    else:
        _refuse_raw_in_results(images, root, layout)


def _inputs(config: Configuration) -> Iterator[tuple[str, Path]]:
    """Keys of the configuration that name a file or a folder to read, and what they name."""
    for key in ("images", "pairs", "ratings"):
        if path := getattr(config, key):
            yield key, Path(path)
    yield "root", expand_root(config.root)
    if config.report.published:
        yield "report.published", Path(config.report.published)
    if config.phantom and config.phantom.labels:
        yield "phantom.labels", expand_root(config.phantom.labels)


def _below(path: Path, folder: Path) -> bool:
    """Whether a path is a folder or leads into it, by whatever links."""
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))


def refuse_results_of_others(layout: Results) -> None:
    """Raise UserError where a folder of results has files, none of which says that the workflow wrote it."""
    root = layout.root
    if not os.path.lexists(root) or any(next(root.glob(name), None) for name in OURS):
        return
    if not root.is_dir():
        raise UserError(f"{root} is not a folder, so no results can be written there; move it elsewhere.")
    for folder, _, names in os.walk(root):
        if names:
            raise UserError(
                f"{root} has files that cohortreg did not write, such as {Path(folder) / names[0]}; move them "
                "elsewhere, or choose another name for `cohort`."
            )


def _check_made(config: Configuration, root: Path) -> None:
    """Images are made below `resources/` alone, by no link out of it."""
    if not _below(root, RESOURCES) or _below(RESOURCES, root):
        raise UserError(
            f"configuration: phantom: images are made in a folder below {RESOURCES}/ alone, and root is "
            f"{config.root}; where images are real, set `phantom: null`."
        )


def _refuse_raw_in_results(images: pd.DataFrame, root: Path, layout: Layout) -> None:
    """A raw image in the folder of results would be replaced by what is made of it."""
    results = os.path.realpath(layout.root)
    seen: dict[str, bool] = {}
    for column in ("image", "label"):
        for line, name in images[column].items():
            if not name:
                continue
            path = os.path.join(root, name)  # noqa: PTH118  (a hundred thousand of them)
            folder = os.path.dirname(path)  # noqa: PTH120
            if folder not in seen:
                seen[folder] = Path(os.path.realpath(folder)).is_relative_to(results)
            if seen[folder] or (os.path.islink(path) and _below(Path(path), layout.root)):  # noqa: PTH114
                raise UserError(
                    f"the table of images, row {line}, column {column}: {path} lies in {layout.root}, which the "
                    "workflow writes; move it elsewhere."
                )


def missing_files(images: pd.DataFrame, root: Path) -> list[str]:
    """A sentence with the number of raw files of a table that are not there, and the first of them; none if all are."""
    names = [name for column in ("image", "label") for name in images[column] if name]
    missing = [name for name in names if not os.path.exists(os.path.join(root, name))]  # noqa: PTH110, PTH118  (many)
    if not missing:
        return []
    are = "file is" if len(missing) == 1 else "files are"
    return [f"{len(missing)} raw {are} not there, the first of them {root / missing[0]}."]


def phantoms_made(record: Path, root: Path) -> bool:
    """Whether every image that a shard's record names was made before the record, below root, and not touched since."""
    paths = [root / name for name in read_kept(record)]
    return bool(paths) and all(
        path.is_file() and path.stat().st_mtime_ns <= record.stat().st_mtime_ns for path in paths
    )
