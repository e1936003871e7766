"""The files of weights that the authors of ICON, GradICON, uniGradICON and multiGradICON published.

What stands here is what their code says of each file: `pretrained_models/`, `training_scripts/` and `test/` of
github.com/uncbiag/ICON at 16a2c89, `src/unigradicon` and `training/` of github.com/uncbiag/uniGradICON at 6c21677.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cohortreg.errors import UserError

_ICON = "uncbiag/ICON"
_UNIGRADICON = "uncbiag/uniGradICON"
#: Channels of the U-Net of every published step.
DOWN, UP = [2, 16, 32, 64, 256, 512], [16, 32, 64, 128, 256]
#: Of the dense layer in the first U-Net of ICON's knees.
BOTTLENECK = 128


@dataclass(frozen=True)
class Release:
    """A published file, and the images that its model is for.

    Attributes:
        name: What we call it.
        repository: On GitHub, of which the file is a release's.
        tag: Of the release.
        file: Its name there.
        grid: Voxels of the images, along the model's own axes.
        axes: Directions that these run to, see `maps.axes.Axes`.
        percentiles: Of the intensities, which become 0 and 1.
        mirror: The side whose images are mirrored; None where training mirrored and turned images at random.
        intensities: How training scaled them, in words.
        bottleneck: Channels of the dense layer of the first network; 0 where it has none.
    """

    name: str
    repository: str
    tag: str
    file: str
    grid: tuple[int, int, int]
    axes: str
    percentiles: tuple[float, float]
    mirror: str | None
    intensities: str
    bottleneck: int = 0

    @property
    def address(self) -> str:
        """Where the file is."""
        return f"https://github.com/{self.repository}/releases/download/{self.tag}/{self.file}"

    @property
    def preprocess(self) -> dict[str, object]:
        """How images are preprocessed for it, besides the grid; what training left open is left out."""
        settings: dict[str, object] = {"fit": "resample", "percentiles": list(self.percentiles)}
        return settings if self.mirror is None else settings | {"mirror": self.mirror}


_MAXIMUM = "divided by their maximum"
_UNIVERSAL = (
    "MRI from the minimum to the 99th percentile; CT from -1000 to 1000 HU, to which it has to be clipped"
)

# How axes follow: of knees the authors read sagittal slices, [k, j, i], that run from left to right, down and back, and
# flip the first axis of right ones, so that it runs to the medial side: to the left in right knees. Training on lungs,
# and that of uniGradICON and multiGradICON, permutes and flips the axes of each pair at random. Brains in HCP's files
# run to the left, front and top.
RELEASES = (
    Release(
        "icon-knees", _ICON, "pretrained_oai_model", "OAI_knees_ICON_model.pth",
        (80, 192, 192), "LIP", (0, 100), "left", _MAXIMUM, BOTTLENECK,
    ),
    Release(
        "gradicon-knees", _ICON, "pretrained_models_v1.0.0", "knee_model_weights_step_2.trch",
        (80, 192, 192), "LIP", (0, 100), "left", _MAXIMUM,
    ),
    Release(
        "gradicon-lungs", _ICON, "pretrained_models_v1.0.0", "lung_model_weights_step_2.trch",
        (175, 175, 175), "RAS", (0, 100), None,
        "CT from -1000 to 0 HU, to which it has to be clipped, and 0 outside of the lungs",
    ),
    Release(
        "gradicon-brains", _ICON, "pretrained_models_v1.0.0", "brain_model_weights_step_2.trch",
        (130, 155, 130), "SAL", (0, 100), "none", f"T1 without skull, {_MAXIMUM}",
    ),
    Release(
        "unigradicon", _UNIGRADICON, "unigradicon_weights", "Step_2_final.trch",
        (175, 175, 175), "RAS", (0, 99), None, _UNIVERSAL,
    ),
    Release(
        "multigradicon", _UNIGRADICON, "multigradicon_weights", "Step_2_final.trch",
        (175, 175, 175), "RAS", (0, 99), None, _UNIVERSAL,
    ),
)  # fmt: skip


def named(name: str) -> Release:
    """Return the release of a name; raises UserError where none has it."""
    for release in RELEASES:
        if release.name == name:
            return release
    raise UserError(f"no published model is called {name}; choose one of {_in_words(RELEASES)}.")


def recognise(path: Path, bottleneck: bool, grid: Sequence[int] | None) -> Release:
    """Return the release that a file is.

    uniGradICON and multiGradICON have files of one name and one structure, and are used alike: the first stands for
    both.

    Args:
        path: The file, whose name decides where its content does not.
        bottleneck: Whether its first network has a dense layer.
        grid: Of the maps of the identity that it keeps, as files of earlier versions of the package do; None without.

    Raises:
        UserError: Several releases are possible, or none.
    """
    possible = [release for release in RELEASES if bool(release.bottleneck) == bottleneck]
    if grid is not None:
        possible = [release for release in possible if release.grid == tuple(grid)]
        if not possible:
            raise UserError(
                f"{path}: is of images of {' x '.join(map(str, grid))} voxels, which no published model is for; give "
                "--grid and --axes."
            )
    by_name = [release for release in RELEASES if release.file == path.name]
    if by_name and not any(release in possible for release in by_name):
        raise UserError(
            f"{path}: has the name of {_in_words(by_name)}, but the content of {_in_words(possible)}; download it "
            "again, or say which it is with --published."
        )
    possible = [release for release in possible if release in by_name] or possible
    if len({(release.grid, release.axes, str(release.preprocess)) for release in possible}) > 1:
        raise UserError(
            f"{path}: by its content it may be {_in_words(possible)}; say which with --published, or give the file the "
            "name that it was published under."
        )
    return possible[0]


def _in_words(releases: Sequence[Release]) -> str:
    *others, last = [release.name for release in releases]
    return f"{', '.join(others)} or {last}" if others else last
