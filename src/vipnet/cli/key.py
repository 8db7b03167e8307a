"""`vipnet key`: the identity of this host."""

from __future__ import annotations

import json
import sys
from base64 import b64encode
from pathlib import Path

import click

from vipnet.cli.options import config_option, json_option
from vipnet.types import fingerprint

_WARNING = """\
WARNING: session keys are written down. Whoever gets that file can read
everything that this host and its partners say from now on, until Ctrl-C."""


@click.group(no_args_is_help=False)
def key() -> None:
    """This host's key: what its peers know it by."""


@key.command(epilog="Example: sudo vipnet key show")
@click.option("--record", is_flag=True, help="Print the TXT record for DNS alone.")
@click.option("--key", "key_alone", is_flag=True, help="Print the key alone, as a peer's `key =` wants it.")
@click.option("--qr/--no-qr", default=None, help="A QR code of name and key; by default on a terminal.")
@json_option
@config_option
def show(config_path: Path, as_json: bool, record: bool, key_alone: bool, qr: bool | None) -> None:
    """Print this host's public key, its fingerprint, and its record for DNS.

    Peers show the same fingerprint in `vipnet trust list`. The QR code holds what
    `vipnet trust add` takes there: name and key.
    """
    from vipnet.app.config import load_config
    from vipnet.app.init import public_key, record_line

    config = load_config(config_path)
    public = public_key(config)
    text, line = b64encode(public).decode(), record_line(config, public)
    if as_json:
        shown = {"name": config.name, "key": text, "fingerprint": fingerprint(public), "record": line}
        click.echo(json.dumps(shown))
    elif record or key_alone:
        click.echo(line if record else text)
    else:
        click.echo(f"name         {config.name}\nkey          {text}\nfingerprint  {fingerprint(public)}")
        click.echo(f"record       {line}")
        if qr or (qr is None and sys.stdout.isatty()):
            import segno

            click.echo()
            segno.make_qr(f"{config.name} {text}").terminal(sys.stdout, compact=True)


@key.command(epilog="Example: sudo vipnet key rotate")
@click.option("--forget-old", is_flag=True, help="Tell nobody: the old key may be in wrong hands.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
@config_option
def rotate(config_path: Path, as_json: bool, forget_old: bool, yes: bool) -> None:
    """Make another key for this host, and tell its partners, under the old one.

    Connections go on. Partners that are away are told when they come back, for 30 days;
    those that come later refuse the new key, unless DNSSEC vouches for it, or somebody
    says `vipnet trust accept-new-key` there. With --forget-old all of them do.
    """
    from vipnet.cli.status import ask

    if forget_old and not yes:
        click.confirm(
            "Every partner will refuse this host until the new key is accepted there. Go on?", abort=True
        )
    reply = ask(config_path, "key_rotate", forget_old=forget_old)
    if as_json:
        click.echo(json.dumps(reply))
        return
    click.echo(f"old  {reply['old']['fingerprint']}\nnew  {reply['new']['fingerprint']}")
    if reply["record"] is not None:
        click.echo(f"Put this into DNS in the place of the old record:\n{reply['record']}")
    if reply["untold"]:
        untold = ", ".join(reply["untold"])
        click.echo(f"Not told yet: {untold}; `vipnet trust list` says who still is not.")


@key.command(epilog="Example: sudo vipnet key log keys.log")
@click.argument("file", metavar="FILE")
@config_option
def log(config_path: Path, file: str) -> None:
    """Write the keys of new sessions to FILE until Ctrl-C, for `vipnet dissect`.

    Whoever has FILE can read what is sealed under them, for as long as somebody keeps a copy of it. Sessions
    with active partners are made anew at once, so that all that follows can be opened; what was
    sealed before cannot. For root alone, one at a time; the daemon's log says that it runs.
    """
    from vipnet.app.config import load_config
    from vipnet.app.control import open_feed
    from vipnet.cli.capture import ended_by_signals, opened

    run_dir = load_config(config_path).run_dir
    lines = 0
    with open_feed(run_dir, "key_log") as (feed, end), ended_by_signals(end), opened(file) as out:
        click.echo(_WARNING, err=True)
        for line in feed:
            if line.endswith(b"\n"):  # else it is what was under way at the end
                out.write(line)
                out.flush()
                lines += 1
    click.echo(f"{lines // 2} sessions. Delete the file when it has served.", err=True)
