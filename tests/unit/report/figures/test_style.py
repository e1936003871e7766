"""What all figures share."""

import pytest

from cohortreg.report.figures import style


@pytest.mark.parametrize("name", ["a$b$", "x" * 248, "$\\frac$", "👩", "א", "_^{", "%"])
def test_a_name_is_drawn_as_it_is(name):
    figure = style.message(f"The transform of {style.short(name, 32)} to b was deleted.")
    figure.canvas.draw()
    (text,) = figure.axes[0].texts
    assert len(text.get_text()) < 80
    assert text.get_window_extent().width < figure.bbox.width
