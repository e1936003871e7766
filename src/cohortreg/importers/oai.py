"""Import of the Osteoarthritis Initiative's archive as it comes: the DESS series of every visit, and label maps."""

import re
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime
from itertools import chain, product
from pathlib import Path

import numpy as np
import pandas as pd

from cohortreg.errors import UserError
from cohortreg.images.dicom import ARCHIVES, TOLERANCE, Header, headers, is_named_as_slice, is_series, stacked
from cohortreg.images.geometry import canonical
from cohortreg.images.grid import Grid
from cohortreg.images.image import Image
from cohortreg.images.io import read_grid, read_image, read_label, write_image
from cohortreg.importers.folders import (
    Bar,
    Say,
    check_folder,
    counted,
    each,
    fits_a_table,
    no_bar,
    relative_to,
    shown,
    silent,
    walked,
)
from cohortreg.importers.found import Found, image_row

FILES = (".nii", ".nii.gz", ".mha", ".mhd", ".nrrd")
DESCRIPTION = re.compile(r"SAG_3D_DESS_(LEFT|RIGHT)")
#: How published lists name an image: subject, date, side, barcode.
IMAGE = re.compile(r"(\d{7})_(\d{8})_SAG_3D_DESS_(LEFT|RIGHT)_(\d+)_image\.(?:nii|nii\.gz|mha|mhd|nrrd)")
SIDE = re.compile(r"(?<![A-Z])(LEFT|RIGHT)(?![A-Z])")
#: OAI-ZIB's list of the series that its label maps were drawn on: a subject and a path in the archive a line.
SERIES_OF_LABELS = "oai_mri_paths.txt"
#: Folder, in the output, of label maps that had no pose.
LABELS = "labels"
#: Table of what is not used.
LEFT_OUT = "left-out.tsv"


@dataclass(frozen=True)
class Scan:
    """An image of one knee on one day, at a time of the series, which orders repeated scans, "" where unknown."""

    path: Path
    subject: str
    date: str
    side: str
    barcode: str
    time: str
    grid: Grid = field(compare=False, repr=False)

    @property
    def image_id(self) -> str:
        """The image's id in the tables of the cohort."""
        return f"{self.subject}_{self.date}_{self.side}"


class LeftOut:
    """Files that are not used, and why: rows of kind (image or label), path and reason."""

    def __init__(self, folder: Path):
        self._folder = folder
        self._rows: list[list[str]] = []

    def add(self, kind: str, path: Path, reason: str) -> None:
        """Record a file or folder that was left out, and why."""
        self._rows.append([kind, shown(relative_to(self._folder, path)), shown(" ".join(reason.split()))])

    @property
    def table(self) -> pd.DataFrame:
        """What was left out, one row each, sorted."""
        return pd.DataFrame(sorted(self._rows), columns=["kind", "path", "reason"], dtype=str)


def import_oai(
    folder: Path,
    say: Say = silent,
    labels: Path | None = None,
    repeated: bool = False,
    *,
    output: Path,
    progress_bar: Bar = no_bar,
) -> Found:
    """Read the archive: images (with `visit`, YYYYMMDD, and `barcode`), and in left-out.tsv what is not used.

    Only SAG_3D_DESS_LEFT and SAG_3D_DESS_RIGHT count; one image a subject, visit and side, the last by the time of its
    series unless only another has a label. Paths are relative to `folder`, or absolute outside of it. A label map that
    lies in `output` is never written again.

    Args:
        labels: Folder of the label maps, by default `folder`.
        repeated: Keep an image of each barcode, which is then part of names that several would have.
        output: Folder to write label maps to that have no pose, with that of their images.

    Raises:
        UserError: A folder is missing, or no image is found.
    """
    check_folder(folder)
    if labels:
        check_folder(labels)
    left_out = LeftOut(folder)
    scans = _read_scans(folder, left_out, progress_bar)
    if labels:
        wrong = "its name is not SUBJECT_DATE_SAG_3D_DESS_SIDE_BARCODE_image; rename it."
        for path in _unnamed(folder):
            if not any(path.resolve().is_relative_to(other.resolve()) for other in (labels, output / LABELS)):
                left_out.add("image", path, wrong)
    matched = _match_labels(labels or folder, output / LABELS, scans, left_out, progress_bar)
    kept = _one_of_each(scans, matched, left_out, repeated)
    posed = _posed(kept, matched, output, left_out, progress_bar)
    images = pd.DataFrame([_row(*named, folder, posed) for named in kept.items()], dtype=str)
    table, labelled = left_out.table, int(images["label"].ne("").sum())
    counts = table["kind"].value_counts()
    say(
        f"{labelled} of {counted(len(images), 'image')} have a label; {counted(counts.get('image', 0), 'image')} and "
        f"{counted(counts.get('label', 0), 'label')} left out, see {output / LEFT_OUT}"
    )
    return Found(images, folder, others={LEFT_OUT: table})


def _read_scans(folder: Path, left_out: LeftOut, progress_bar: Bar) -> list[Scan]:
    """Every scan below the folder."""
    candidates = _candidates(folder)
    scans: list[Scan] = []
    for path in each(candidates, "Series", progress_bar):
        try:
            _check_path(path)
            scans += _scans(folder, path)
        except UserError as error:
            left_out.add("image", path, str(error))
    if not scans:
        first = f", the first because {left_out.table['reason'][0]}" if len(left_out.table) else "."
        raise UserError(
            f"{folder} contains no usable series SAG_3D_DESS_LEFT or SAG_3D_DESS_RIGHT; of {len(candidates)} series "
            f"and images {len(left_out.table)} were left out{first}"
        )
    return scans


def _check_path(path: Path) -> None:
    """Raise UserError where a table cannot store a path."""
    if not fits_a_table(str(path)):
        raise UserError("its path has characters that a table cannot store; rename the file or folder.")


def _candidates(folder: Path) -> list[Path]:
    """Candidates for series and images by name: folders with slices, archives, images with a published name."""
    candidates = []
    for path, names in walked(folder):
        named = [name for name in names if name.lower().endswith(ARCHIVES) or IMAGE.fullmatch(name)]
        candidates += [path / name for name in named]
        candidates += [path] * any(map(is_named_as_slice, names))
    return sorted(candidates)


def _unnamed(folder: Path) -> list[Path]:
    """Files that are no series and are not named as images are in the published way."""
    return [
        path / name
        for path, names in walked(folder)
        for name in names
        if name.lower().endswith(FILES) and not IMAGE.fullmatch(name)
    ]


def _scans(folder: Path, path: Path) -> list[Scan]:
    """The scan at a path; None where it is of another kind. Raises UserError where it is unusable."""
    if not is_series(path):
        match = IMAGE.fullmatch(path.name)
        assert match is not None  # which made it a candidate
        subject, date, side, barcode = match.groups()
        scan = Scan(path, subject, date, side.lower(), barcode, "", read_grid(path))
    else:
        with closing(headers(path)) as stream:
            first = next(stream, None)
            match = DESCRIPTION.fullmatch(first.tags["description"]) if first else None
            if first is None or match is None:
                return []
            scan = _scan_of_series(path, match[1].lower(), [first, *stream])
    sides = SIDE.findall(str(path.relative_to(folder)).upper())
    if any(side.lower() != scan.side for side in sides):
        raise UserError(
            f"{path} gives a side other than {scan.side}, that of the series; find out which is right."
        )
    return [scan]


def _scan_of_series(path: Path, side: str, slices: Sequence[Header]) -> Scan:
    """Of slices the first of which is of a DESS series, whose description has the side."""
    # Before `stacked` would: what other series are called is nothing to be passed on.
    if len({header.tags["series"] for header in slices}) > 1:
        raise UserError(f"{path} contains slices of several series; put each in its own folder.")
    _, grid = stacked(path, slices)
    if len(slices) < 2:
        raise UserError(f"{path} has a single slice; copy or export the series again.")
    tags = slices[0].tags
    for header in slices:
        laterality = header.tags["image_laterality"] or header.tags["laterality"]
        if (other := {"L": "left", "R": "right"}.get(laterality, side)) != side:
            raise UserError(
                f"{path} is of the {side} knee by its description but of the {other} by its laterality; "
                "find out which is right."
            )
    if not re.fullmatch(r"\d{7}", tags["subject"]) or not _is_date(tags["date"]):
        raise UserError(f"{path} has no subject of seven digits (0010,0020) or no study date (0008,0020).")
    return Scan(path, tags["subject"], tags["date"], side, _barcode(tags), tags["time"], grid)


def _barcode(tags: dict[str, str]) -> str:
    """The number of the examination, as it stands; "" where there is none."""
    if re.fullmatch(r"\d{8,12}", tags["accession"]):
        return tags["accession"]
    match = re.search(r"(?<!\d)\d{11,12}(?!\d)", tags["study_description"])
    return match[0] if match else ""


def _is_date(text: str) -> bool:
    try:
        return bool(re.fullmatch(r"(19|20)\d{6}", text)) and bool(datetime.strptime(text, "%Y%m%d"))
    except ValueError:
        return False


def _match_labels(
    folder: Path, made: Path, scans: Sequence[Scan], left_out: LeftOut, progress_bar: Bar
) -> dict[Scan, Path]:
    """The label map of each scan that has one.

    Those in the folder `made`, which an earlier import may have made, count where the label map that they were made of
    is gone.
    """
    of_subject: dict[str, list[Scan]] = {}
    for scan in scans:
        of_subject.setdefault(scan.subject, []).append(scan)
    files, series = _unnamed(folder), _series_of_labels(folder)
    matched: dict[Scan, list[Path]] = {}
    for path in each(files, "Label maps", progress_bar):
        try:
            _check_path(path)
            matched.setdefault(_scan_of_label(path, of_subject, series), []).append(path)
        except UserError as error:
            left_out.add("label", path, str(error))
    for scan, paths in matched.items():
        posed = (f"{scan.image_id}.nii.gz", f"{scan.image_id}_{scan.barcode}.nii.gz")
        paths[:] = [
            path for path in paths if path.name not in posed or path.parent.resolve() != made.resolve()
        ] or paths
        for path in paths if len(paths) > 1 else ():
            left_out.add("label", path, f"{len(paths)} label maps are of {scan.image_id}; keep one of them.")
    return {scan: paths[0] for scan, paths in matched.items() if len(paths) == 1}


def _series_of_labels(folder: Path) -> dict[str, str]:
    """The series in the archive, such as 9000099/20041108/10583703, that each subject's label map was drawn on."""
    lists = [path / SERIES_OF_LABELS for path, names in walked(folder) if SERIES_OF_LABELS in names]
    texts = [path.read_text(encoding="utf-8", errors="replace") for path in lists]
    lines = chain.from_iterable(map(str.splitlines, texts))
    rows = (re.fullmatch(r"\s*(\d{7})\s*:\s*(\S+?)/?\s*", line) for line in lines)
    return {row[1]: "/".join(row[2].split("/")[-3:]) for row in rows if row}


def _scan_of_label(path: Path, of_subject: dict[str, list[Scan]], series: dict[str, str]) -> Scan:
    """The scan that a label map belongs to. Raises UserError where that is ambiguous."""
    subjects = {number for number in re.findall(r"\d+", path.name) if number in of_subject}
    if len(subjects) != 1:
        raise UserError(f"the name of {path.name} contains no subject with an image, or several.")
    subject = subjects.pop()
    possible, decided = _possible(path.name, of_subject[subject], series.get(subject))
    if not possible:
        raise UserError(f"no image of subject {subject} matches the side, date or series of {path.name}.")
    grid = read_grid(path).canonical()
    fitting = [scan for scan in possible if _fits(grid, scan)]
    if not fitting and _lacks_pose(grid):
        if not decided:
            raise UserError(
                f"{path.name} has no pose in its header, so that it may belong to any visit and side; "
                f"give them in its name, or a list {SERIES_OF_LABELS} beside it."
            )
        fitting = [scan for scan in possible if _same_voxels(grid, scan.grid.canonical())]
    if len(fitting) > 1:
        raise UserError(f"{path.name} fits {len(fitting)} images; add side, date or barcode to its name.")
    if not fitting:
        raise UserError(
            f"{path.name} has a grid other than those of the {len(possible)} images that it may belong to."
        )
    return fitting[0]


def _possible(name: str, scans: list[Scan], series: str | None) -> tuple[list[Scan], bool]:
    """The scans of a subject that a label map may be of by its name, or else by OAI-ZIB's list; whether either says it.

    The subject's series in that list counts, if it has any.
    """
    numbers = set(re.findall(r"\d+", name))
    sides = {side.lower() for side in SIDE.findall(name.upper())}
    dates = {number for number in numbers if _is_date(number)}
    barcodes = {scan.barcode for scan in scans} & numbers
    if not (sides or dates or barcodes) and series:
        endings = tuple(f"/{series}{suffix}" for suffix in ("", *ARCHIVES))
        return [scan for scan in scans if f"/{scan.path.as_posix()}".endswith(endings)], True
    possible = [
        scan
        for scan in scans
        if (not sides or scan.side in sides)
        and (not dates or scan.date in dates)
        and (not barcodes or scan.barcode in barcodes)
    ]
    return possible, bool(sides and dates)


def _fits(grid: Grid, scan: Scan) -> bool:
    """Whether a canonical grid matches the scan's."""
    return grid.matches(scan.grid.canonical())


def _lacks_pose(grid: Grid) -> bool:
    """Whether a canonical grid has the axes and the origin that a file has where nobody gave it any.

    Its axes are then ITK's own: to the left, posterior, superior.
    """
    corner = grid.points(np.array([grid.shape[0] - 1, grid.shape[1] - 1, 0]))
    return np.allclose(corner, 0) and np.allclose(grid.affine[:3, :3], np.diag(grid.spacing))


def _same_voxels(one: Grid, other: Grid) -> bool:
    """Whether two canonical grids agree in shape and voxel size."""
    return one.shape == other.shape and np.allclose(one.spacing, other.spacing, rtol=TOLERANCE)


def _posed(
    kept: dict[Scan, str], matched: dict[Scan, Path], output: Path, left_out: LeftOut, progress_bar: Bar
) -> dict[Scan, Path]:
    """Label maps of the scans that are kept which lie on their images, without those that cannot be brought there."""
    posed = {scan: matched[scan] for scan in kept if scan in matched}
    unposed = [scan for scan, path in posed.items() if not _fits(read_grid(path).canonical(), scan)]
    for scan in each(unposed, "Poses", progress_bar):
        label = posed.pop(scan)
        try:
            posed[scan] = _write_posed(label, scan, output / LABELS / f"{kept[scan]}.nii.gz", left_out)
        except UserError as error:
            left_out.add("label", label, str(error))
    return posed


def _write_posed(path: Path, scan: Scan, posed: Path, left_out: LeftOut) -> Path:
    """Write a label map that lacks a pose with that of its image, as `posed` if that is not there yet; return that.

    Raises:
        UserError: It would fit the image better if it were mirrored: then its axes are not what they seem.
    """
    label, image = canonical(read_label(path)), canonical(read_image(scan.path))
    flips = product((slice(None), slice(None, None, -1)), repeat=3)
    if np.argmax([_contrast_at_borders(label.array[flip], image.array) for flip in flips]) != 0:
        raise UserError(
            f"{path.name} has no pose in its header, and fits its image better mirrored; give it one."
        )
    if posed.exists():
        present = read_label(posed)
        if not np.array_equal(present.array, label.array) or not present.grid.matches(image.grid):
            left_out.add(
                "label", path, f"{posed} is there, is another than would be made of it, and is kept."
            )
    else:
        write_image(posed, Image(label.array, image.affine))
    return posed


def _contrast_at_borders(label: np.ndarray, image: np.ndarray) -> float:
    """Mean difference of neighbours' grey values along the last two axes where structures meet, in some of the slices.

    It is a few times that of all voxels where a label map lies on its image, and about that of all where it does not.
    """
    some = slice(None, None, max(1, len(label) // 20))
    label, image = label[some], image[some]
    steps = np.abs(np.diff(image, axis=1)[:, :, 1:]) + np.abs(np.diff(image, axis=2)[:, 1:])
    borders = (np.diff(label, axis=1)[:, :, 1:] != 0) | (np.diff(label, axis=2)[:, 1:] != 0)
    return float(steps[borders].mean()) if borders.any() else 0.0


def _one_of_each(
    scans: Sequence[Scan], matched: dict[Scan, Path], left_out: LeftOut, repeated: bool
) -> dict[Scan, str]:
    """Choose one scan of each subject, visit and side, or of each barcode where these repeat, and name it.

    One with a label comes before one without, then the last.

    Returns:
        The scans in the order of their names: the image's id, with the barcode where several have it.
    """
    kept: dict[tuple[str, str], Scan] = {}
    for scan in sorted(scans, key=lambda scan: (scan in matched, scan.time, str(scan.path))):
        key = (scan.image_id, scan.barcode if repeated else "")
        before = kept.get(key)
        if before is not None:
            why = "is later" if scan.time > before.time else "is used instead"
            if scan in matched and before not in matched:
                why = "has a label map"
            left_out.add("image", before.path, f"a repeated scan of {scan.image_id}: {scan.path.name} {why}.")
            if before in matched:
                left_out.add("label", matched[before], f"its image, {before.path.name}, is not the one used.")
        kept[key] = scan
    several = Counter(scan.image_id for scan in kept.values())
    names = {
        scan: f"{scan.image_id}_{scan.barcode}".rstrip("_") if several[scan.image_id] > 1 else scan.image_id
        for scan in kept.values()
    }
    return dict(sorted(names.items(), key=lambda named: named[1]))


def _row(scan: Scan, image_id: str, folder: Path, posed: dict[Scan, Path]) -> dict[str, str]:
    label = relative_to(folder, posed[scan]) if scan in posed else ""
    row = image_row(image_id, relative_to(folder, scan.path), label, scan.subject, scan.side)
    return row | {"visit": scan.date, "barcode": scan.barcode}
