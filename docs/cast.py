"""Record `vipnet demo` in a terminal, and draw the recording as an SVG that plays by itself.

    sudo python docs/cast.py          # docs/demo.cast and docs/demo.svg
    python docs/cast.py --draw        # docs/demo.svg from docs/demo.cast

The recording is a real run in the form of asciinema (asciicast v2), which `asciinema play` shows as
it was; in the drawing pauses are cut to PAUSE_S.
"""

from __future__ import annotations

import codecs
import fcntl
import json
import os
import pty
import struct
import sys
import termios
import time
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path
from typing import Final

import pyte
from msgspec import Struct

DOCS: Final = Path(__file__).resolve().parent
CAST: Final = DOCS / "demo.cast"
DRAWING: Final = DOCS / "demo.svg"
COLUMNS: Final = 80
ROWS: Final = 23  # of the command and all that it prints
PAUSE_S: Final = 1.5
LAST_S: Final = 8.0  # the end stays for so long

_LETTER, _LINE, _EDGE = 8.4, 19, 14  # units of the drawing; 14 px letters
_COMMAND: Final = "vipnet demo"


class Event(Struct, frozen=True, array_like=True):
    """What the terminal was sent, `at_s` after the start."""

    at_s: float
    kind: str
    text: str


class Frame(Struct, frozen=True):
    """The screen's lines, from `at_s` on."""

    at_s: float
    lines: tuple[str, ...]


def record() -> str:
    """Run the command; return the recording. Raise RuntimeError when it fails."""
    vipnet = Path(sys.executable).with_name("vipnet")
    started = time.monotonic()
    events = [Event(0.0, "o", f"$ {_COMMAND}\r\n")]
    child, terminal = pty.fork()
    if child == 0:
        os.execv(vipnet, _COMMAND.split())
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("4H", ROWS, COLUMNS, 0, 0))
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    events.extend(  # one by one, as they come
        Event(round(time.monotonic() - started, 3), "o", decoder.decode(data))
        for data in _until_closed(terminal)
    )
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status != 0:
        raise RuntimeError(f"{_COMMAND}: exit status {status}")
    header = {"version": 2, "width": COLUMNS, "height": ROWS, "command": _COMMAND}
    return "".join(json.dumps(line) + "\n" for line in [header, *([e.at_s, e.kind, e.text] for e in events)])


def _until_closed(terminal: int) -> Iterator[bytes]:
    try:
        while data := os.read(terminal, 65536):
            yield data
    except OSError:  # EIO: nobody has the other end open any more
        return


def draw(recording: str) -> str:
    """The recording as SVG."""
    header, *lines = map(json.loads, recording.splitlines())
    events = [Event(*line) for line in lines]
    shown = frames(events, header["width"], header["height"])
    total_s = shown[-1].at_s + LAST_S
    width = round(header["width"] * _LETTER) + 2 * _EDGE
    height = len(shown[-1].lines) * _LINE + 2 * _EDGE
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
            f'role="img" aria-label="{escape(_COMMAND)}: {escape(shown[-1].lines[-1])}">',
            f"<style>\n{_style(shown, total_s)}\n</style>",
            f'<rect width="{width}" height="{height}" rx="8" fill="#15191f"/>',
            *(part for number, frame in enumerate(shown) for part in _frame(number, frame)),
            "</svg>\n",
        ]
    )


def frames(events: Sequence[Event], columns: int, rows: int) -> list[Frame]:
    """What the screen shows after each event; pauses are at most PAUSE_S."""
    screen = pyte.Screen(columns, rows)
    stream = pyte.Stream(screen)
    shown: list[Frame] = []
    before_s = at_s = 0.0
    for event in events:
        at_s += min(event.at_s - before_s, PAUSE_S)
        before_s = event.at_s
        stream.feed(event.text)
        lines = tuple(line.rstrip() for line in screen.display)
        while lines and not lines[-1]:
            lines = lines[:-1]
        if not shown or lines != shown[-1].lines:
            shown.append(Frame(at_s, lines))
    return shown


def _style(shown: Sequence[Frame], total_s: float) -> str:
    """A frame is seen from its time to the next one's; who wants no motion sees the last."""
    rules = [
        "text { font: 14px ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace; fill: #d8dee6;"
        " white-space: pre; }",
        "g { visibility: hidden; }",
    ]
    ends = [frame.at_s for frame in shown[1:]] + [total_s]
    for number, (frame, end_s) in enumerate(zip(shown, ends, strict=True)):
        start, end = (100 * at_s / total_s for at_s in (frame.at_s, end_s))
        hidden = f"0% {{ visibility: hidden; }} {start:.2f}% {{ visibility: visible; }}"
        first = hidden if number else "0% { visibility: visible; }"
        last = f" {end:.2f}% {{ visibility: hidden; }}" if end < 100 else ""
        rules.append(f"@keyframes f{number} {{ {first}{last} }}")
        rules.append(f".f{number} {{ animation: f{number} {total_s:.2f}s step-end infinite; }}")
    rules.append(
        "@media (prefers-reduced-motion: reduce) "
        f"{{ g {{ animation: none !important; }} .f{len(shown) - 1} {{ visibility: visible; }} }}"
    )
    return "\n".join(rules)


def _frame(number: int, frame: Frame) -> Iterator[str]:
    yield f'<g class="f{number}">'
    for row, line in enumerate(frame.lines):
        if line:
            y = _EDGE + _LINE * row + 14
            length = round(len(line) * _LETTER, 1)
            yield (
                f'<text xml:space="preserve" x="{_EDGE}" y="{y}" textLength="{length}" '
                f'lengthAdjust="spacingAndGlyphs">{escape(line)}</text>'
            )
    yield "</g>"


def main() -> int:
    if sys.argv[1:] not in ([], ["--draw"]):
        print(__doc__)
        return 2
    if not sys.argv[1:]:
        CAST.write_text(record())
    DRAWING.write_text(draw(CAST.read_text()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
