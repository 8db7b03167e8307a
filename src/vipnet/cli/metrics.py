"""`vipnet metrics`: the daemon's numbers, for Prometheus."""

from __future__ import annotations

from pathlib import Path

import click

from vipnet.cli.options import config_option
from vipnet.cli.status import ask

_EXAMPLE = """\b
Examples:
  vipnet metrics | grep vipnet_peer_rtt_seconds
  vipnet metrics >/var/lib/prometheus/node-exporter/vipnet.prom
"""


@click.command(epilog=_EXAMPLE)
@config_option
def metrics(config_path: Path) -> None:
    """Print what is counted and measured, in Prometheus' text format.

    No port is needed for it: node_exporter's textfile collector takes it, too. With
    `[metrics] port` a Prometheus reads it by itself. docs/observing.md says what each
    number is; examples/grafana has a dashboard.
    """
    click.echo(ask(config_path, "metrics")["text"], nl=False)
