"""A name server on loopback that answers as a test says: late, wrongly, or not at all."""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset
import trio
from tests.bind import free_port

from vipnet.names.desired import within
from vipnet.types import Locator

Respond = Callable[[dns.message.Message], dns.message.Message | bytes | None]
SOA = "ns1.vipip.test. hostmaster.vipip.test. 1 3600 600 86400 20"


class FakeDns:
    """Answers with `records`, {"name TYPE": [data, ...]}; TTL 300, a negative one 20.

    Assign to an attribute to change what it does from then on:

    zones     a negative answer has the SOA of the first that fits
    delays_s  seconds before the answer to "name TYPE", or to "TYPE" of any name
    silent    no answer to these: "name TYPE" or "TYPE"
    rcodes    answer to these with a code
    rewrite   last change to a response: bytes, or None for no answer
    asked     what has been asked, in order; a question that is sent again counts once
    received  the same, but every datagram counts
    """

    def __init__(self, records: Mapping[str, Sequence[str]] | None = None, *, authoritative: bool = False):
        self.records = dict(records or {})
        self.authoritative = authoritative
        self.zones = ("vipip.test", "test")
        self.delays_s: dict[str, float] = {}
        self.silent: set[str] = set()
        self.rcodes: dict[str, dns.rcode.Rcode] = {}
        self.rewrite: Respond = lambda response: response
        self.asked: list[str] = []
        self.received: list[str] = []
        self.asked_over_tcp: list[str] = []
        self._seen: set[tuple[object, int, str]] = set()
        self.sources: list[tuple[str, int]] = []
        self.address = Locator("127.0.0.1", 1)

    def count(self, question: str) -> int:
        return self.asked.count(question)

    @asynccontextmanager
    async def serve(self, host: str = "127.0.0.1") -> AsyncIterator[FakeDns]:
        with trio.socket.socket(trio.socket.AF_INET, trio.socket.SOCK_DGRAM) as udp:
            self.address = Locator(host, free_port(host))
            await udp.bind((host, self.address.port))
            listeners = await trio.open_tcp_listeners(self.address.port, host=host)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._serve_udp, udp, nursery)
                nursery.start_soon(trio.serve_listeners, self._serve_tcp, listeners)
                yield self
                nursery.cancel_scope.cancel()

    async def _serve_udp(self, udp: trio.socket.SocketType, nursery: trio.Nursery) -> None:
        async def answer(wire: bytes, client: tuple[object, ...]) -> None:
            for reply in await self._replies(wire, client):
                await udp.sendto(reply, client)

        while True:
            wire, client = await udp.recvfrom(65535)
            self.sources.append(client)
            nursery.start_soon(answer, wire, client)

    async def _serve_tcp(self, stream: trio.SocketStream) -> None:
        data = b""
        while more := await stream.receive_some():
            data += more
            while len(data) >= 2 and len(data) >= 2 + (length := struct.unpack_from("!H", data)[0]):
                wire, data = data[2 : 2 + length], data[2 + length :]
                for reply in await self._replies(wire, None):
                    await stream.send_all(struct.pack("!H", len(reply)) + reply)

    async def _replies(self, wire: bytes, client: object) -> list[bytes]:
        """No client: it came over TCP."""
        query = dns.message.from_wire(wire)
        asked = query.question[0]
        name, rdtype = asked.name.to_text(omit_final_dot=True).lower(), dns.rdatatype.to_text(asked.rdtype)
        keys = (f"{name} {rdtype}", rdtype)
        if client is None:
            self.asked_over_tcp.append(keys[0])
        else:
            self.received.append(keys[0])
            if (client, query.id, keys[0]) not in self._seen:
                self._seen.add((client, query.id, keys[0]))
                self.asked.append(keys[0])
        await trio.sleep(next((self.delays_s[key] for key in keys if key in self.delays_s), 0))
        if self.silent.intersection(keys):
            return []
        response = self._respond(query, name, rdtype)
        response.set_rcode(next((self.rcodes[key] for key in keys if key in self.rcodes), response.rcode()))
        result = self.rewrite(response)
        if result is None:
            return []
        return [result if isinstance(result, bytes) else result.to_wire()]

    def _respond(self, query: dns.message.Message, name: str, rdtype: str) -> dns.message.Message:
        response = dns.message.make_response(query, recursion_available=True)
        if self.authoritative:
            response.flags |= dns.flags.AA
        while f"{name} {rdtype}" not in self.records and (target := self.records.get(f"{name} CNAME")):
            response.answer.append(dns.rrset.from_text(f"{name}.", 300, "IN", "CNAME", *target))
            name = target[0].removesuffix(".")
        data = self.records.get(f"{name} {rdtype}", ())
        if data:
            response.answer.append(dns.rrset.from_text(f"{name}.", 300, "IN", rdtype, *data))
        else:
            zone = next((zone for zone in self.zones if within(name, zone)), "")
            response.authority.append(dns.rrset.from_text(f"{zone}.", 30, "IN", "SOA", SOA))
            if not any(key.split()[0] == name for key in self.records):
                response.set_rcode(dns.rcode.NXDOMAIN)
        return response
