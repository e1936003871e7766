"""A cohort's transforms between its raw images, and what they warp, in files for other programs."""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import SimpleITK as sitk

import cohortreg
from cohortreg.cohort.tables import pair_ids, read_table
from cohortreg.config import expand_root
from cohortreg.errors import UserError
from cohortreg.files import LONGEST, read_json, write_json, write_text
from cohortreg.images.io import read_image, read_label, write_image
from cohortreg.importers.bids import NAME
from cohortreg.jobs.registered import DIRECTIONS, cohort_pairs, read_registered, transform_path
from cohortreg.jobs.sidecars import read_sidecar
from cohortreg.layout import Layout
from cohortreg.maps.apply import warp
from cohortreg.maps.exchange import Pair, write, write_learn2reg
from cohortreg.maps.raw import Source, between_raw
from cohortreg.maps.transforms import field_of
from cohortreg.provenance import running

BIDS_VERSION = "1.10.0"
#: The standard names transforms in a draft alone; fMRIPrep has the validator pass over them in the same way.
BIDS_IGNORED = "*_xfm.*\n"
#: The suffix of an image of an anatomy, one of those that validators know.
BIDS_SUFFIX = re.compile(
    "T1w|T2w|PDw|T2starw|FLAIR|PDT2|inplaneT1|inplaneT2|angio|UNIT1|T1map|T2map|T2starmap|R1map|R2map|R2starmap|"
    "PDmap|MTRmap|MTsat|Chimap|MTVmap|PDT2map|M0map"
)
#: Entities that a name has behind space.
BIDS_BEHIND_SPACE = ("split", "recording", "chunk", "seg", "res", "den", "label", "desc")
#: What its data set calls the folder of raw images.
BIDS_RAW = "raw"
#: Kinds of images that are written beside the transforms, and the folder of each.
WARPED, LABELS = "image", "label"
FOLDERS = {WARPED: "warped", LABELS: "labels"}


def exported_pairs(layout: Layout, moving: str = "", fixed: str = "") -> list[tuple[str, str]]:
    """The cohort's distinct pairs, moving and fixed, or those of one moving or fixed image.

    Raises:
        UserError: The cohort has none.
    """
    if not layout.pairs.is_file():
        raise UserError(f"{layout.pairs} does not exist; give a cohort's folder of results.")
    every = dict.fromkeys(pair_ids(cohort_pairs(layout)))
    pairs = [ids for ids in every if (moving or ids[0], fixed or ids[1]) == ids]
    if not pairs:
        raise UserError(f"{layout.pairs} has no pair of moving image '{moving}' and fixed image '{fixed}'.")
    return pairs


class RawTransform(NamedTuple):
    """A transform that warps the raw image `moving` onto the raw image `fixed`."""

    moving: str
    fixed: str
    transform: sitk.Transform
    grids: Pair


@dataclass(frozen=True)
class Names:
    """Names of the files of transforms, below a folder."""

    kind: str

    def transform(self, moving: str, fixed: str) -> str:
        """The file of the transform that warps `moving` onto `fixed`."""
        if self.kind.startswith("learn2reg"):
            return f"disp_{fixed}_{moving}.{'npz' if self.kind.endswith('npz') else 'nii.gz'}"
        return f"{moving}_to_{fixed}.{self.kind}"

    def warped(self, moving: str, fixed: str, kind: str) -> str:
        """The file of the moving image, or its label map, on the fixed image."""
        return f"{FOLDERS[kind]}/{moving}_to_{fixed}.nii.gz"


@dataclass(frozen=True)
class BidsNames(Names):
    """Names as derivatives have them in the Brain Imaging Data Structure.

    Attributes:
        subjects: The subject of each image.
        sources: The path of each raw image.
        suffix: What images are, in BIDS' words, where names of raw images do not say it.
    """

    subjects: Mapping[str, str] = field(default_factory=dict)
    sources: Mapping[str, str] = field(default_factory=dict)
    suffix: str = ""

    def transform(self, moving: str, fixed: str) -> str:
        """The file of the transform that warps `moving` onto `fixed`, in the folder of the moving image's subject."""
        subject = f"sub-{bids_label(self.subjects[moving])}"
        ends = f"from-{bids_label(moving)}_to-{bids_label(fixed)}"
        return f"{subject}/anat/{subject}_{ends}_mode-image_xfm.{self.kind}"

    def warped(self, moving: str, fixed: str, kind: str) -> str:
        """The file of the moving image, or its label map, in the space of the fixed image.

        It is called as the raw image is where that has a name of BIDS, such as sub-01_ses-2_T1w.nii.gz; otherwise after
        its subject, and the image itself is the description.

        Raises:
            UserError: It is not known what the image is.
        """
        space, subject = f"space-{bids_label(fixed)}", f"sub-{bids_label(self.subjects[moving])}"
        named = NAME.fullmatch(Path(self.sources[moving]).name)
        entities, suffix = [subject, f"desc-{bids_label(moving)}"], self.suffix
        if named and named[1].split("_")[0] == subject and BIDS_SUFFIX.fullmatch(named[2]):
            entities = [entity for entity in named[1].split("_") if not entity.startswith("space-")]
            suffix = named[2]
        behind = (n for n, entity in enumerate(entities) if entity.split("-")[0] in BIDS_BEHIND_SPACE)
        entities.insert(next(behind, len(entities)), space)
        if kind == WARPED and not BIDS_SUFFIX.fullmatch(suffix):
            said = (
                f"--suffix {suffix} is none of BIDS'"
                if suffix
                else "its name does not say what it is in BIDS' words"
            )
            raise UserError(f"{self.sources[moving]}: {said}; give --suffix, such as T1w.")
        folders = [subject, *(entity for entity in entities if entity.startswith("ses-")), "anat"]
        return "/".join([*folders, "_".join([*entities, "dseg" if kind == LABELS else suffix])]) + ".nii.gz"


def bids_label(name: str) -> str:
    """A name as the value of a BIDS entity, letters and digits: "sub-01_T1w" becomes "01T1w"."""
    label = re.sub("[^A-Za-z0-9]", "", name.removeprefix("sub-"))
    if not label:
        raise UserError(
            f"'{name}' has neither letters nor digits, of which names in BIDS are made; rename it."
        )
    return label


@dataclass(frozen=True)
class Export:
    """What is written of a method's registrations.

    Attributes:
        kind: "nii.gz", "h5" or "tfm", see `exchange.write`; "learn2reg" or "learn2reg.npz", see `write_learn2reg`.
        bids: Whether the folder is a BIDS data set of derivatives.
        images: The kinds of images that are warped too, `WARPED` and `LABELS`.
        root: The folder that paths of raw images start from; by default the one that preprocessing was given.
        suffix: See `BidsNames`.
    """

    layout: Layout
    method: str
    folder: Path
    kind: str
    bids: bool = False
    images: Sequence[str] = ()
    root: Path | None = None
    suffix: str = ""

    @cached_property
    def names(self) -> Names:
        """The names of the files."""
        if not self.bids:
            return Names(self.kind)
        table = read_table(self.layout.images, ["image_id", "subject_id"], "`cohortreg cohort`")
        subjects = dict(zip(table["image_id"], table["subject_id"], strict=True))
        sources = {name: read_sidecar(self.layout, name)["image"] for name in subjects} if self.images else {}
        return BidsNames(self.kind, subjects, sources, self.suffix)

    def begin(self, pairs: Sequence[tuple[str, str]]) -> None:
        """Check what can be checked before anything is written, and describe a data set.

        Raises:
            UserError: Two files would share a name, a name would be too long or is that of a raw image, raw images are
                not found, or the folder of a data set has other files.
        """
        self._check_raw(self._check_names(pairs))
        if self.images:
            _ = self._root
        if self.bids:
            self._describe()

    def pair(self, moving: str, fixed: str) -> list[str]:
        """Write what there is of a pair, and return the kind of each file: "transform", `WARPED` or `LABELS`.

        Empty where the pair was not registered, or its transforms were deleted.
        """
        kinds = []
        for result in self._transforms(moving, fixed):
            path = self.folder / self.names.transform(result.moving, result.fixed)
            if self.kind.startswith("learn2reg"):
                write_learn2reg(path, field_of(result.transform, result.grids.fixed), result.grids.moving)
            else:
                write(path, result.transform, result.grids)
            kinds += ["transform", *(kind for kind in self.images if self._write_warped(result, kind))]
        return kinds

    def _transforms(self, moving: str, fixed: str) -> Iterator[RawTransform]:
        """Both directions, as far as they are there."""
        if not transform_path(self.layout, self.method, moving, fixed).is_file():
            return
        sources = {image: Source.of(read_sidecar(self.layout, image)) for image in (moving, fixed)}
        # Of an image with itself both have one name.
        for direction in DIRECTIONS if moving != fixed else DIRECTIONS[:1]:
            if not transform_path(self.layout, self.method, moving, fixed, direction).is_file():
                continue
            start, end = (moving, fixed) if direction == "forward" else (fixed, moving)
            preprocessed = read_registered(self.layout, self.method, moving, fixed, direction)
            transform = between_raw(preprocessed, sources[start], sources[end])
            yield RawTransform(start, end, transform, Pair(sources[start].grid, sources[end].grid))

    def _write_warped(self, result: RawTransform, kind: str) -> bool:
        """Write the raw moving image, or its label map, on the raw fixed image; False where it has none."""
        record = read_sidecar(self.layout, result.moving)
        if not record[kind]:
            return False
        path = self._root / record[kind]
        if not path.exists() or running().reads(path) != record[f"{kind}_sha256"]:
            raise UserError(f"{path} is missing, or not what was preprocessed; run the workflow again.")
        image = read_label(path) if kind == LABELS else read_image(path)
        warped = warp(image, result.transform, result.grids.fixed, nearest=kind == LABELS)
        written = self.folder / self.names.warped(result.moving, result.fixed, kind)
        write_image(written, warped)
        if self.bids:
            transform = self.names.transform(result.moving, result.fixed)
            sources = [f"bids:{BIDS_RAW}:{record[kind]}", f"bids::{transform}"]
            reference = f"bids:{BIDS_RAW}:{read_sidecar(self.layout, result.fixed)[WARPED]}"
            about: dict[str, Any] = {"Sources": sources, "SpatialReference": reference}
            if kind == WARPED:  # the standard asks for it; warping strips no skull
                said = path.with_name(path.name.split(".nii")[0] + ".json")
                about["SkullStripped"] = said.is_file() and read_json(said).get("SkullStripped") is True
            write_json(written.with_name(written.name.replace(".nii.gz", ".json")), about)
        return True

    @cached_property
    def _root(self) -> Path:
        """Where paths of raw images start."""
        if self.root is not None:
            return self.root
        for path in sorted(self.layout.root.glob("settings/preprocess/*/settings.json")):
            return expand_root(read_json(path)["root"])
        raise UserError(
            f"{self.layout.root} does not say where its raw images are; give their folder, --root."
        )

    def _describe(self) -> None:
        """Write dataset_description.json, which says what made the files, unless the folder is something else's."""
        description = {
            "Name": f"Transforms of {self.layout.root.resolve().name} by {self.method}",
            "BIDSVersion": BIDS_VERSION,
            "DatasetType": "derivative",
            "GeneratedBy": [{"Name": "cohortreg", "Version": cohortreg.__version__}],
        }
        path = self.folder / "dataset_description.json"
        before = read_json(path) if path.is_file() else {}
        if self.folder.is_dir() and any(self.folder.iterdir()) and before.get("Name") != description["Name"]:
            raise UserError(f"{self.folder} has other files; give these transforms a folder of their own.")
        raw = {BIDS_RAW: os.path.relpath(self._root, self.folder)} if self.images else None
        links = raw or before.get("DatasetLinks")
        write_json(path, description | ({"DatasetLinks": links} if links else {}))
        write_text(self.folder / ".bidsignore", BIDS_IGNORED)

    def _check_raw(self, owners: Mapping[str, tuple[str, str]]) -> None:
        """Raise UserError where a file would replace one of the cohort's raw images or label maps."""
        there = [self.folder / name for name in owners if (self.folder / name).exists()]
        images = {image for ids in owners.values() for image in ids if self.layout.sidecar(image).is_file()}
        records = [read_sidecar(self.layout, image) for image in images] if there else []
        paths = [record[kind] for record in records for kind in FOLDERS if record[kind]]
        raw = {os.path.realpath(self._root / path) for path in paths}
        for path in there:
            if os.path.realpath(path) in raw:
                raise UserError(
                    f"{path} is one of the cohort's raw images, which are never overwritten; give a folder of its own."
                )

    def _check_names(self, pairs: Sequence[tuple[str, str]]) -> dict[str, tuple[str, str]]:
        """The names of all files, and the pair of each. Raises UserError where two share one, or one would be too long.

        Those of a_to_b to c and of a to b_to_c would share one.
        """
        owners: dict[str, tuple[str, str]] = {}
        for ids in dict.fromkeys(both for pair in pairs for both in (pair, pair[::-1])):
            names = [self.names.transform(*ids), *(self.names.warped(*ids, kind) for kind in self.images)]
            for name in dict.fromkeys(names):
                size = len(Path(name).name.encode())
                if size > LONGEST:
                    raise UserError(
                        f"The transform of {ids[0]} to {ids[1]} would be called {name}, which has {size} bytes, and "
                        f"file names can have at most {LONGEST}; give the images shorter names."
                    )
                owner = owners.setdefault(name, ids)
                if owner != ids:
                    first, second = (" to ".join(pair) for pair in (owner, ids))
                    raise UserError(
                        f"The transforms of {first} and of {second} would both be called {name}; write them to "
                        "folders of their own with --moving and --fixed."
                    )
        return owners
