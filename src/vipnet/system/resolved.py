"""systemd-resolved: it asks us for our names, by settings of tun0 that it keeps over D-Bus.

Interface: org.freedesktop.resolve1(5). The settings belong to the link: they go when tun0
goes, also after a crash, so that there is nothing to put back.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from ipaddress import ip_address
from typing import Any, Final

import trio
from jeepney import DBusAddress, MessageType, new_method_call
from jeepney.io.trio import open_dbus_router

from vipnet.errors import HostError

TIMEOUT_S: Final = 5.0
_BUS_NAME: Final = "org.freedesktop.resolve1"
_MANAGER: Final = DBusAddress(
    "/org/freedesktop/resolve1", bus_name=_BUS_NAME, interface="org.freedesktop.resolve1.Manager"
)
_PROPERTIES: Final = DBusAddress(
    _MANAGER.object_path, bus_name=_BUS_NAME, interface="org.freedesktop.DBus.Properties"
)
_BUS: Final = DBusAddress(
    "/org/freedesktop/DBus", bus_name="org.freedesktop.DBus", interface="org.freedesktop.DBus"
)


async def is_running() -> bool:
    """True when systemd-resolved is on the system bus now; does not start it."""
    try:
        (owned,) = await _call([(_BUS, "NameHasOwner", "s", (_BUS_NAME,))])
    except HostError:
        return False
    return bool(owned[0])


async def domains(besides: str) -> tuple[str, ...]:
    """The domains that links other than BESIDES have, without a final dot: names below them are asked there.

    Raise HostError when resolved or the bus refuses.
    """
    wanted = (str(_MANAGER.interface), "Domains")
    ((variant,),) = await _call([(_PROPERTIES, "Get", "ss", wanted)])
    own = _index(besides)
    names = (name.rstrip(".") for index, name, _ in variant[1] if index != own)
    return tuple(dict.fromkeys(name for name in names if name))


async def route(interface: str, listen: str, domains: Sequence[str]) -> None:
    """Let resolved ask LISTEN for DOMAINS and what is below them; "." is every name.

    interface  the link that the settings hang on; they are replaced
    domains    without a final dot, but for "."

    Raise HostError when resolved or the bus refuses.
    """
    index = _index(interface)
    address = ip_address(listen)
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    routing_only = True  # not a search domain: a bare label must not become one of our names
    await _call(
        [
            (_MANAGER, "SetLinkDNS", "ia(iay)", (index, [(int(family), address.packed)])),
            (_MANAGER, "SetLinkDomains", "ia(sb)", (index, [(name, routing_only) for name in domains])),
            # Or names that no link has a domain for are asked here as well.
            (_MANAGER, "SetLinkDefaultRoute", "ib", (index, "." in domains)),
            # We are on the loopback, and what we make up is not signed.
            (_MANAGER, "SetLinkDNSOverTLS", "is", (index, "no")),
            (_MANAGER, "SetLinkDNSSEC", "is", (index, "no")),
            (_MANAGER, "SetLinkLLMNR", "is", (index, "no")),
            (_MANAGER, "SetLinkMulticastDNS", "is", (index, "no")),
            (_MANAGER, "FlushCaches", "", ()),
        ]
    )


def _index(interface: str) -> int:
    try:
        return socket.if_nametoindex(interface)
    except OSError:
        raise _refused(f"there is no interface {interface}") from None


async def _call(calls: Sequence[tuple[DBusAddress, str, str, tuple[Any, ...]]]) -> list[tuple[Any, ...]]:
    """Make CALLS, (object, method, signature, arguments) each, one after the other; return the answers."""
    answers = []
    try:
        with trio.fail_after(TIMEOUT_S):
            async with open_dbus_router(bus="SYSTEM") as router:
                for target, method, signature, arguments in calls:
                    message = new_method_call(target, method, signature or None, arguments)
                    reply = await router.send_and_get_reply(message)
                    if reply.header.message_type == MessageType.error:
                        words = reply.body[0] if reply.body else "no reason given"
                        raise _refused(f"{method}: {words}")
                    answers.append(tuple(reply.body))
    except trio.TooSlowError:
        raise _refused("no answer") from None
    except (OSError, trio.BrokenResourceError, trio.ClosedResourceError) as error:
        raise _refused(f"the system bus: {error or type(error).__name__}") from None
    return answers


def _refused(why: str) -> HostError:
    return HostError(f'systemd-resolved: {why}; set [dns] hook = "file", or "none" and let the system ask us')
