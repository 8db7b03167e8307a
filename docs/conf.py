"""The documentation as a site: Sphinx, Markdown by MyST, the theme Furo. `./run docs` builds it."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from vipnet import __version__  # noqa: E402 - only from here on can it be found

project = "vipnet"
author = "the vipnet authors"
version = release = __version__
copyright = author  # noqa: A001 - Sphinx's name

extensions = ["myst_parser", "docs.generate"]
exclude_patterns = ["generate", "theme"]
root_doc = "index"
myst_heading_anchors = 4  # links like security.md#files, as code hosts make them
myst_enable_extensions = ["attrs_inline", "deflist"]
suppress_warnings = ["misc.highlighting_failure"]
nitpicky = True

html_theme = "furo"
html_title = f"vipnet {version}"
html_static_path = ["theme"]
html_css_files = ["site.css"]
html_show_sphinx = False
html_show_copyright = False
html_copy_source = False
pygments_style = "friendly"
pygments_dark_style = "monokai"
