"""The dyndns2 protocol: no-ip, Dynu, dy.fi and a hundred others.

One GET of /nic/update with the name and its addresses, answered by a word. It began as
Dyn's remote access API, whose pages are still its specification:
https://help.dyn.com/remote-access-api/return-codes/ and .../policies/ ("Only update when the
IP address is different from the IP of the last update"; no update "after receiving the
notfqdn, abuse, nohost, badagent, badauth ... return codes ... without user intervention").
There are no TXT records in it: peers list such a host by hand (`[[peer]]`).
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable
from ipaddress import ip_address
from typing import Final, Literal

import trio
from msgspec import Struct

from vipnet import __version__
from vipnet.errors import PublishError
from vipnet.names.desired import Desired
from vipnet.publish.secret import Secret
from vipnet.publish.web import Answer, Web, refusal
from vipnet.types import Fqdn

PAUSE_S: Final = 1800.0  # after 911: "no sooner [than] 30 minutes" (noip.com/integrate/response)
DAY_S: Final = 86_400.0


class Service(Struct, frozen=True):
    """What differs from one provider to another.

    addresses   how they are passed: one list, each family under its own name, or not at all
                (the provider takes the address that the request comes from)
    interval_s  60 is ours where the provider names no figure
    refresh_s   the provider forgets a name that is not updated for longer
    """

    url: str
    addresses: Literal["list", "families", "none"] = "list"
    interval_s: float = 60.0
    refresh_s: float = math.inf


SERVICES: Final = {
    # https://www.noip.com/integrate/request
    "no-ip": Service("https://dynupdate.no-ip.com/nic/update"),
    # https://www.dynu.com/DynamicDNS/IP-Update-Protocol
    "dynu": Service("https://api.dynu.com/nic/update", "families"),
    # https://www.dy.fi/page/specification: updated after 5 to 6 days, or gone after 7
    "dy.fi": Service("https://www.dy.fi/nic/update", "none", refresh_s=5.5 * DAY_S),
    # https://help.dyn.com/remote-access-api/perform-update/
    "dyn": Service("https://members.dyndns.org/nic/update"),
    # https://nsupdate.info: the user is the host's name
    "nsupdate.info": Service("https://nsupdate.info/nic/update"),
}

_CREDENTIALS: Final = "check [publish] user and secret_file"
# Fatal codes: what they mean, and the mend. None of them is tried again by itself.
_FATAL: Final = {
    "badauth": ("refuses user and password", _CREDENTIALS),
    "badsys": ("does not know this kind of update", "check [publish] url"),
    "badagent": ("has blocked this program", "see whether a newer vipnet is to be had"),
    "!donator": ("wants a paid account for this", "see the account there"),
    "!yours": ("says that {name} belongs to another account", _CREDENTIALS),
    "notfqdn": ("does not take {name} as a name", "check `name`"),
    "nohost": ("has no {name} in this account", "add it there, or check `name`"),
    "numhost": ("has {name} with several addresses or too many names", "make it one dynamic name there"),
    "abuse": ("has blocked {name} for too many updates", "unblock it there"),
    "badip": ("does not take this host's address", "see what addresses it takes"),
}
_TROUBLE: Final = frozenset({"dnserr", "911"})
_CODE = re.compile(r"(!?[a-z0-9]+)(?:[ \t]+(.*))?")


class Dyndns2:
    """Publishes by one request an update.

    user  and the secret are the account's, or the name's where the provider has such
    now   seconds on a clock that does not jump
    """

    provider = "dyndns2"
    writes_record = False

    def __init__(
        self,
        web: Web,
        service: Service,
        user: str,
        secret: Secret,
        *,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._web, self._service, self._user, self._secret = web, service, user, secret
        self._now = now
        self._last: tuple[tuple[str, ...], tuple[str, ...]] | None = None  # what was sent, what is there
        self._last_at = -math.inf
        self._fatal: PublishError | None = None

    @property
    def interval_s(self) -> float:
        return self._service.interval_s

    @property
    def refresh_s(self) -> float:
        return self._service.refresh_s

    @property
    def echoes(self) -> bool:
        return self._service.addresses == "none"

    async def publish(self, desired: Desired) -> tuple[str, ...]:
        """See Publisher. The same addresses again are not sent: providers block names for that.

        Where the provider takes what it sees, that may be new although ours are the same.
        """
        fresh = self._now() - self._last_at < self._service.refresh_s
        same = self._last is not None and self._last[0] == desired.addresses and not self.echoes
        if self._last is not None and same and fresh:
            return self._last[1]
        self._last = None  # until the answer is here it may have either
        answer = await self._request(desired.name, self._parameters(desired))
        code, rest = _code(answer)
        if code not in ("good", "nochg"):
            raise self._refused(desired.name, answer, code)
        published = _addresses(rest) or (() if self.echoes else desired.addresses)
        if published == ("127.0.0.1",):  # Dyn's way to tell a program that it is not listened to
            raise self._refused(desired.name, answer, "badagent")
        self._last, self._last_at = (desired.addresses, published), self._now()
        return published

    async def withdraw(self, desired: Desired) -> None:  # noqa: ARG002
        """See Publisher. There is no record, and whoever is listed by hand is removed by hand."""
        await trio.lowlevel.checkpoint()

    async def _request(self, name: Fqdn, parameters: dict[str, str]) -> Answer:
        if self._fatal is not None:
            raise self._fatal
        return await self._web(
            "GET",
            self._service.url,
            query={"hostname": name, **parameters},
            headers={"User-Agent": user_agent(self._user)},
            basic=(self._user, self._secret.reveal()),
        )

    def _parameters(self, desired: Desired) -> dict[str, str]:
        if self._service.addresses == "none":
            return {}
        if self._service.addresses == "list":
            return {"myip": ",".join(desired.addresses)}
        families = {"myip": desired.ipv4, "myipv6": desired.ipv6}
        # "no": Dynu shall not take the address of the request for a family that is not there.
        return {key: addresses[0] if addresses else "no" for key, addresses in families.items()}

    def _refused(self, name: Fqdn, answer: Answer, code: str) -> PublishError:
        if code in _FATAL:
            says, mend = _FATAL[code]
            error = PublishError(f"{self._host} {says.format(name=name)} ({code}): {mend}", permanent=True)
        elif code in _TROUBLE:
            return PublishError(f"{self._host} has trouble of its own ({code})", retry_after_s=PAUSE_S)
        else:
            error = refusal(self._host, answer, mend=_CREDENTIALS)
        if error.permanent:
            self._fatal = error
        return error

    @property
    def _host(self) -> str:
        return self._service.url.split("/")[2]


def user_agent(user: str) -> str:
    """Company, program, system, version, and whom to write to, as no-ip wants it.

    That is who runs it: the account's user, where it is a mail address.
    """
    return f"vipnet vipnet/Linux-{__version__}" + (f" {user}" if "@" in user else "")


def _code(answer: Answer) -> tuple[str, str]:
    """The return code and what follows it; an empty code when this is no answer of the protocol."""
    lines = answer.text.strip().splitlines()
    # One line for each name, and we update one; nsupdate.info adds one for each address.
    found = [match for line in lines[:4] if (match := _CODE.fullmatch(line.strip()))]
    if not found or len(found) < len(lines):
        return "", ""
    worst = next((match for match in found if match[1] not in ("good", "nochg")), found[0])
    return worst[1], ",".join(match[2] or "" for match in found)


def _addresses(text: str) -> tuple[str, ...]:
    """The addresses behind `good`: some give one, some a list, some none."""
    found = []
    for word in re.split(r"[\s,]+", text.strip()):
        try:
            found.append(str(ip_address(word)))
        except ValueError:
            continue
    return tuple(dict.fromkeys(found))
