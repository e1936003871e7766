"""Recognition of what a folder of images is, and so of the importer that reads it."""

import re
import shlex
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from cohortreg.errors import UserError
from cohortreg.images.dicom import ARCHIVES
from cohortreg.importers.bids import DERIVED
from cohortreg.importers.bids import NAME as BIDS_NAME
from cohortreg.importers.dataset_json import read_description
from cohortreg.importers.folder import import_folder, may_be_image, without_ending
from cohortreg.importers.folders import Say, check_folder, walked
from cohortreg.importers.found import Found
from cohortreg.importers.learn2reg import dataset_file, is_learn2reg
from cohortreg.importers.registry import IMPORTERS, Draw

#: Folders of labels beside one of images, by what their name begins with, and endings of labels beside images.
LABEL_FOLDERS = ("label", "seg", "mask", "annotation")
LABEL_NAMES = ("seg", "dseg", "segmentation", "label", "labels", "labelmap", "mask")


class Layout(NamedTuple):
    """What a folder is, in words, and the importer that reads it.

    Attributes:
        words: What it is, for a sentence.
        images: The argument of the importer `folder`, a pattern; others are given the folder.
    """

    words: str
    importer: str
    options: dict[str, str]
    images: str = ""

    def read(self, folder: Path, say: Say) -> Found:
        """Read the folder."""
        if self.importer == "folder":
            return import_folder(self.images, say, root=folder, **self.options)
        return IMPORTERS[self.importer].function(folder, say=say, **self.options)

    def command(self, folder: Path, tables: Path, draw: Draw) -> str:
        """Write the command that adds to the tables what is new in the folder, drawn in the same way."""
        words = ["cohortreg", "import", self.importer, self.images or str(folder)]
        options: dict[str, object] = dict(self.options)
        if self.importer == "folder":
            options["root"] = folder
        options["output"] = tables
        usual = (IMPORTERS[self.importer].draw or draw)._asdict()
        options |= {key: value for key, value in draw._asdict().items() if value != usual[key]}
        for key, value in options.items():
            words += [f"--{key.replace('_', '-')}", str(value)]
        return shlex.join(words)


def layout_of(folder: Path) -> Layout:
    """Recognise what a folder is.

    Raises:
        UserError: It is nothing that an importer reads by itself.
    """
    check_folder(folder)
    if (source := dataset_file(folder)).is_file():
        content = read_description(source)
        if is_learn2reg(content):
            return Layout("a dataset of Learn2Reg", "learn2reg", {})
        if "training" in content:
            return Layout("in the layout of the Medical Segmentation Decathlon", "msd", {})
    for recognise in (_bids, _beside, _flat, _subfolders):
        if layout := recognise(folder):
            return layout
    raise UserError(
        f"{folder} has no images in a layout that is recognised: files, images and labels in two folders, imagesTr and "
        "labelsTr, BIDS, Learn2Reg, or a folder for each DICOM series; see cohortreg import folder --help, which takes "
        "any."
    )


def _bids(folder: Path) -> Layout | None:
    """Of several kinds of images T1w, or the one that most are."""
    matches = (BIDS_NAME.fullmatch(path.name) for path in folder.glob("sub-*/**/anat/*.nii*"))
    suffixes = Counter(match[2] for match in matches if match and match[2] not in DERIVED)
    if not suffixes:
        return None
    suffix = "T1w" if "T1w" in suffixes else suffixes.most_common(1)[0][0]
    return Layout(f"in BIDS layout, with images {suffix}", "bids", {"suffix": suffix})


def _beside(folder: Path) -> Layout | None:
    """Images and labels in two folders, as imagesTr and labelsTr."""
    children = sorted(path for path in folder.iterdir() if path.is_dir())
    of_images = [path for path in children if path.name.lower().startswith("image") and _images(path)]
    chosen = next((path for path in of_images if path.name == "imagesTr"), next(iter(of_images), None))
    if chosen is None:
        return None
    ending = re.sub("(?i)^images?", "", chosen.name)
    beside = [path for path in children if path.name.lower().startswith(LABEL_FOLDERS)]
    labels = [path for path in beside if path.name.endswith(ending) and _images(path)]
    names = _images(chosen)
    pattern = _pattern(names)
    first = [name for name in names if without_ending(name).endswith("_0000")]
    if first and all(re.search(r"_\d{4}$", without_ending(name)) for name in names):
        pattern = "*_0000" + _ending(first[0])  # of channels, as nnU-Net names them
    options = {"labels": f"{labels[0].name}/{_pattern(_images(labels[0]))}"} if labels else {}
    words = f"{chosen.name} and {labels[0].name}" if labels else chosen.name
    return Layout(f"images in {words}", "folder", options, f"{chosen.name}/{pattern}")


def _flat(folder: Path) -> Layout | None:
    """Images right in the folder, and labels with an ending beside them: a.nii or a_t1.nii, and a_seg.nii."""
    names = _images(folder)
    if not names:
        return None
    stems = {without_ending(name): name for name in names}
    endings = rf"(.+)([_.-](?:{'|'.join(LABEL_NAMES)}))"
    labels = {stem: match for stem in stems if (match := re.fullmatch(endings, stem, re.IGNORECASE))}
    for stem, match in labels.items():
        pattern = f"*{match[2]}{_ending(stems[stem])}"
        if match[1] in stems:
            return Layout(f"images, with labels {pattern}", "folder", {"labels": pattern}, _pattern(names))
        kinds = Counter(
            other[len(label[1]) :] + _ending(stems[other])
            for label in labels.values()
            for other in stems.keys() - labels.keys()
            if re.match(r"[_.-]", other[len(label[1]) :]) and other.startswith(label[1])
        )
        if kinds:  # of several kinds of images the one that most are
            images = "*" + min(kinds, key=lambda kind: (-kinds[kind], kind))
            return Layout(f"images {images}, with labels {pattern}", "folder", {"labels": pattern}, images)
    return Layout("images", "folder", {}, _pattern(names))


def _subfolders(folder: Path) -> Layout | None:
    """A folder for each subject, with files of the same names, or for each DICOM series."""
    by_name: Counter[str] = Counter()
    series: Counter[int] = Counter()
    for path, names in walked(folder):
        depth = len(path.relative_to(folder).parts)
        images = [name for name in names if may_be_image(path / name)]
        series[depth + 1] += sum(name.lower().endswith(ARCHIVES) for name in images)
        series[depth] += bool(names) and not images and may_be_image(path)
        if depth == 1:
            by_name.update(name for name in images if not name.lower().endswith(ARCHIVES))
    labels = [name for name in by_name if re.search("|".join(LABEL_NAMES), name, re.IGNORECASE)]
    images = [name for name, number in by_name.most_common() if name not in labels and number > 1]
    if images:
        options = {"labels": f"*/{labels[0]}"} if len(labels) == 1 else {}
        return Layout(f"a folder with {images[0]} for each image", "folder", options, f"*/{images[0]}")
    depth, number = series.most_common(1)[0] if series else (0, 0)
    if number and depth:
        return Layout("DICOM series", "folder", {}, "/".join(["*"] * depth))
    return None


def _pattern(names: Sequence[str]) -> str:
    """The pattern of images in a folder: their ending, if all have the same."""
    endings = set(map(_ending, names))
    return f"*{endings.pop()}" if len(endings) == 1 else "*"


def _ending(name: str) -> str:
    return name.removeprefix(without_ending(name))


def _images(folder: Path) -> Sequence[str]:
    """Names of the images right in a folder."""
    files = [path for path in folder.iterdir() if path.is_file() and not path.name.startswith(".")]
    slices = (".dcm", ".ima")
    return sorted(
        path.name for path in files if may_be_image(path) and not path.name.lower().endswith(slices)
    )
