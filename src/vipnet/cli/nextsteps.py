"""What `vipnet init` says at the end: what was found out, and what to type now, here and elsewhere."""

from __future__ import annotations

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
    options = "" if publish.provider == "none" else f" --provider {publish.provider}"
    there = [f"sudo vipnet init OTHER.{config.name.partition('.')[2]}{options}", "sudo vipnet up"]
    if publish.provider == "dyndns2":  # without TXT records nobody else says what this host's key is
        there.append(f"sudo vipnet trust add {config.name} {b64encode(written.public_key).decode()}")
    there.append(f"ping {config.name}")
    steps.append("Next, on the other device:\n\n    " + "\n    ".join(there))
    if not config.accept.from_:
        steps.append(
            "Strangers have names in this zone too, so nobody may call yet: name your other devices in "
            "[accept] from of the configuration, or contact them from here first."
        )
    return "\n\n".join(steps)


def _s(things: tuple[object, ...]) -> str:
    return "" if len(things) > 1 else "s"
