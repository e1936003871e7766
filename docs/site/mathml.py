"""Equations as MathML, which browsers show by themselves, by the converter that docutils comes with."""

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx


def inline(translator, node: nodes.Element) -> None:
    """Write an equation within a sentence."""
    translator.body.append(tex2mathml(node.astext()))
    raise nodes.SkipNode


def block(translator, node: nodes.Element) -> None:
    """Write an equation on lines of its own."""
    equation = tex2mathml(node.astext(), as_block=True)
    translator.body.append(f'<div class="math" role="math">{equation}</div>\n')
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict:
    """Make this one of Sphinx's renderers of mathematics."""
    app.add_html_math_renderer("mathml", (inline, None), (block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
