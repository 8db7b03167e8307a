"""A forwarder before BIND that makes it slow or deaf to order, as a far or lossy network would.

    python -m vipnet.lab.latedns SETTINGS.json

Half of the delay passes before a question (or an update) reaches the server, half before
its answer is on the way back. Says `ready` when its ports are open; `redirect` then sends
what comes in for the server here instead. Faults are read again for each question.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path
from typing import Final

import msgspec
import trio
from msgspec import Struct

from vipnet.lab.nat import run_nft
from vipnet.lab.zoneserver import read_faults

READY: Final = "ready"
PORT: Final = 5353
_SERVER_S: Final = 10.0  # it is on this machine; then the question is forgotten
_CHUNK: Final = 65_536
_SCRIPT: Final = """\
table inet vipnet_latedns
delete table inet vipnet_latedns
table inet vipnet_latedns {{
    chain in {{
        type nat hook prerouting priority -100
        meta l4proto {{ tcp, udp }} th dport 53 redirect to :{port}
    }}
}}
"""


class Settings(Struct, frozen=True):
    """`server` answers on port 53; what comes in for any of `addresses` goes there."""

    server: str
    addresses: tuple[str, ...]
    faults: str


def redirect(netns: str) -> None:
    """Have what comes into NETNS for its name server pass through here first. Raise HostError."""
    run_nft(netns, _SCRIPT.format(port=PORT))


async def serve(settings: Settings, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
    """Serve until cancelled."""
    async with trio.open_nursery() as nursery:
        for address in settings.addresses:
            family = trio.socket.AF_INET6 if ":" in address else trio.socket.AF_INET
            sock = trio.socket.socket(family, trio.socket.SOCK_DGRAM)
            await sock.bind((address, PORT))
            nursery.start_soon(_serve_udp, sock, settings, nursery)
            for listener in await trio.open_tcp_listeners(PORT, host=address):
                nursery.start_soon(_serve_tcp, listener, settings, nursery)
        task_status.started()


async def _serve_udp(sock: trio.socket.SocketType, settings: Settings, nursery: trio.Nursery) -> None:
    faults = Path(settings.faults)

    async def pass_on(wire: bytes, client: tuple[str, int]) -> None:
        ordered = read_faults(faults)
        if random.random() < ordered.loss:  # noqa: S311 - a lossy network, not a secret
            return
        half_s = ordered.delay_ms / 2000
        await trio.sleep(half_s)
        answer = await _ask(wire, settings.server)
        if answer is None:
            return
        await trio.sleep(half_s)
        try:
            await sock.sendto(answer, client)
        except OSError:  # the host that asked has just left this LAN
            return

    with sock:
        while True:
            try:
                wire, client = await sock.recvfrom(_CHUNK)
            except OSError:  # an ICMP error to an earlier answer
                continue
            nursery.start_soon(pass_on, wire, client)


async def _ask(wire: bytes, server: str) -> bytes | None:
    family = trio.socket.AF_INET6 if ":" in server else trio.socket.AF_INET
    with trio.socket.socket(family, trio.socket.SOCK_DGRAM) as sock, trio.move_on_after(_SERVER_S):
        try:
            await sock.connect((server, 53))
            await sock.send(wire)
            answer: bytes = await sock.recv(_CHUNK)
        except OSError:  # the server has ended
            return None
        return answer
    return None


async def _serve_tcp(listener: trio.SocketListener, settings: Settings, nursery: trio.Nursery) -> None:
    async def pass_on(client: trio.SocketStream) -> None:
        try:
            async with (
                client,
                await trio.open_tcp_stream(settings.server, 53) as server,
                trio.open_nursery() as both,
            ):
                both.start_soon(_pump, client, server, settings)
                await _pump(server, client, settings)
                both.cancel_scope.cancel()
        except* (OSError, trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # one end has gone, and so has the conversation

    await trio.serve_listeners(pass_on, [listener], handler_nursery=nursery)


async def _pump(source: trio.SocketStream, target: trio.SocketStream, settings: Settings) -> None:
    """Bytes from SOURCE to TARGET, each half of the delay later, in order; until SOURCE ends."""
    late, due = trio.open_memory_channel[tuple[float, bytes]](1000)

    async def deliver() -> None:
        async for at, data in due:
            await trio.sleep_until(at)
            await target.send_all(data)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(deliver)
        async with late:
            while data := await source.receive_some(_CHUNK):
                half_s = read_faults(Path(settings.faults)).delay_ms / 2000
                await late.send((trio.current_time() + half_s, bytes(data)))


async def _run(settings: Settings) -> None:
    async with trio.open_nursery() as nursery:
        await nursery.start(serve, settings)
        print(READY, flush=True)


def main() -> None:
    trio.run(_run, msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=Settings))


if __name__ == "__main__":
    main()
