"""See that the numbers that documents quote are those of bench/results.

    bench/quoted.py [DOCUMENT ...]       (default: every Markdown file of the repository)

A quoted number is followed by a comment, which no reader of the rendered page sees, that says
where it stands:

    a switch of 545 ms<!-- paper/figures.json: summaries 3/paper/ab/udp udp median -->
    33,700 a second<!-- zone.json: queries_per_s -->
    38 ms<!-- telling.json: one_sided partners=1000 hint_cpu_s *1000 -->

    19 ms<!-- peers.json: cells variant="openvpn, shortest" case=udp-two-sided switch_ms median -->

After the file come keys, `key=value` (several, where one is not enough) for the element of a
list that has it, and `*factor` for another unit; words with spaces in quotes. A number may be
rounded as far as two digits. Exit status 1 when one is wrong.
"""

from __future__ import annotations

import json
import re
import shlex
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from msgspec import Struct

ROOT: Final = Path(__file__).parents[1]
RESULTS: Final = ROOT / "bench/results"
DIGITS: Final = 2  # that a rounded number keeps

_QUOTED: Final = re.compile(
    r"(?P<number>\d[\d,]*(?:\.\d+)?)(?:[^\d<\n]{0,40})"
    r"<!-- (?P<file>[\w/-]+\.json): (?P<path>[^>]+?) -->"
)
_TAG: Final = re.compile(r"<!-- [\w/-]+\.json: ")


class Quotation(Struct, frozen=True):
    document: Path
    line: int
    number: str
    file: str
    path: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.document}:{self.line}: {self.number}, by {self.file}: {' '.join(self.path)}"


class QuotationError(Exception):
    """The message says which, and what is wrong."""


def quotations(document: Path) -> Iterator[Quotation]:
    """Raise QuotationError at a comment without a number before it."""
    for line, text in enumerate(document.read_text(encoding="utf-8").splitlines(), 1):
        found = list(_QUOTED.finditer(text))
        if len(found) != len(_TAG.findall(text)):
            raise QuotationError(f"{document}:{line}: a comment that quotes has no number before it")
        for one in found:
            yield Quotation(document, line, one["number"], one["file"], tuple(shlex.split(one["path"])))


def check(quotation: Quotation, results: Path = RESULTS) -> None:
    """Raise QuotationError when the results say something else, or nothing."""
    try:
        document = json.loads((results / quotation.file).read_bytes())
        value = _resolve(document, quotation.path)
    except (OSError, KeyError, IndexError, StopIteration, ValueError, TypeError) as error:
        raise QuotationError(f"{quotation}: nothing there ({error!r})") from None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise QuotationError(f"{quotation}: {value!r} is no number")
    quoted = float(quotation.number.replace(",", ""))
    if abs(quoted - value) > rounding(quotation.number) / 2 * (1 + 1e-9):
        raise QuotationError(f"{quotation}: it is {value:g}")


def _resolve(value: Any, path: Sequence[str]) -> Any:  # noqa: ANN401 - JSON
    for step in path:
        key, equals, wanted = step.partition("=")
        if step.startswith("*"):
            value *= float(step[1:])
        elif isinstance(value, list) and equals:
            found = [one for one in value if str(one[key]) == wanted]
            value = found[0] if len(found) == 1 else found
        elif isinstance(value, list):
            value = value[int(step)]
        else:
            value = value[step]
    return value


def rounding(number: str) -> float:
    """The unit of the last digit that counts: 0.1 of `12.5`, 100 of `33,700`, 10 of `300`."""
    digits, _, decimals = number.replace(",", "").partition(".")
    if decimals:
        return float(10.0 ** -len(decimals))
    zeros = len(digits) - len(digits.rstrip("0"))
    return float(10.0 ** max(0, min(zeros, len(digits) - DIGITS)))


def documents() -> list[Path]:
    hidden = (".venv", ".git")
    return sorted(
        one for one in ROOT.rglob("*.md") if not any(part in hidden for part in one.relative_to(ROOT).parts)
    )


def main(arguments: Sequence[str]) -> int:
    wrong, right = [], 0
    for document in [Path(one) for one in arguments] or documents():
        try:
            for quotation in quotations(document):
                try:
                    check(quotation)
                    right += 1
                except QuotationError as error:
                    wrong.append(str(error))
        except QuotationError as error:
            wrong.append(str(error))
    print(
        "\n".join(
            [*wrong, f"{right} quoted numbers are those in {RESULTS.relative_to(ROOT)}, {len(wrong)} are not"]
        )
    )
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
