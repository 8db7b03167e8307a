"""dyndns2 with a server that nobody here wrote: nsupdate.info's, in front of a real BIND."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import trio
from tests.netns import Namespace, namespace
from tests.nsupdateserver import NAME, PASSWORD, NsUpdate, running_nsupdate

from vipnet.errors import PublishError
from vipnet.names.desired import Desired
from vipnet.publish.dyndns2 import Dyndns2, Service
from vipnet.publish.httpclient import HttpClient, trusting
from vipnet.publish.secret import Secret
from vipnet.types import Fqdn

pytestmark = pytest.mark.stack

A = Fqdn(NAME)
BOTH, V4 = ("192.0.2.1", "2001:db8::1"), ("192.0.2.2",)


@pytest.fixture(scope="module")
def space() -> Iterator[Namespace]:
    with namespace() as made:
        yield made


@pytest.fixture(scope="module")
def server(space: Namespace, tmp_path_factory: pytest.TempPathFactory) -> Iterator[NsUpdate]:
    with running_nsupdate(tmp_path_factory.mktemp("nsupdate"), space) as running:
        yield running


async def nowhere(_: str) -> tuple[str, ...]:
    return ()


def client(server: NsUpdate, password: str = PASSWORD, user: str = NAME) -> Dyndns2:
    secret = Secret(password)
    return Dyndns2(HttpClient(nowhere, secret, trusting(None)), Service(server.url), user, secret)


def test_updates_reach_the_name_server(space: Namespace, server: NsUpdate) -> None:
    async def main() -> None:
        dyndns2 = client(server)
        assert await dyndns2.publish(Desired(A, BOTH)) == BOTH
        assert server.bind.texts(A, "A") == {BOTH[0]}
        assert server.bind.texts(A, "AAAA") == {BOTH[1]}
        assert await dyndns2.publish(Desired(A, V4)) == V4
        assert server.bind.texts(A, "A") == set(V4)
        # A new start: the server says nochg, which is fine once.
        assert await client(server).publish(Desired(A, V4)) == V4

    space.call(lambda: trio.run(main))


def test_without_an_address_it_takes_the_one_it_sees(space: Namespace, server: NsUpdate) -> None:
    seen = "192.0.2.77"
    space.ip(f"address add {seen}/32 dev lo\n")

    async def main() -> None:
        # From the address it goes to: both ends are on this machine.
        service = Service(server.url.replace("127.0.0.1", seen), addresses="none")
        secret = Secret(PASSWORD)
        dyndns2 = Dyndns2(HttpClient(nowhere, secret, trusting(None)), service, NAME, secret)
        assert dyndns2.echoes
        assert await dyndns2.publish(Desired(A, ("192.168.1.10",))) == (seen,)
        assert server.bind.texts(A, "A") == {seen}

    space.call(lambda: trio.run(main))


@pytest.mark.parametrize(
    ("name", "user", "password", "code"),
    [
        (NAME, NAME, "wrong", "badauth"),
        (NAME, "nobody.vipip.test", PASSWORD, "badauth"),
        ("b.vipip.test", NAME, PASSWORD, "nohost"),
        (NAME, "alice", PASSWORD, "notfqdn"),
    ],
)
def test_refusals(space: Namespace, server: NsUpdate, name: str, user: str, password: str, code: str) -> None:
    async def main() -> PublishError:
        with pytest.raises(PublishError) as caught:
            await client(server, password, user).publish(Desired(Fqdn(name), V4))
        return caught.value

    error = space.call(lambda: trio.run(main))
    assert error.permanent
    assert code in str(error)
    assert password not in str(error)
