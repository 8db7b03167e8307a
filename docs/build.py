"""Build the documentation into dist/docs: `./run docs`.

    python docs/build.py [DIRECTORY]

A warning is an error: a broken link, a page that no list names, a directive that fails. Nothing
is fetched, then or when the site is read.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

from sphinx.cmd.build import build_main

DOCS: Final = Path(__file__).resolve().parent
DEFAULT: Final = DOCS.parent / "dist/docs"


def build(directory: Path) -> int:
    """Build into DIRECTORY; return Sphinx's exit status."""
    doctrees = directory.with_name(directory.name + ".doctrees")
    options = ["--builder", "html", "--fail-on-warning", "--nitpicky", "--fresh-env", "--quiet"]
    return build_main([*options, "--doctree-dir", str(doctrees), str(DOCS), str(directory)])


def main() -> int:
    directory = Path(sys.argv[1] if len(sys.argv) > 1 else DEFAULT).resolve()
    status = build(directory)
    if status == 0:
        print(f"{directory / 'index.html'}")
    return status


if __name__ == "__main__":
    sys.exit(main())
