"""Which trainings the paper's table and figures need, by name; nothing here computes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from cohortreg.paper.settings import Preset

DATASETS = {"mnist": "MNIST", "triangles_circles": "Triangles & Circles"}
SPLITS = ("train", "test")
NETWORKS = {"mlp": "MLP", "enc_dec": "Enc-Dec", "unet": "U-Net", "conv_only": "ConvOnly"}

# Table 1 trains off the grid from the identity. Figure 3 trains on and off the grid, from swapped pixels.
VARIANTS = ("table1", "swapped-on-grid", "swapped-off-grid")

FIGURE6 = {f"figure6-{dataset}": dataset for dataset in DATASETS}
FIGURES = ("figure2", "figure3", "figure4", "figure5", *FIGURE6)

FULL = "full"


class Cell(NamedTuple):
    """One training: a cell of Table 1, or one of the two trainings of Figure 3."""

    dataset: str
    network: str
    weight: int
    variant: str = "table1"


FIGURE3 = tuple(Cell("mnist", "mlp", 256, variant) for variant in VARIANTS[1:])
FIGURE5 = Cell("triangles_circles", "unet", 2048)


def table1_cells(networks: Mapping[str, Sequence[str]], weights: Sequence[int]) -> list[Cell]:
    """Every cell of Table 1, in the order of the published file, of the networks that are trained on each data set."""
    return [
        Cell(dataset, network, weight)
        for dataset, named in networks.items()
        for weight in weights
        for network in named
    ]


def figures(networks: Mapping[str, Sequence[str]]) -> list[str]:
    """The figures of `FIGURES`; Figure 6 of those data sets only on which networks are trained."""
    return [name for name in FIGURES if FIGURE6.get(name) is None or FIGURE6[name] in networks]


def figure_cells(figure: str, networks: Mapping[str, Sequence[str]], weights: Sequence[int]) -> list[Cell]:
    """The cells that a figure of `FIGURES` shows. Figure 6 adds the weight 0 to those of Table 1."""
    if figure in FIGURE6:
        dataset = FIGURE6[figure]
        return table1_cells({dataset: networks[dataset]}, [0, *weights])
    return {"figure3": list(FIGURE3), "figure5": [FIGURE5]}.get(figure, [])


@dataclass(frozen=True)
class Run:
    """What every output says of itself."""

    preset: str
    settings: Preset
    seed: int

    def trained_on(self, dataset: str, networks: Sequence[str]) -> str:
        """Preset, images, steps and seed of trainings on a data set, as a sentence."""
        sizes = self.settings
        size = 28 if dataset == "mnist" else sizes.size
        trained = {NETWORKS[name]: getattr(sizes.networks, name) for name in networks}
        steps = [f"{name} {one.training_steps:,} × {one.batch_size}" for name, one in trained.items()]
        kind = (
            "the paper's images and networks"
            if self.preset == FULL
            else "smaller than the paper's experiment"
        )
        return (
            f"Preset {self.preset} ({kind}): at most {sizes.train_images:,} training images of {size}×{size} "
            f"pixels; steps × pairs in each: {', '.join(steps)}; {sizes.pairs:,} held-out pairs; seed "
            f"{self.seed}."
        )

    def untrained(self, points: int) -> str:
        """The same for a figure that needs neither images nor steps nor a seed."""
        return f"Preset {self.preset}, alike in every preset: {points} points; no images, no steps, no seed."
