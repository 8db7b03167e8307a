"""All checks, in the order of a person who looks for a cause: from the machine outwards."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import trio
from msgspec import Struct, to_builtins

from vipnet.app.doctor import checks_firewall, checks_host, checks_names, checks_network, checks_world
from vipnet.app.doctor.facts import Facts
from vipnet.app.doctor.gather import gather
from vipnet.app.doctor.verdict import Verdict

_BEFORE: Final[tuple[Callable[[Facts], Verdict], ...]] = (
    checks_host.check_config,
    checks_host.check_daemon,
    checks_host.check_kernel,
    checks_host.check_tun_device,
    checks_host.check_capabilities,
    checks_host.check_tun_offloads,
    checks_host.check_udp_offloads,
    checks_host.check_state,
    checks_host.check_run,
    checks_host.check_secrets,
    checks_network.check_address,
    checks_network.check_default_route,
    checks_network.check_overlap,
    checks_network.check_interface,
    checks_network.check_mtu,
    checks_network.check_rp_filter,
    checks_network.check_port,
    checks_network.check_resolver_port,
)
_AFTER: Final[tuple[Callable[[Facts], Verdict], ...]] = (
    checks_names.check_resolver,
    checks_names.check_sources,
    checks_names.check_own_name,
    checks_names.check_partner_names,
    checks_names.check_rebind,
    checks_world.check_clock,
    checks_world.check_upstream,
    checks_world.check_publishing,
    checks_world.check_world_sees,
    checks_world.check_partners,
    checks_world.check_trust,
    checks_network.check_listeners,
)


class Report(Struct, frozen=True):
    """`vipnet doctor --json`."""

    ok: bool
    checks: tuple[Verdict, ...]


def examine(config_path: Path) -> dict[str, Any]:
    """Look at this host and judge; the JSON of `vipnet doctor`."""
    report: dict[str, Any] = to_builtins(judge(trio.run(gather, config_path)))
    return report


def judge(facts: Facts) -> Report:
    """Every check's verdict on FACTS."""
    verdicts = (
        *(check(facts) for check in _BEFORE),
        *checks_firewall.all_checks(facts),
        *(check(facts) for check in _AFTER),
    )
    return Report(not any(verdict.state == "fail" for verdict in verdicts), verdicts)
