"""The report of a document: figures beside the paper's words, as Markdown and as a page."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from bench.paper.beside import Beside, tables
from bench.paper.claims import claims
from bench.paper.claims.row import verdicts
from bench.paper.document import Document
from bench.paper.draw import draw_all, draw_peers
from jinja2 import Environment, FileSystemLoader, StrictUndefined

_TEMPLATES: Final = Path(__file__).parent / "templates"


def write_report(document: Document, out: Path, beside: Beside = Beside()) -> None:  # noqa: B008 - frozen
    """Write report.md and report.html, and what they show, into OUT."""
    rows = claims(document)
    figures = draw_all(document, out)
    if beside.peers is not None:
        figures.append(draw_peers(beside.peers, out))
    values: dict[str, Any] = {
        "document": document,
        "environment": document.environment,
        "settings": document.settings,
        "figures": figures,
        "tables": tables(beside, out),
        "rows": rows,
        "verdicts": verdicts(rows),
        "offset_ms": max((trial.offset_ms for trial in document.trials), default=0.0),
        "errors": [
            f"{trial.cell}, run {trial.run}: {error}" for trial in document.trials for error in trial.errors
        ],
    }
    for name in ("report.md", "report.html"):
        environment = Environment(
            loader=FileSystemLoader(_TEMPLATES),
            autoescape=name.endswith(".html"),
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=True,
        )
        environment.filters["cell"] = lambda text: str(text).replace("|", r"\|").replace("\n", " ")
        text = environment.get_template(f"{name}.j2").render(values)
        (out / name).write_text(text, encoding="utf-8")
