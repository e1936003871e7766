"""Import of images, and of their labels, that two patterns of file names find."""

import glob
import re
from collections.abc import Iterable
from pathlib import Path

from cohortreg.errors import UserError
from cohortreg.images.dicom import ARCHIVES, is_named_as_slice
from cohortreg.importers.folders import (
    IMAGES,
    Say,
    can_be_listed,
    counted,
    few,
    identifier,
    left_out,
    relative_to,
    silent,
)
from cohortreg.importers.found import Found, image_row, image_table

#: Endings of further formats, see config/README.md.
PICTURES = (".png", ".tif", ".tiff", ".jpg", ".jpeg", ".jp2", ".mnc", ".h5", ".gipl", ".dcm", ".ima")
ENDINGS = sorted((*IMAGES, *PICTURES, *ARCHIVES), key=len, reverse=True)
#: Parts of a pattern that stand for anything, and the regular expressions of those without a choice of characters.
WILDCARDS = re.compile(r"\*\*/|\*+|\?|\[!?\]?[^]]*\]")
MATCHES = {"**/": "(?:(.*)/)?", "**": "(.*)", "*": "([^/]*)", "?": "([^/])"}


def import_folder(
    images: str, say: Say = silent, labels: str = "", root: Path = Path(), subject: str = ""
) -> Found:
    """Read the images that a pattern finds, such as images/*.nii.gz: files, or folders and archives of a DICOM series.

    An image is named after what the pattern's wildcards stand for, and its label is the file for which those of the
    other pattern stand for the same. Paths are relative to `root`, absolute outside of it.

    Args:
        images: Pattern of the images; ** stands for any folders.
        labels: Pattern of the labels; empty for none.
        root: Folder that the patterns start from.
        subject: Regular expression whose first group, or all of it, is an image's subject in its name; without one,
            every image is a subject of its own.

    Raises:
        UserError: No image is found, two have one name, or the expression does not fit.
    """
    if not root.is_dir():
        raise UserError(f"{root} is not a folder; name the one that the patterns start from with --root.")
    label_at = _matches(labels, root, say) if labels else {}
    # A pattern such as *.nii.gz finds labels too.
    found = _matches(images, root, say)
    image_at = {name: path for name, path in found.items() if path not in label_at.values()}
    if not image_at:
        raise UserError(
            f"{root / images} finds no image; correct the pattern, and write it in quotation marks, as in "
            "'images/*.nii.gz'."
        )
    subjects = _subjects(subject, image_at)
    alone = [path for name, path in label_at.items() if name not in image_at]
    for sentence in left_out(alone, "label", "of no image by name"):
        say(sentence)
    unlabelled = [path for name, path in image_at.items() if name not in label_at]
    if labels and unlabelled:
        say(f"Without a label: {counted(len(unlabelled), 'image')} ({few(unlabelled)}).")
    rows = [image_row(name, path, label_at.get(name, ""), subjects[name]) for name, path in image_at.items()]
    return Found(image_table(rows, root / images), root)


def _matches(pattern: str, root: Path, say: Say) -> dict[str, str]:
    """Name -> path of every image that a pattern finds."""
    expression = _expression(pattern)
    image_at: dict[str, str] = {}
    no_image: list[str] = []
    odd: list[str] = []
    paths = glob.glob(pattern, root_dir=root, recursive=True)  # noqa: PTH207  (which may be absolute)
    for path in sorted(paths):
        match = re.fullmatch(expression, path)
        wild = [part for part in match.groups() if part] if match else []
        name = identifier(without_ending("_".join(wild) or Path(path).name))
        if not may_be_image(root / path):
            no_image.append(path)
        elif not can_be_listed(name, path):
            odd.append(path)
        elif name in image_at:
            raise UserError(
                f"{root / pattern} finds two images '{name}', {image_at[name]} and {path}; make the pattern narrower."
            )
        else:
            image_at[name] = relative_to(root, root / path)
    for sentence in (
        *left_out(no_image, "file", "no image by its name"),
        *left_out(odd, "file", "the name is too long, or has characters that a table cannot store"),
    ):
        say(sentence)
    return image_at


def may_be_image(path: Path) -> bool:
    """Whether a path is an image by its name, or a folder with slices of a DICOM series."""
    if path.is_dir():
        return any(is_named_as_slice(child.name) for child in path.iterdir() if child.is_file())
    name = path.name.lower()
    return name.endswith(tuple(ENDINGS)) and not (name.endswith(".img") and path.with_suffix(".hdr").exists())


def _expression(pattern: str) -> str:
    """The regular expression of a pattern, with a group for each of its wildcards."""
    parts, end = [], 0
    for part in WILDCARDS.finditer(pattern):
        parts.append(re.escape(pattern[end : part.start()]))
        among = "^" + part[0][2:-1] if part[0].startswith("[!") else part[0][1:-1]
        parts.append(MATCHES.get(part[0], f"([{among}])"))
        end = part.end()
    return "(?s:" + "".join(parts) + re.escape(pattern[end:]) + ")"


def without_ending(name: str) -> str:
    """Return a name without what tells the format, of which label and image may have different ones."""
    ending = next((ending for ending in ENDINGS if name.lower().endswith(ending)), "")
    return name[: len(name) - len(ending)]


def _subjects(expression: str, names: Iterable[str]) -> dict[str, str]:
    """Name -> subject of every image."""
    try:
        compiled = re.compile(expression or ".*")
    except re.error as error:
        raise UserError(f"--subject {expression}: not a regular expression ({error}); correct it.") from error
    subjects = {}
    for name in names:
        match = compiled.search(name)
        subjects[name] = identifier(match[1 if compiled.groups else 0] or "") if match else ""
        if not subjects[name]:
            raise UserError(f"--subject {expression} finds nothing in the name '{name}'; correct it.")
    return subjects
