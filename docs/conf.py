"""How Sphinx builds the documentation: `make docs`, which takes every warning for an error.

The source folder is the repository, so that links between its pages are those that GitHub follows. Nothing that is
built asks another host for anything.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "site"))

import cohortreg

project = "cohortreg"
author = "the authors of cohortreg"
version = release = cohortreg.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "pages", "mathml"]
root_doc = "docs/index"
include_patterns = [
    "*.md",
    "docs/**.md",
    "config/*.md",
    "benchmarks/*.md",
    "benchmarks/accelerator/*.md",
    "examples/*/*.md",
    "resources/*.md",
    "results/*.md",
    "workflow/paper/*.md",
]
# Folders that are not walked through, some of them large.
exclude_patterns = [".*", "build", "src", "tests", "workflow/[!p]*", "results/*/**", "resources/*/**"]

# Pictures with a width, as GitHub has them.
myst_enable_extensions = ["html_image"]
# Anchors as GitHub makes them, of every heading that a page links to.
myst_heading_anchors = 4
# As GitHub writes equations.
myst_fence_as_directive = ["math"]
highlight_language = "text"
# Names within docstrings, which are single backquotes there.
default_role = "code"
# A signature of more letters has a line for each parameter.
python_maximum_signature_line_length = 80
autodoc_class_signature = "separated"
# Quotes and dashes of options and JSON stay as they are typed.
smartquotes = False
math_numfig = False

html_theme = "furo"
html_title = "cohortreg"
html_math_renderer = "mathml"
html_copy_source = False
html_show_copyright = False
# The entry page, which leads to docs/index.html.
html_extra_path = ["site/entry"]
html_static_path = ["site/static"]
html_css_files = ["wide.css"]
