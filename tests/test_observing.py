"""docs/observing.md, and the dashboard, alerts and scrape configuration in examples/grafana."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support import need

from vipnet.app.metrics.families import FAMILIES, PROCESS, reference

ROOT = Path(__file__).parents[1]
DOCUMENT = (ROOT / "docs/observing.md").read_text()
PROMTOOL = Path(sys.prefix) / "debs/prometheus/usr/bin/promtool"
GRAFANA = ROOT / "examples/grafana"
SAMPLES = {
    *PROCESS,
    *(
        f"{one.name}{end}"
        for one in FAMILIES.values()
        if one.kind == "histogram"
        for end in ("_bucket", "_sum", "_count")
    ),
    *(one.sample for one in FAMILIES.values() if one.kind != "histogram"),
}
LABELS = {one.sample: set(one.labels) for one in FAMILIES.values()}
# Functions and words of PromQL that look like names of ours: none begins so.
NAME = re.compile(r"\b(?:vipnet|process)_\w+")


def test_the_reference_is_the_sources() -> None:
    """`python -m vipnet.app.metrics.families` prints what belongs there."""
    _, _, rest = DOCUMENT.partition("<!-- python -m vipnet.app.metrics.families -->\n")
    table, _, _ = rest.partition("<!-- end -->")
    assert table.splitlines() == list(reference())


# --- the log


def logged() -> Iterator[str]:
    """Events in the source: `log.info("x.y", ...)` and the core's LogEvent("x.y", ...)."""
    for path in (ROOT / "src/vipnet").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call):
                continue
            function, arguments = ast.unparse(node.func), node.args
            if function == "log.log":
                arguments = arguments[1:]
            elif function != "LogEvent" and not re.fullmatch(
                r"log\.(debug|info|warning|error|exception)", function
            ):
                continue
            events = [one.value for one in ast.walk(arguments[0]) if isinstance(one, ast.Constant)]
            yield from (event for event in events if isinstance(event, str))


def test_every_event_of_the_log_is_explained() -> None:
    _, _, rest = DOCUMENT.partition("| event | level | meaning |\n")
    table, _, _ = rest.partition("\n\n")
    explained = [
        event for line in table.splitlines()[1:] for event in re.findall(r"`([\w.]+)`", line.split("|")[1])
    ]
    assert len(explained) == len(set(explained))
    assert set(explained) == set(logged())


# --- examples/grafana


def panels(found: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for panel in found:
        yield panel
        yield from panels(panel.get("panels", []))


def check(expression: str) -> None:
    """Each metric is exported, with the labels that are asked for by name."""
    names = NAME.findall(expression)
    assert names, expression
    assert set(names) <= SAMPLES, set(names) - SAMPLES
    for name, matchers in re.findall(r"(vipnet_\w+)\{([^}]*)\}", expression):
        wanted = set(re.findall(r"(\w+)\s*[=!]", matchers)) - {"instance", "job", "le"}
        assert wanted <= LABELS.get(name, set()), expression
    by = {
        label
        for group in re.findall(r"\b(?:by|without) ?\(([^)]*)\)", expression)
        for label in re.findall(r"\w+", group)
    }
    assert by <= {"instance", "le", *(label for name in names for label in LABELS.get(name, ()))}, expression
    assert expression.count("(") == expression.count(")")


def test_the_dashboard_asks_for_what_the_daemon_exports() -> None:
    dashboard = json.loads((GRAFANA / "vipnet.json").read_text())
    shown = list(panels(dashboard["panels"]))
    assert len({panel["id"] for panel in shown}) == len(shown)
    queries = [target["expr"] for panel in shown for target in panel.get("targets", [])]
    assert len(queries) > 10
    for query in queries:
        check(query)
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            check(variable["query"]["query"])
    for panel in shown:
        for target in panel.get("targets", []):
            legend = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
            names = NAME.findall(target["expr"])
            assert legend <= {"instance", *(label for name in names for label in LABELS.get(name, ()))}


def test_panels_do_not_cover_each_other() -> None:
    dashboard = json.loads((GRAFANA / "vipnet.json").read_text())
    taken: set[tuple[int, int]] = set()
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells


@pytest.mark.stack
def test_prometheus_takes_every_query(tmp_path: Path) -> None:
    """Those of the dashboard as rules: promtool reads no dashboards."""
    need(PROMTOOL.exists(), "promtool (./run test-stack unpacks it)")
    dashboard = json.loads((GRAFANA / "vipnet.json").read_text())
    queries = [target["expr"] for panel in panels(dashboard["panels"]) for target in panel["targets"]]
    queries = [re.sub(r"\$__\w+", "5m", query) for query in queries]
    rules = [{"record": f"query:{number}", "expr": query} for number, query in enumerate(queries)]
    (tmp_path / "queries.yml").write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    for command in (["rules", str(tmp_path / "queries.yml")], ["config", str(GRAFANA / "prometheus.yml")]):
        done = subprocess.run([PROMTOOL, "check", *command], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


def test_alerts_ask_for_what_the_daemon_exports() -> None:
    text = (GRAFANA / "alerts.yml").read_text()
    expressions = re.findall(r"^ +expr: (.+)$", text, re.MULTILINE)
    assert len(expressions) == len(re.findall(r"- alert: ", text)) > 3
    for expression in expressions:
        check(expression)
