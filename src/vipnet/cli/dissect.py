"""`vipnet dissect`: a capture of the network, opened by a key log."""

from __future__ import annotations

from pathlib import Path

import click

_FILE = click.Path(path_type=Path, dir_okay=False)


@click.command(epilog="Example: vipnet dissect lan.pcap opened.pcapng --keys keys.log")
@click.argument("capture", type=_FILE)
@click.argument("into", metavar="FILE")
@click.option("--keys", required=True, type=_FILE, help="What `vipnet key log` wrote meanwhile.")
def dissect(capture: Path, into: str, keys: Path) -> None:
    """Open the sealed datagrams in CAPTURE, which tcpdump or Wireshark took, and write all to FILE.

    FILE is for Wireshark with examples/wireshark/vipnet.lua: packets of applications, control messages and
    handshakes beside everything else that was on the network. Needs no daemon, and no root. "-"
    is standard output.
    """
    from vipnet.app.dissecting import dissect as opened_copy
    from vipnet.app.keylog import Keys
    from vipnet.cli.capture import opened
    from vipnet.errors import HostError

    try:
        lines = keys.read_text(errors="replace").splitlines()
        content = capture.open("rb")
    except OSError as error:
        raise HostError(
            f"{error.filename} cannot be read: {error.strerror}; name another, or try as root"
        ) from None
    with content as source:
        found = Keys(lines, str(keys))
        with opened(into) as target:
            tally = opened_copy(source, target, found, str(capture))
    if tally.cut_off:
        click.echo(f"{capture} ends in the middle of a packet", err=True)
    click.echo(
        f"{tally.opened} sealed datagrams opened; {tally.unknown} of sessions that are not in the key log; "
        f"{tally.refused} that its keys do not open",
        err=True,
    )
