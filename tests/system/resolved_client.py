"""In test_resolved's namespace: hook on to resolved, answer it, ask its stub. Prints what we are asked."""

from __future__ import annotations

import sys

import dns.message
import dns.rrset
import trio
from dns.rdatatype import A

from vipnet.system import resolved
from vipnet.system.resolver import Resolver
from vipnet.types import Locator

US, STUB = "127.0.0.47", "127.0.0.53"
START_S, ANSWER_S = 20.0, 2.0


async def answer(wire: bytes, tcp: bool) -> bytes:
    query = dns.message.from_wire(wire)
    name = query.question[0].name
    response = dns.message.make_response(query, recursion_available=True)
    if query.question[0].rdtype == A:
        print(name.to_text(omit_final_dot=True), flush=True)
        response.answer.append(dns.rrset.from_text(name, 1, "IN", "A", "240.0.0.9"))
    return response.to_wire()


async def main(domains: str) -> None:
    with trio.fail_after(START_S):
        while not await resolved.is_running():  # noqa: ASYNC110 - another process
            await trio.sleep(0.05)
    await resolved.route("tun0", US, domains.split(","))
    async with trio.open_nursery() as nursery:
        await nursery.start(Resolver(Locator(US, 53), answer).run)
        for name in ("b.vipip.test", "www.example.org"):
            with trio.socket.socket(trio.socket.AF_INET, trio.socket.SOCK_DGRAM) as sock:
                await sock.sendto(dns.message.make_query(name, "A").to_wire(), (STUB, 53))
                with trio.move_on_after(ANSWER_S):  # eth0's server does not exist
                    await sock.recv(4096)
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main, sys.argv[1])
