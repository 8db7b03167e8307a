"""The test vectors of docs/protocol*.md, so that what is documented is what is tested."""

from __future__ import annotations

import re
from pathlib import Path

_DOCS = Path(__file__).parents[2] / "docs"


def documented(number: str) -> bytes:
    """Return the hexadecimal block that follows the bold NUMBER, such as D1."""
    text = "\n".join(path.read_text() for path in sorted(_DOCS.glob("protocol*.md")))
    found = re.search(rf"\*\*{number}\*\*.*?```\w*\n([0-9a-f\s]+)```", text, re.DOTALL)
    assert found, f"no test vector {number} in docs/protocol*.md"
    return bytes.fromhex(found[1])
