"""Import of a folder with one image of each subject."""

from pathlib import Path

from cohortreg.errors import UserError
from cohortreg.importers.folders import Say, check_folder, images_below, is_identifier, left_out, silent
from cohortreg.importers.found import Found, image_row, image_table


def import_flat(folder: Path, say: Say = silent, ending: str = "_seg") -> Found:
    """Read files named SUBJECT.nii.gz, with labels that have an ending behind the subject's name."""
    check_folder(folder)
    files = images_below(folder)
    named = {path.removesuffix(".nii.gz"): path for path in files if path.endswith(".nii.gz")}
    names = [name for name in named if is_identifier(name) and not name.endswith(ending)]
    rows = [image_row(name, named[name], named.get(name + ending, "")) for name in names]
    used = {path for row in rows for path in (row["image"], row["label"])}
    others = [path for path in files if path not in used]
    for sentence in left_out(others, "file", f"not named SUBJECT.nii.gz or SUBJECT{ending}.nii.gz"):
        say(sentence)
    if not names:
        raise UserError(f"{folder} has no image named SUBJECT.nii.gz; give the folder that has them.")
    return Found(image_table(rows, folder), folder)
