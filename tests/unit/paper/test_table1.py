"""The table and the figures from cells that were made up."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cohortreg.errors import UserError
from cohortreg.files import write_json
from cohortreg.maps.grids import identity_map
from cohortreg.paper import figures, table1
from cohortreg.paper.plan import FIGURES, Run, figure_cells, table1_cells
from cohortreg.report_layout import FIGURE_SUFFIXES

PUBLISHED = Path(__file__).parents[3] / "resources" / "paper" / "table1.csv"


@pytest.fixture
def run(preset) -> Run:
    return Run("quick", preset, 1)


@pytest.fixture
def made(layout, run):
    """Cells that are published to the digit but for Dice, which is 0.02 higher."""
    published = table1.read_published(PUBLISHED).set_index(["dataset", "network", "lambda"])
    cells = {
        *table1_cells(run.settings.table1.plain(), [0, *run.settings.weights]),
        *(
            cell
            for name in FIGURES
            for cell in figure_cells(name, run.settings.table1.plain(), run.settings.weights)
        ),
    }
    phi = identity_map((28, 28))[0].repeat(2, 1, 1, 1).numpy()
    image = np.random.default_rng(0).random((2, 28, 28), np.float32)
    for cell in cells:
        dice, folds = published.loc[cell[:3]] if cell.weight else (0.5, 99.0)
        facts = {
            "dataset": cell.dataset,
            "lambda": cell.weight,
            "network": cell.network,
            "variant": cell.variant,
        }
        write_json(layout.measured(*cell), facts | {"dice": dice + 0.02, "folds": folds})
        arrays = {"moving": image, "fixed": image, "warped": image, "phi": phi, "phi_back": phi}
        np.savez(layout.examples(*cell), **arrays)
    return layout


def test_the_table_lies_beside_the_published_one(made, run):
    text = table1.write(made, PUBLISHED, run)
    table = pd.read_csv(made.table1)
    assert len(table) == 2 * 2 * 4
    assert table["dice_difference"].to_numpy() == pytest.approx(0.02)
    assert table["folds_difference"].to_numpy() == pytest.approx(0)
    assert set(table["preset"]) == {"quick"}
    assert "0.94 / 0.92 / +0.02" in text
    assert "differs from the published by at most 0.020 (within 0.03)" in text
    assert "From one λ to the next, folds never rise for MLP, Enc-Dec, U-Net, ConvOnly." in text
    assert "Preset quick (smaller than the paper's experiment): at most 6 training images" in text
    assert made.table1_markdown.read_text("utf-8") == text


def test_a_table_without_its_columns_is_refused_in_one_sentence(tmp_path):
    path = tmp_path / "table1.csv"
    path.write_text("dataset,lambda,network,dice\n")
    with pytest.raises(UserError, match="has no column folds"):
        table1.read_published(path)


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_says_its_preset_images_steps_and_seed(made, run, name):
    figures.draw(made, name, run)
    for suffix in FIGURE_SUFFIXES:
        assert made.figure(name, suffix).stat().st_size > 0
    footer = " ".join(figures.DRAWN[name](made, run)._supxlabel.get_text().split())
    for word in ("Preset quick", "images", "steps", "seed"):
        assert word in footer
