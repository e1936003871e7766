"""The importers by name, one entry each. Nothing of an importer is imported before it runs."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from cohortreg.plugins import Entries, resolve

if TYPE_CHECKING:
    from cohortreg.importers.found import Found


#: Of the body.
Side = Literal["left", "right"]


class Draw(NamedTuple):
    """How splits and pairs are drawn.

    Attributes:
        test_fraction: Part of the subjects to test on, at least two of them.
        validation_fraction: Part of the subjects to measure on while networks are trained.
        pairs: Number of test pairs; fewer where the images make no more.
        seed: Everything drawn follows from it.
    """

    test_fraction: float = 0.2
    validation_fraction: float = 0
    pairs: int = 100
    seed: int = 1


class Option(NamedTuple):
    """An option of one importer: what its help says, its type, and its default."""

    help: str
    kind: Any = str
    default: Any = ""


class Importer(NamedTuple):
    """An importer, and its command.

    Attributes:
        path: Module and function below `cohortreg.importers`; of another package, "module:function". The function takes
            the argument, `say`, which is called with a sentence for each kind of file that is not used, and the
            options; it returns a `found.Found`.
        source: Help of the command's argument.
        about: Help of the command.
        argument: Name of the argument.
        kind: Type of the argument.
        options: The importer's own options by name.
        draw: Defaults for drawing splits and pairs; None where what is read always has both.
        tools: What else the function takes: `output`, the folder of the tables, and `progress_bar`.
    """

    path: str
    source: str
    about: str
    argument: str = "folder"
    kind: Any = Path
    options: Mapping[str, Option] = {}
    draw: Draw | None = Draw()
    tools: tuple[str, ...] = ()

    @property
    def function(self) -> "Callable[..., Found]":
        """Import the function."""
        function: Callable[..., Found] = resolve(self.path, __package__)
        return function


#: Importers by the names of their commands, with those of other packages, see `plugins`.
IMPORTERS: Entries[Importer] = Entries("cohortreg.importers", Importer)
IMPORTERS |= {
    "folder": Importer(
        "folder.import_folder",
        source="A pattern of file names in quotation marks, such as 'images/*.nii.gz', or of folders with a DICOM "
        "series each.",
        about="Import the images that a pattern finds; an image is named after what the * stands for.",
        argument="images",
        kind=str,
        options={
            "labels": Option(
                "A pattern of the labels: an image's is that for which the * stands for the same."
            ),
            "root": Option("Folder that the patterns start from, and the paths of the tables.", Path, Path()),
            "subject": Option(
                "A regular expression that finds the subject in an image's name, such as 'sub-[0-9]+'; without it, "
                "every image is of another subject."
            ),
        },
    ),
    "msd": Importer(
        "msd.import_msd",
        source="A folder with dataset.json, imagesTr and labelsTr.",
        about="Import a folder in the layout of the Medical Segmentation Decathlon; paths are relative to it.",
    ),
    "bids": Importer(
        "bids.import_bids",
        source="A folder with sub-*/[ses-*/]anat/.",
        about="Import the anatomical images of a folder in the Brain Imaging Data Structure; paths are relative to it.",
        options={"suffix": Option("Which images, such as T1w; needed where there are several.")},
    ),
    "learn2reg": Importer(
        "learn2reg.import_learn2reg",
        source="A folder with dataset.json (or NAME_dataset.json), imagesTr, and labelsTr or masksTr.",
        about="Import a dataset of the Learn2Reg challenge with the pairs that it lists; paths are relative to it.",
    ),
    "label-maps": Importer(
        "label_maps.import_label_maps",
        source="Label maps named SUBJECT_VISIT_label.nii.gz.",
        about="Write the tables of a cohort whose images the workflow makes from label maps, see phantom.labels.",
        options={"side": Option("Which knee all of them are.", Side, "right")},
        draw=Draw(test_fraction=0.3, pairs=60),
    ),
    "oai": Importer(
        "oai.import_oai",
        source="The Osteoarthritis Initiative's archive, or a part of it.",
        about="Import DESS series and label maps from OAI's folders and .tar.gz files; paths are relative to FOLDER. "
        "What is not used is listed in left-out.tsv.",
        options={
            "labels": Option("Folder of the label maps; FOLDER if none.", Path | None, None),
            "repeated": Option("Keep repeated scans of a knee and day, for import oai-split.", bool, False),
        },
        tools=("output", "progress_bar"),
    ),
    "oai-split": Importer(
        "oai_split.import_oai_split",
        source="Published lists of pairs, such as that of the tests.",
        about="Import the published lists of pairs of OAI knees; paths are relative to root. What is not there is "
        "listed in missing.tsv.",
        argument="lists",
        kind=list[Path],
        options={
            "root": Option("Folder below which the images and labels are.", Path, Path("resources/oai")),
            "images": Option(
                "The images.tsv that import oai wrote of the archive at root.", Path | None, None
            ),
            "as_published": Option("Keep repeated pairs and images with themselves.", bool, False),
        },
        draw=None,
    ),
}
