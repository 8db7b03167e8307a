"""The documentation builds without a warning, and says what the program says."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from tests.support import need_module

need_module("sphinx", "myst_parser", "furo", "pyte")

from docs import cast  # noqa: E402
from docs.generate import PAGES, commands, complete, keys, sequence  # noqa: E402
from install.manual import commands as described  # noqa: E402

from vipnet.app.config import Accept, Config, Dns, Mobility, PeerConfig, Transport, Tun  # noqa: E402
from vipnet.app.publishconfig import Publish  # noqa: E402
from vipnet.app.toml import Section  # noqa: E402
from vipnet.cli.main import cli  # noqa: E402

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


class Fetched(HTMLParser):
    """What a browser fetches to show a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        what = {"script": "src", "img": "src", "iframe": "src", "link": "href", "source": "src"}.get(tag)
        if what and values.get(what):
            self.addresses.append(str(values[what]))


def build(into: Path) -> subprocess.CompletedProcess[str]:
    command: list[str | Path] = [sys.executable, DOCS / "build.py", into]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def test_it_builds_and_fetches_nothing_from_elsewhere(tmp_path: Path) -> None:
    done = build(tmp_path / "site")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    pages = {page.name: page.read_text() for page in (tmp_path / "site").glob("*.html")}
    assert {page.stem for page in DOCS.glob("*.md")} <= {name.removesuffix(".html") for name in pages}
    for name, page in pages.items():
        for address in Fetched(page).addresses:
            assert not re.match(r"(?:[a-z]+:)?//", address), f"{name} fetches {address}"
            file = re.split(r"[?#]", address)[0]
            assert (tmp_path / "site" / file).exists(), f"{name}: {address}"
    for style in (tmp_path / "site").rglob("*.css"):
        assert not re.search(r"url\([\"']?(?:https?:)?//|@import", style.read_text()), style
    assert "vipnet trust accept-new-key" in pages["commands.html"]
    assert "<svg viewBox" in pages["how-a-move-works.html"]


@pytest.mark.parametrize("page", [*ROOT.glob("*.md"), *ROOT.glob("examples/**/*.md")], ids=lambda p: p.name)
def test_links_of_pages_outside_lead_somewhere(page: Path) -> None:
    """Sphinx sees to those of docs/."""
    links = re.findall(r"\]\(([^)\s]+)\)", page.read_text())
    for link in links:
        if not link.startswith("https://"):
            assert (page.parent / link.partition("#")[0]).exists(), link


# --- what comes from the program


def test_every_command_and_option_is_there() -> None:
    page = commands.markdown()
    for command in described(cli):
        if command.path != "vipnet":
            assert re.search(rf"(?m)^#+ {command.path}$", page), command.path
        for names, _ in command.options:
            assert names in ("-h, --help", "--version") or f"`{names}`\n: " in page, names


@pytest.mark.parametrize("table", [Accept, Config, Dns, Mobility, PeerConfig, Publish, Transport, Tun])
def test_every_key_is_explained_and_nothing_else(table: type[Section]) -> None:
    explained = set(keys.explanations(table))
    shown = {field.encode_name for field in keys.fields(table)}
    assert explained == shown


def test_keys_say_default_and_what_is_allowed() -> None:
    page = keys.markdown()
    assert '`mtu = "auto"`\n: Bytes of a packet inside' in page
    assert '`"auto"`, or a whole number from 576 to 9000.' in page
    assert re.search(r"(?m)^## `\[\[peer\]\]`$", page)
    assert '`listen = "127.0.0.47:53"`' in page


def fields(schema: dict[str, Any]) -> Iterator[str]:
    """Names of all properties, however deep; `$ref`s are looked at where they are defined."""
    for name, value in schema.get("properties", {}).items():
        yield name
        yield from fields(value)
    for inner in (schema.get("items"), schema.get("additionalProperties"), *schema.get("$defs", {}).values()):
        yield from fields(inner) if isinstance(inner, dict) else ()


@pytest.mark.parametrize(
    ("schema", "section"),
    [
        ("status", "status"),
        ("peer", "peers"),
        ("moves", "moves"),
        ("resolve", "resolve"),
        ("doctor", "doctor"),
        ("demo", "demo"),
        ("lab-status", "lab status"),
        ("lab-move", "lab status"),
    ],
)
def test_json_has_every_field_of_the_schemas(schema: str, section: str) -> None:
    (text,) = re.findall(rf"(?ms)^## `vipnet {section} --json`.*?(?=^## |\Z)", (DOCS / "json.md").read_text())
    for name in fields(json.loads((ROOT / f"tests/schemas/{schema}.json").read_text())):
        assert f"`{name}`" in text, f"{name} of {schema}.json"


# --- drawings


def test_a_sequence_is_drawn() -> None:
    drawn = sequence.html("a | b\na -> b: is <it> you?\na: waits\nb => a: yes\na -x b: lost\n")
    assert "\n\n" not in drawn
    assert "is &lt;it&gt; you?" in drawn
    for kind in ("clear", "sealed", "lost"):
        assert drawn.count(f'<line class="{kind}"') == 1, kind
    widths = [int(x) for x in re.findall(r'\bx[12]?="(-?\d+)"', drawn)]
    assert 0 <= min(widths) <= max(widths) <= sequence.WIDTH


@pytest.mark.parametrize("line", ["a -> c: to nobody", "a ->: what", "a => b", "just words"])
def test_a_line_that_is_no_step_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match="no step of a sequence diagram"):
        sequence.parse(f"a | b\n{line}\n")


def test_a_part_stands_where_its_block_was() -> None:
    text = complete("before\n\n```{sequence}\na | b\na -> b: hello\n```\n\nafter [it](../SECURITY.md)\n")
    assert text.startswith('before\n\n<figure class="sequence">')
    assert text.endswith(f"</figure>\n\nafter [it]({PAGES['../SECURITY.md']})\n")
    assert complete("```sh\nls\n```\n") == "```sh\nls\n```\n"


def test_a_link_that_is_named_by_its_file_has_the_title_of_where_it_leads() -> None:
    assert complete("[lab.md](lab.md) and [lab.md](lab.md#moves)") == "[](lab.md) and [](lab.md#moves)"
    assert complete("[the lab](lab.md), [a.md](lab.md)") == "[the lab](lab.md), [a.md](lab.md)"


# --- the recording


def test_the_drawing_is_that_of_the_recording() -> None:
    recording = cast.CAST.read_text()
    assert cast.DRAWING.read_text() == cast.draw(recording), "python docs/cast.py --draw"
    last = cast.frames([cast.Event(*json.loads(line)) for line in recording.splitlines()[1:]], 80, 23)[-1]
    assert last.lines[0] == "$ vipnet demo"
    assert last.lines[-1] == "Every connection went on."
    assert len(last.lines) == cast.ROWS - 1


def test_frames_follow_what_the_terminal_was_sent() -> None:
    events = [
        cast.Event(0, "o", "a\r\n"),
        cast.Event(9, "o", "bc"),
        cast.Event(9.5, "o", "\rd"),
        cast.Event(9.6, "o", ""),
    ]
    assert cast.frames(events, 10, 3) == [
        cast.Frame(0, ("a",)),
        cast.Frame(cast.PAUSE_S, ("a", "bc")),
        cast.Frame(cast.PAUSE_S + 0.5, ("a", "dc")),
    ]
