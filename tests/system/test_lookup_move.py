"""Questions that are under way while the host changes its address."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import dns.message
import pytest
import trio
from tests.netns import Namespace, namespace, veth

from vipnet.system.lookup import Lookup
from vipnet.types import Locator

OLD, NEW, SERVER = "10.97.0.1", "10.97.0.2", "10.97.0.53"
QUERY = dns.message.make_query("b.vipip.test", "A").to_wire()


@pytest.fixture
def client() -> Iterator[tuple[Namespace, socket.socket]]:
    """A host with an address, and the socket of a name server that it reaches."""
    with namespace() as here, namespace() as there:
        veth(here, "eth0", there, "eth0")
        there.ip(f"link set eth0 up\naddr add {SERVER}/24 dev eth0")
        here.ip(f"link set eth0 up\naddr add {OLD}/24 dev eth0")
        with there.call(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as server:
            server.bind((SERVER, 53))
            yield here, server


async def answer_only(sock: socket.socket, host: str, asked: trio.Event, sources: list[str]) -> None:
    """Answer questions that come from HOST; the answers to others would not arrive any more."""
    server = trio.socket.from_stdlib_socket(sock)
    while True:
        wire, client = await server.recvfrom(512)
        sources.append(client[0])
        asked.set()
        if client[0] == host:
            await server.sendto(dns.message.make_response(dns.message.from_wire(wire)).to_wire(), client)


def test_a_retry_leaves_from_the_new_address(client: tuple[Namespace, socket.socket]) -> None:
    here, server = client
    sources: list[str] = []

    async def main() -> None:
        asked = trio.Event()

        async def move() -> None:
            await asked.wait()
            here.ip(f"addr del {OLD}/24 dev eth0\naddr add {NEW}/24 dev eth0")

        with trio.fail_after(20):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(answer_only, server, NEW, asked, sources)
                nursery.start_soon(move)
                await Lookup(lambda: ()).ask(QUERY, Locator(SERVER, 53), timeout_s=15)
                nursery.cancel_scope.cancel()

    here.call(lambda: trio.run(main))
    assert sources[0] == OLD
    assert sources[-1] == NEW


def test_a_moment_without_any_route_does_not_end_a_question(client: tuple[Namespace, socket.socket]) -> None:
    here, server = client
    here.ip(f"addr del {OLD}/24 dev eth0")
    sources: list[str] = []

    async def main() -> None:
        async def move() -> None:
            await trio.sleep(0.12)  # how long there is no network: the first tries find no route
            here.ip(f"addr add {NEW}/24 dev eth0")

        with trio.fail_after(20):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(answer_only, server, NEW, trio.Event(), sources)
                nursery.start_soon(move)
                await Lookup(lambda: ()).ask(QUERY, Locator(SERVER, 53), timeout_s=15)
                nursery.cancel_scope.cancel()

    here.call(lambda: trio.run(main))
    assert set(sources) == {NEW}
