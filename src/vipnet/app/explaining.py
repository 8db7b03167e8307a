"""What a failed step of `vipnet resolve` means, and the way out, in words for people."""

from __future__ import annotations

from typing import Literal

from vipnet.types import Fqdn


def explain(
    step_id: str,
    name: Fqdn,
    detail: str,
    kind: Literal["vip", "legacy", "failed"],
    *,
    stranger: bool,
    signed: bool | None = None,
) -> str:
    """Return what is wrong, and what to do.

    step_id   the first step that failed
    kind      what applications got in spite of it
    stranger  nothing is stored of the peer
    signed    whether what DNS says of the capability record is, None: it need not be
    """
    way_out = (
        f'[dns] bypass = ["{name}"] gives its real address, without moves and encryption'
        if stranger
        else f"If it has given up vipnet, `sudo vipnet trust remove {name}` here makes it an ordinary name"
    )
    match step_id:
        case "dns_a" if kind == "failed":
            return f"DNS has no address for {name}: {detail}. Is the name right, and this host on a network?"
        case "dns_a":
            return f"DNS does not say where {name} is now: {detail}. It is looked for where it was last."
        case "dns_vip" if kind == "legacy":
            return (
                f"DNS does not say whether {name} is a vipnet host, so its real address is given: {detail}."
            )
        case "dns_vip" if stranger:
            return f"DNS does not say whether {name} is a vipnet host: {detail}."
        case "dns_vip" if signed:
            return (
                f"{name} has withdrawn its capability record: its zone has signed that there is none. Its "
                f"real address is not given because it is a known peer. {way_out}."
            )
        case "dns_vip" if signed is False:
            return (
                f"Somebody changes or suppresses what DNS says of {name}, or its zone is signed wrongly: "
                f"{detail}. What is stored of it counts."
            )
        case "dns_vip":
            return (
                f"DNS has no capability record for {name} now, and its real address is not given because "
                f"it is a known peer: the record was withdrawn there, or somebody suppresses it. {way_out}."
            )
        case "trust":
            return (
                f"DNS has another key for {name} than this host; the stored one counts. Compare both with "
                f"`vipnet key show` there; if DNS is right: `sudo vipnet trust accept-new-key {name}`."
            )
        case "negotiation":
            return (
                f"{name} is there, but the two hosts found no pair of tokens: {detail}. "
                "Is [tun] subnet the same on both?"
            )
        case _:
            kept = "" if stranger else "Applications get its token all the same, and go on when it answers. "
            return (
                f"{name} does not answer: vipnet does not run there (`vipnet status` on it), it is off-line, "
                f"or its UDP port is not let through. {kept}{way_out}."
            )
