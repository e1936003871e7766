"""Which trainings and figures a preset has."""

from cohortreg.paper.plan import FIGURES, figure_cells, figures, table1_cells

BOTH = {"mnist": ["mlp", "unet"], "triangles_circles": ["unet"]}


def test_the_table_has_the_networks_of_each_data_set():
    cells = [cell[:3] for cell in table1_cells(BOTH, [64, 128])]
    mnist = [("mnist", network, weight) for weight in (64, 128) for network in ("mlp", "unet")]
    assert cells == [*mnist, ("triangles_circles", "unet", 64), ("triangles_circles", "unet", 128)]


def test_figure_6_is_drawn_of_the_data_sets_that_are_trained_on_and_adds_the_weight_0():
    assert figures(BOTH) == list(FIGURES)
    only_shapes = {"triangles_circles": ["unet"]}
    assert set(FIGURES) - set(figures(only_shapes)) == {"figure6-mnist"}
    cells = figure_cells("figure6-triangles_circles", only_shapes, [64])
    assert [cell[:3] for cell in cells] == [
        ("triangles_circles", "unet", 0),
        ("triangles_circles", "unet", 64),
    ]
