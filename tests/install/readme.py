"""What README.md and other documents tell people to type, as it stands there."""

from __future__ import annotations

import re
from itertools import groupby
from pathlib import Path
from typing import Final

_REPOSITORY: Final = Path(__file__).parents[2]
README: Final = _REPOSITORY / "README.md"
INSTALLING: Final = _REPOSITORY / "docs/install.md"
CONTAINERS: Final = _REPOSITORY / "docs/howto-containers.md"
OWN_SERVER: Final = _REPOSITORY / "docs/howto-own-server.md"
CLONE: Final = "git clone REPOSITORY vipnet && cd vipnet"
SEE_IT: Final = f"{CLONE}\n"  # how the blocks start that tests run
TWO_DEVICES: Final = "./run deb && sudo apt install "
PRINT: Final = "sudo vipnet init laptop.example.org --print-server bind"
INIT: Final = "sudo vipnet init laptop.example.org --provider rfc2136\n"
_INDENT: Final = "    "


def block(first: str, document: Path = README) -> str:
    """The one block of code in DOCUMENT that starts with FIRST."""
    found = [text for text in blocks(document.read_text()) if text.startswith(first)]
    assert len(found) == 1, f"{document} has {len(found)} blocks of code that start with {first!r}"
    return found[0]


def blocks(text: str) -> list[str]:
    """Blocks of indented code; blank lines inside belong to them."""
    found: list[str] = []
    lines = re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE).splitlines()
    for is_code, group in groupby(lines, key=lambda line: line.startswith(_INDENT) or not line.strip()):
        code = "\n".join(line.removeprefix(_INDENT) for line in group).strip("\n")
        if is_code and code:
            found.append(code + "\n")
    return found
