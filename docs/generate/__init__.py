"""Parts of pages that come from the program itself, and drawings.

A page has an empty block where such a part belongs, so that whoever reads the page in the
repository sees that something is left out there, and reads drawings as text:

    ```{commands}
    ```

    ```{sequence}
    a | b
    a -> b: hello
    ```
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

from docs.generate import commands, keys, messages, sequence
from sphinx.application import Sphinx

PARTS: Final[dict[str, Callable[[str], str]]] = {
    "commands": lambda _: commands.markdown(),
    "keys": lambda _: keys.markdown(),
    "messages": lambda _: messages.markdown(),
    "sequence": sequence.html,
}
# Files of the repository that are pages of the site as well, under another name.
PAGES: Final = {
    "../CHANGELOG.md": "changelog.md",
    "../CONTRIBUTING.md": "contributing.md",
    "../SECURITY.md": "reporting.md",
}
_BLOCK: Final = re.compile(rf"(?ms)^```\{{({'|'.join(PARTS)})\}}\n(.*?)^```$")
# In the repository a link is named by its file, on the site by the title of where it leads.
_NAMED_BY_FILE: Final = re.compile(r"\[([\w-]+\.md)\]\((\1(?:#[\w-]+)?)\)")


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("source-read", lambda _app, _page, source: source.__setitem__(0, complete(source[0])))
    return {"parallel_read_safe": True}


def complete(text: str) -> str:
    """A page's TEXT as Sphinx is to see it."""
    for file, page in PAGES.items():
        text = text.replace(f"]({file}", f"]({page}")
    text = _NAMED_BY_FILE.sub(r"[](\2)", text)
    return _BLOCK.sub(lambda block: PARTS[block[1]](block[2]), text)
