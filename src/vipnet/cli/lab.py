"""The paper's network on this machine: `lab up`, `exec`, `move`, `dns`, `status`, `down`."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Literal, TypeVar, get_args

import click

from vipnet.cli.options import json_option

_Kind = Literal["switch", "readdress", "add", "remove", "nat", "blackhole", "family"]
_Command = TypeVar("_Command", bound=Callable[..., object])


@click.group(epilog="Example: vipnet lab up && vipnet lab exec a -- ping b.vipip.net")
def lab() -> None:
    """The paper's network in namespaces, to play with.

    Hosts a and b (and d, e, ... by --hosts) on two LANs, 10.201.1.0/24 and
    10.201.2.0/24, with a router that has the name server for vipip.net. Needs root,
    or a system where users may make namespaces.
    """
    from vipnet.lab import userns

    userns.become_root()


def _name_option(command: _Command) -> _Command:
    return click.option(
        "--name", default="lab", envvar="VIPNET_LAB", show_default=True, help="Which lab; also VIPNET_LAB."
    )(command)


@lab.command(epilog="Example: vipnet lab up --hosts 3 --rtt 40 --loss 5")
@_name_option
@click.option("--hosts", default=2, show_default=True, help="Hosts with vipnet: a, b, d, e, ...")
@click.option("--collide", is_flag=True, help="The last host's first token is b's; needs a small --subnet.")
@click.option("--dns", type=click.Choice(["embedded", "bind"]), default="embedded", show_default=True)
@click.option("--profile", type=click.Choice(["default", "paper"]), default="default", show_default=True)
@click.option("--hints/--no-hints", default=True, help="Whether a host that moves tells its partners.")
@click.option("--subnet", default="240.0.0.0/4", show_default=True, help="Where tokens are taken from.")
@click.option("--ipv6", is_flag=True, help="IPv6 on the LANs too.")
@click.option("--legacy", is_flag=True, help="Add c.vipip.net, which has no vipnet.")
@click.option(
    "--rtt", "rtt_ms", type=click.FloatRange(0), default=0.0, metavar="MS", help="Round trip between hosts."
)
@click.option(
    "--loss", type=click.FloatRange(0, 100), default=0.0, metavar="PERCENT", help="Of what hosts send."
)
@click.option("--seed", default=0, show_default=True, help="Which packets get lost.")
def up(**options: Any) -> None:  # noqa: ANN401 - the fields of LabSpec
    """Build a lab, start vipnet on its hosts and wait until all are ready.

    Interrupted, it leaves nothing behind.
    """
    from vipnet.lab import lifecycle
    from vipnet.lab.layout import LabSpec

    layout = lifecycle.up(LabSpec(**options))
    names = ", ".join(host.name for host in layout.hosts)
    suffix = "" if layout.name == "lab" else f" --name {layout.name}"
    click.echo(f"lab {layout.name} is up: {names}")
    click.echo(f"  vipnet lab exec{suffix} a -- ping b.vipip.net")
    click.echo(f"  vipnet lab move{suffix} a")


@lab.command(
    "exec",
    context_settings={"allow_interspersed_args": False, "ignore_unknown_options": True},
    epilog="Example: vipnet lab exec a -- curl http://b.vipip.net/",
)
@_name_option
@click.argument("host")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def exec_(name: str, host: str, command: tuple[str, ...]) -> None:
    """Run COMMAND on HOST (a, b, ..., or r, the router); its exit status is ours."""
    from vipnet.lab import hosts, lifecycle, namespaces

    if command[0] == "--":
        command = command[1:]
    if not command:
        raise click.UsageError("which COMMAND?")
    layout = lifecycle.load(name)
    target = hosts.exec_target(layout, host)
    environment = hosts.environment(layout, host.partition(".")[0])
    namespaces.enter_host(*target)
    os.environ.clear()
    os.environ.update(environment)
    namespaces.replace_process(list(command))


@lab.command(epilog="Example: vipnet lab move both --down 200")
@_name_option
@click.argument("host")
@click.option("--kind", type=click.Choice(get_args(_Kind)), default="switch", show_default=True)
@click.option("--lan", type=click.IntRange(1, 2), help="Which LAN, where there is a choice.")
@click.option("--down", type=click.FloatRange(0), metavar="MS", help="Stay away for so long in between.")
def move(
    name: str,
    host: str,
    kind: _Kind,
    lan: Literal[1, 2] | None,
    down: float | None,
) -> None:
    """Change the place of HOST, of a and b (`both`) or of `all` at once; print what was done as JSON.

    switch: the other LAN instead of this one. readdress: another address on the
    same LAN. add, remove: one LAN more or less. nat: another source port, as when
    a NAT forgets; needs nft. blackhole: the LAN swallows all, until the next time.
    family: IPv4 to IPv6 and back (lab up --ipv6).
    """
    import msgspec

    from vipnet.lab import lifecycle, moves

    layout = lifecycle.load(name)
    groups = {"both": ("a", "b"), "all": tuple(one.label for one in layout.hosts if one.vipnet)}
    labels = groups.get(host, (host,))
    changes = [moves.plan_move(layout, label, kind, lan, ends=down is not None) for label in labels]
    click.echo(msgspec.json.encode({"moves": moves.carry_out(changes, down)}).decode())


@lab.command(epilog="Example: vipnet lab dns --delay 200")
@_name_option
@click.option("--delay", type=click.FloatRange(0), default=0.0, metavar="MS", help="Each answer is late.")
@click.option("--loss", type=click.FloatRange(0, 100), default=0.0, metavar="PERCENT", help="UDP only.")
def dns(name: str, delay: float, loss: float) -> None:
    """Make the name server slow or deaf from now on; without options: as usual. BIND needs nft for it."""
    from vipnet.lab import lifecycle, nameserver
    from vipnet.lab.zoneserver import Faults

    nameserver.order_faults(lifecycle.load(name), Faults(delay, loss / 100))


@lab.command(epilog="Example: vipnet lab status --json")
@_name_option
@json_option
def status(name: str, as_json: bool) -> None:
    """Show a lab's hosts: where they are, their tokens, their daemons."""
    import msgspec

    from vipnet.cli import render
    from vipnet.lab import lifecycle

    found = lifecycle.status(lifecycle.load(name))
    if as_json:
        click.echo(msgspec.json.encode(found).decode())
        return
    rows = [
        (
            label,
            " and ".join(f"LAN {lan}" for lan in host.lans) or "-",
            host.address or "-",
            host.token or "-",
            str(host.pid or "-"),
        )
        for label, host in found.hosts.items()
    ]
    click.echo(f"lab {found.name}, {found.dns.zone} by {found.dns.kind} at {found.dns.address}")
    if found.link is not None:
        link = found.link
        click.echo(f"{link.rtt_ms:g} ms there and back, {link.loss:g} % lost: {link.log}")
    click.echo()
    click.echo("\n".join(render.table(("HOST", "ON", "ADDRESS", "TOKEN", "PROCESS"), rows)))


@lab.command(epilog="Example: vipnet lab down")
@_name_option
def down(name: str) -> None:
    """Stop and remove a lab; when there is none, nothing happens."""
    from vipnet.lab import lifecycle, userns

    lifecycle.down(name)
    userns.leave()
