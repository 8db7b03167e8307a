"""What `vipnet init` says at the end: what was found out, and what to type now, here and elsewhere."""

from __future__ import annotations

import shlex
from base64 import b64encode
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vipnet.app.init import Written
    from vipnet.app.trial import Trial


def trial_text(trial: Trial) -> str:
    """How the update went that was tried."""
    if not trial.addresses:
        return "not tried: nobody has said yet at what address this host is seen"
    addresses = " and ".join(trial.addresses)
    if not trial.servers:
        return f"published {addresses}; the network's resolver has it, the zone's own servers do not answer"
    text = f"published {addresses}; {', '.join(map(str, trial.servers))} answer{_s(trial.servers)} with it"
    if trial.silent:
        text += f"; {', '.join(map(str, trial.silent))} did not answer"
    return text


def next_steps(written: Written, record: str) -> str:
    """What to do on this host, and on those that are to reach it. RECORD: the line for a zone file."""
    config, publish = written.config, written.config.publish
    steps = []
    if publish.provider == "none":
        steps.append(f"Put this host's address and this record into DNS:\n\n{record}")
    steps.append("Next, here:\n\n    sudo vipnet up")
    there = []
    if publish.provider == "dyndns2":
        key = b64encode(written.public_key).decode()
        there.append(
            "dyndns2 has no TXT records, so each partner lists this host in its configuration:\n\n"
            f'[[peer]]\nname = "{config.name}"\nkey = "{key}"\n'
        )
    other = "OTHER." + config.name.partition(".")[2]
    options = "" if publish.provider == "none" else f" --provider {shlex.quote(publish.provider)}"
    there.append(
        f"    sudo vipnet init {other}{options}   # if it has no vipnet yet; a name of its own\n"
        "    sudo vipnet up\n"
        f"    ping {config.name}"
    )
    steps.append("Next, on the other device:\n\n" + "\n".join(there))
    if not config.accept.from_:
        steps.append(
            "Strangers have names in this zone too, so nobody may call yet: name your other devices in "
            "[accept] from of the configuration, or contact them from here first."
        )
    return "\n\n".join(steps)


def _s(things: tuple[object, ...]) -> str:
    return "" if len(things) > 1 else "s"
