"""The table of methods as Markdown and LaTeX."""

import math
import re

import pandas as pd
import pytest
import typed

from cohortreg.report.table2 import MethodsTable, hardware_in_words

MODELS = {"icon": typed.model({"similarity": "mse", "stages": [{"steps": 2, "downsample": 2}]})}
NAN = math.nan
COLUMNS = [
    *("method", "similarity", "pairs", "failed", "dice_mean", "dice_mean_low", "dice_mean_high", "p_value"),
    *("folds_mean", "folds_percent_mean", "time_s_mean", "hardware"),
    *(
        "dice_core_mean",
        "dice_rim_mean",
        "hd95_mean",
        "log_jacobian_std_mean",
        "inverse_consistency_voxels_mean",
    ),
]
NOTES = [
    "Means over 10 pairs.",
    "Dice: overlap of a structure's moving label, warped with linear interpolation and thresholded at one half, with "
    "its fixed label, at the fixed label's resolution; mean over the structures, with the 95 % bootstrap confidence "
    "interval of the mean over the pairs.",
    "HD95: 95 % Hausdorff distance between a structure's warped and fixed label; mean over the structures.",
    "Folds: voxels of the preprocessed grid at which the map reverses orientation (negative volume form), with the "
    "percentage of the grid's voxels that fold.",
    "SD of log |J|: standard deviation of the logarithm of the Jacobian determinant, over the voxels that do not fold.",
    "Inverse error: distance between a voxel and where mapping it there and back takes it, mean over the voxels.",
    "Time: time to register a pair, without reading and writing files, on abacus_2 & more.",
    "p: two-sided Wilcoxon signed-rank test of the pairs' Dice against affine, Holm-corrected over the rows.",
]
MORE = [[0.4, 0.35, 4.125, 0.0, 0.0], [0.7, 0.6658, 2.5, 0.21, NAN]]


@pytest.fixture
def summary() -> pd.DataFrame:
    rows = [
        ["affine", "MI", 10, 0, 0.375, NAN, NAN, NAN, 0.0, 0.0, 1330.0, "abacus_2 & more"],
        ["icon-2step", "MSE", 10, 0, 0.6829, 0.678, 0.6877, 0.0004, 118.4, 0.0411, 0.09, "abacus_2 & more"],
    ]
    rows = [[*row, *more] for row, more in zip(rows, MORE, strict=True)]
    return pd.DataFrame(rows, columns=COLUMNS)


def test_markdown_in_the_form_of_the_paper(summary):
    assert MethodsTable(summary, MODELS, "affine").markdown().splitlines() == [
        "| Method | L<sub>sim</sub> | Dice [95 %] | Folds | Time [s] | p |",
        "| --- | --- | ---: | ---: | ---: | ---: |",
        "| affine | MI | 37.50 | 0 (0 %) | 1,330 | reference |",
        "| icon-2step (2 step 1/2 res.) | MSE | 68.29 [67.80, 68.77] | 118.4 (0.041 %) | 0.09 | < 0.001 |",
        "",
        r"| Method | Dice core | Dice rim | HD95 [mm] | SD of log \|J\| | Inverse error [voxels] | Pairs |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
        "| affine | 40.00 | 35.00 | 4.12 | 0.000 | 0.00 | 10 |",
        "| icon-2step | 70.00 | 66.58 | 2.50 | 0.210 | – | 10 |",
        "",
        *NOTES,
    ]


def test_published_results_have_columns_beside_the_measured(summary):
    published = {
        "dice_published": [NAN, 0.5936],
        "folds_published": [NAN, 49.35],
        "time_s_published": [NAN, 0.09],
    }
    lines = MethodsTable(summary.assign(**published), MODELS, "affine").markdown().splitlines()
    assert lines[0] == (
        "| Method | L<sub>sim</sub> | Dice [95 %] | published | Folds | published | Time [s] | published | p |"
    )
    assert lines[2] == "| affine | MI | 37.50 | – | 0 (0 %) | – | 1,330 | – | reference |"
    assert lines[-1] == "Published times are of other hardware."
    assert "| 68.29 [67.80, 68.77] | 59.36 | 118.4 (0.041 %) | 49.35 | 0.09 | 0.09 |" in lines[3]


def test_latex_with_what_it_reserves_escaped(summary):
    summary["method"] = ["affine", "my_knees"]
    assert MethodsTable(summary, MODELS, "affine").latex().splitlines() == [
        r"% \usepackage{booktabs}",
        r"\begin{tabular}{llrrrr}",
        r"\toprule",
        r"Method & $\mathcal{L}_{\mathrm{sim}}$ & Dice [95 \%] & Folds & Time [s] & $p$ \\",
        r"\midrule",
        r"affine & MI & 37.50 & 0 (0 \%) & 1,330 & reference \\",
        r"my\_knees & MSE & 68.29 [67.80, 68.77] & 118.4 (0.041 \%) & 0.09 & \textless{} 0.001 \\",
        r"\bottomrule",
        r"\end{tabular}",
        r"\par\smallskip",
        r"\begin{tabular}{lrrrrrr}",
        r"\toprule",
        r"Method & Dice core & Dice rim & HD95 [mm] & SD of $\log|J|$ & Inverse error [voxels] & Pairs \\",
        r"\midrule",
        r"affine & 40.00 & 35.00 & 4.12 & 0.000 & 0.00 & 10 \\",
        r"my\_knees & 70.00 & 66.58 & 2.50 & 0.210 & -- & 10 \\",
        r"\bottomrule",
        r"\end{tabular}",
        r"\par\smallskip",
        r"{\footnotesize",
        *(re.sub("[%&_]", r"\\\g<0>", note).replace("|J|", "$|$J$|$") for note in NOTES),
        r"\par}",
    ]


def test_rows_of_different_hardware_are_told_apart(summary):
    summary["hardware"] = ["abacus", "GPU"]
    assert hardware_in_words(summary) == "abacus (affine); GPU (icon-2step)"
    summary["hardware"] = ["abacus", ""]
    assert hardware_in_words(summary) == "abacus"
    summary["hardware"] = ["", ""]
    assert hardware_in_words(summary) == ""
    assert " files.\n" in MethodsTable(summary, MODELS, "affine").markdown()


def test_failures_are_told(summary):
    summary.loc[1, ["pairs", "failed"]] = [8, 2]
    assert MethodsTable(summary, MODELS, "affine").markdown().splitlines()[-1] == (
        "Failed and left out: 2 of 10 pairs of icon-2step."
    )


def test_without_labels_there_is_no_dice_and_everything_else(summary):
    summary.loc[1, ["dice_mean", "dice_mean_low", "dice_mean_high", "p_value"]] = NAN
    row = MethodsTable(summary, MODELS, "affine").markdown().splitlines()[3]
    assert row == "| icon-2step (2 step 1/2 res.) | MSE | – | 118.4 (0.041 %) | 0.09 | – |"


def test_the_configurations_note_comes_first_below_the_table(summary):
    note = "Few iterations; no comparison."
    assert MethodsTable(summary, MODELS, "affine", note).markdown().split("\n\n")[2].startswith(note)
    assert note in MethodsTable(summary, MODELS, "affine", note).latex()
