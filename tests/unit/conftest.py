"""Small cohorts, registered and evaluated, that figures and report read; drawn once for all tests."""

import pytest
from cohorts import make_results

from cohortreg.jobs.comparison import read_comparison
from cohortreg.layout import Layout


@pytest.fixture(scope="session")
def results(tmp_path_factory) -> tuple[Layout, dict]:
    """Layout and configuration of a cohort with labels and a trained model; figures are not drawn yet."""
    return make_results(tmp_path_factory.mktemp("results"))


@pytest.fixture(scope="session")
def drawn(results) -> tuple[Layout, dict]:
    """The same with its figures."""
    from cohortreg.jobs.figures import draw_figures

    layout, config = results
    draw_figures(layout, read_comparison(layout, config))
    return layout, config


@pytest.fixture(scope="session")
def failing(tmp_path_factory) -> tuple[Layout, dict]:
    """A cohort on which affine failed for one pair and the main method for all, with its figures."""
    from cohortreg.jobs.figures import draw_figures

    failures = {"affine": ["", "<exit 1>", ""], "icon-3step": ["out of memory"] * 3}
    layout, config = make_results(tmp_path_factory.mktemp("failing"), failures=failures)
    draw_figures(layout, read_comparison(layout, config))
    return layout, config


@pytest.fixture(scope="session")
def with_sets(tmp_path_factory) -> tuple[Layout, dict]:
    """A cohort whose second pair is a set of its own, with its figures."""
    from cohortreg.jobs.figures import draw_figures

    layout, config = make_results(tmp_path_factory.mktemp("sets"), models=False, sets=("", "years", ""))
    draw_figures(layout, read_comparison(layout, config))
    return layout, config


@pytest.fixture(scope="session")
def bare(tmp_path_factory) -> tuple[Layout, dict]:
    """A cohort without labels and without a trained model, with its figures."""
    from cohortreg.jobs.figures import draw_figures

    layout, config = make_results(tmp_path_factory.mktemp("bare"), labels=False, models=False)
    draw_figures(layout, read_comparison(layout, config))
    return layout, config
