"""dyndns2's twelve return codes, from the provider's word to what the daemon does and `status` says.

They are those of https://help.dyn.com/remote-access-api/return-codes/.
"""

from __future__ import annotations

from typing import Any

import pytest
import trio
from tests.publish.webdouble import SECRET
from trio.testing import MockClock

from vipnet.app.publishing import PublishLoop
from vipnet.names.desired import Desired
from vipnet.publish.dyndns2 import PAUSE_S, SERVICES, Dyndns2
from vipnet.publish.web import Answer
from vipnet.types import Fqdn

ME = Fqdn("me.ddns.net")
HOME, WORK = ("192.0.2.1",), ("198.51.100.7",)
TAKEN = ("good 192.0.2.1", "nochg 192.0.2.1")
FATAL = ("badauth", "!donator", "notfqdn", "nohost", "numhost", "abuse", "badagent", "good 127.0.0.1")
TROUBLE = ("dnserr", "911")
MINUTE_S = 60.0


class Provider:
    """Says `word` to the first request and "good" to all others."""

    def __init__(self, word: str) -> None:
        self.word = word
        self.asked: list[str] = []

    async def __call__(self, method: str, url: str, **how: Any) -> Answer:
        await trio.lowlevel.checkpoint()
        self.asked.append(how["query"]["myip"])
        return Answer(200, self.word if len(self.asked) == 1 else "good")


def states(word: str, *, pause_s: float) -> tuple[Provider, list[dict[str, Any]]]:
    """`publish` of status after WORD, after a move 10 minutes later, and PAUSE_S after that."""
    provider = Provider(word)
    said = []

    async def main() -> None:
        dyndns2 = Dyndns2(provider, SERVICES["no-ip"], "me@example.org", SECRET, now=trio.current_time)
        loop = PublishLoop(dyndns2, lambda addresses: Desired(ME, addresses), jitter=lambda: 0.0)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(loop.run)
            loop.want(HOME)
            await trio.sleep(1)
            said.append(loop.status())
            await trio.sleep(10 * MINUTE_S)
            loop.want(WORK)
            await trio.sleep(1)
            said.append(loop.status())
            await trio.sleep(pause_s)
            said.append(loop.status())
            nursery.cancel_scope.cancel()

    trio.run(main, clock=MockClock(autojump_threshold=0))
    return provider, said


def test_there_are_twelve() -> None:
    assert len({*TAKEN, *FATAL, *TROUBLE}) == 12


@pytest.mark.parametrize("word", TAKEN)
def test_taken(word: str) -> None:
    provider, said = states(word, pause_s=0)
    assert [(one["state"], one["address"]) for one in said[:2]] == [("ok", HOME[0]), ("ok", WORK[0])]
    assert provider.asked == [*HOME, *WORK]


@pytest.mark.parametrize("word", FATAL)
def test_refused_until_the_user_has_acted(word: str) -> None:
    """Not even a new address is sent: "without user intervention", says Dyn, a client is blocked."""
    provider, said = states(word, pause_s=24 * 60 * MINUTE_S)
    assert [one["state"] for one in said] == ["refused"] * 3
    assert all(word.split(maxsplit=1)[0].replace("good", "badagent") in one["error"] for one in said)
    assert provider.asked == [*HOME]


@pytest.mark.parametrize("word", TROUBLE)
def test_left_alone_for_half_an_hour(word: str) -> None:
    provider, said = states(word, pause_s=PAUSE_S - 11 * MINUTE_S)
    assert [one["state"] for one in said] == ["waiting"] * 3
    assert all(word in one["error"] for one in said)
    assert provider.asked == [*HOME]
    provider, said = states(word, pause_s=PAUSE_S - 9 * MINUTE_S)
    assert (said[2]["state"], said[2]["address"]) == ("ok", WORK[0])
    assert provider.asked == [*HOME, *WORK]
