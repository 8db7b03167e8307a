"""The lab's own name server: a Zone behind UDP and TCP, with TSIG, latency and loss to order.

    python -m vipnet.lab.zoneserver SETTINGS.json

Each question and update is one line of JSON in the log, with its time. Faults are
read again at every question: write the file, and the next answer is late or lost.
"""

from __future__ import annotations

import json
import random
import sys
import time
from pathlib import Path
from typing import Final, TextIO

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rdatatype
import dns.rdtypes.ANY.TSIG
import dns.rrset
import dns.tsig
import dns.update
import msgspec
import trio
from dns.rcode import Rcode
from dns.rdataclass import RdataClass
from dns.rdatatype import RdataType
from msgspec import Struct

from vipnet.lab.zone import UDP_SIZE, Record, UpdateRefusedError, Zone

TCP_IDLE_S: Final = 30.0
_TSIG_ERRORS: Final = {
    dns.message.UnknownTSIGKey: Rcode.BADKEY,
    dns.tsig.BadKey: Rcode.BADKEY,
    dns.tsig.BadAlgorithm: Rcode.BADKEY,
    dns.tsig.BadSignature: Rcode.BADSIG,
    dns.tsig.BadTime: Rcode.BADTIME,
}


class Settings(Struct, frozen=True):
    """What the server serves, and where; `keys` are TSIG secrets in base64 by name."""

    origin: str
    addresses: tuple[str, ...]
    records: tuple[Record, ...]
    keys: dict[str, str]
    log: str
    faults: str
    port: int = 53


class Faults(Struct, frozen=True):
    """Each answer is delayed; `loss` is the share of UDP questions that are lost."""

    delay_ms: float = 0.0
    loss: float = 0.0


class ZoneServer:
    """Answer bytes with bytes; the sockets are the caller's."""

    def __init__(self, settings: Settings, log: TextIO) -> None:
        self.zone = Zone(settings.origin, settings.records)
        self._keys = {
            dns.name.from_text(name): dns.tsig.Key(name, secret, dns.tsig.HMAC_SHA256)
            for name, secret in settings.keys.items()
        }
        self._log_file = log

    def answer(self, wire: bytes, client: str, *, tcp: bool) -> bytes | None:
        """Return the answer to WIRE; None when it is no DNS message at all."""
        try:
            query = dns.message.from_wire(wire, keyring=self._keys)
        except tuple(_TSIG_ERRORS) as error:
            return self._refuse_signature(wire, client, error)
        except (dns.exception.DNSException, ValueError) as error:
            return self._refuse_form(wire, client, error)
        if query.flags & dns.flags.QR:
            return None
        if isinstance(query, dns.update.UpdateMessage):
            return self._update(query, client)
        response = self.zone.answer(query)
        asked = query.question[0] if query.question else None
        self._log(
            "query",
            client,
            response.rcode(),
            transport="tcp" if tcp else "udp",
            name=None if asked is None else str(asked.name),
            type=None if asked is None else dns.rdatatype.to_text(asked.rdtype),
        )
        limit = 65_535 if tcp else min(max(query.payload, 512), UDP_SIZE)
        return response.to_wire(max_size=limit, prefer_truncation=True)

    def _update(self, query: dns.update.UpdateMessage, client: str) -> bytes:
        response = dns.message.make_response(query)
        changes: list[str] = []
        reason = None
        try:
            changes = self.zone.update(query, query.keyname if query.had_tsig else None)
        except UpdateRefusedError as error:
            response.set_rcode(error.rcode)
            reason = str(error)
        key = str(query.keyname) if query.had_tsig else None
        serial = self.zone.serial
        self._log("update", client, response.rcode(), key=key, changes=changes, serial=serial, reason=reason)
        return response.to_wire()

    def _refuse_signature(self, wire: bytes, client: str, reason: Exception) -> bytes:
        """NOTAUTH, with the cause in an unsigned TSIG record; BADTIME's is signed (RFC 8945 section 5.2)."""
        error = next(code for kind, code in _TSIG_ERRORS.items() if isinstance(reason, kind))
        query = dns.message.from_wire(wire, keyring=False)
        assert query.tsig is not None  # noqa: S101 - there was one to be wrong
        response = dns.message.make_response(query)
        response.set_rcode(Rcode.NOTAUTH)
        tsig = query.tsig[0]
        now = int(time.time())
        if error == Rcode.BADTIME:
            key = self._keys[query.tsig.name]
            response.request_mac = tsig.mac
            response.use_tsig(key, tsig_error=error, other_data=now.to_bytes(6, "big"))
        else:
            unsigned = dns.rdtypes.ANY.TSIG.TSIG(  # type: ignore[no-untyped-call]
                RdataClass.ANY, RdataType.TSIG, tsig.algorithm, now, tsig.fudge, b"", query.id, error, b""
            )
            response.tsig = dns.rrset.from_rdata(query.tsig.name, 0, unsigned)
        self._log("refused", client, Rcode.NOTAUTH, key=str(query.tsig.name), reason=error.name)
        return response.to_wire()

    def _refuse_form(self, wire: bytes, client: str, reason: Exception) -> bytes | None:
        if len(wire) < 12 or wire[2] & 0x80:
            return None
        self._log("refused", client, Rcode.FORMERR, reason=str(reason))
        flags = 0x8000 | (wire[2] & 0x79) << 8 | Rcode.FORMERR
        return wire[:2] + flags.to_bytes(2, "big") + bytes(8)

    def _log(self, event: str, client: str, rcode: Rcode, **fields: object) -> None:
        line = {
            "event": event,
            "at": time.time(),
            "monotonic_ns": time.monotonic_ns(),
            "client": client,
            "rcode": rcode.name,
        }
        self._log_file.write(json.dumps(line | fields) + "\n")
        self._log_file.flush()


def read_faults(path: Path) -> Faults:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Faults)
    except (FileNotFoundError, msgspec.DecodeError):  # none ordered, or half written
        return Faults()


# --- sockets


async def serve(
    server: ZoneServer, settings: Settings, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    """Serve until cancelled; every socket is bound when started() is called."""
    faults = Path(settings.faults)
    async with trio.open_nursery() as nursery:
        for address in settings.addresses:
            family = trio.socket.AF_INET6 if ":" in address else trio.socket.AF_INET
            sock = trio.socket.socket(family, trio.socket.SOCK_DGRAM)
            await sock.bind((address, settings.port))
            nursery.start_soon(_serve_udp, sock, server, faults, nursery)
            for listener in await trio.open_tcp_listeners(settings.port, host=address):
                nursery.start_soon(_serve_tcp, listener, server, faults, nursery)
        task_status.started()


async def _serve_udp(
    sock: trio.socket.SocketType, server: ZoneServer, faults: Path, nursery: trio.Nursery
) -> None:
    async def reply(wire: bytes, client: tuple[str, int]) -> None:
        ordered = read_faults(faults)
        if random.random() < ordered.loss:  # noqa: S311 - a lossy network, not a secret
            return
        await trio.sleep(ordered.delay_ms / 1000)
        answer = server.answer(wire, client[0], tcp=False)
        if answer is not None:
            try:
                await sock.sendto(answer, client)
            except OSError:  # the host that asked has just left this LAN
                return

    with sock:
        while True:
            try:
                wire, client = await sock.recvfrom(65_535)
            except OSError:  # an ICMP error to an earlier answer
                continue
            nursery.start_soon(reply, wire, client)


async def _serve_tcp(
    listener: trio.SocketListener, server: ZoneServer, faults: Path, nursery: trio.Nursery
) -> None:
    async def converse(stream: trio.SocketStream) -> None:
        client = stream.socket.getpeername()[0]
        async with stream:
            with trio.move_on_after(TCP_IDLE_S) as idle:
                while (size := await _receive_exactly(stream, 2)) is not None:
                    wire = await _receive_exactly(stream, int.from_bytes(size, "big"))
                    if wire is None:
                        return
                    await trio.sleep(read_faults(faults).delay_ms / 1000)
                    answer = server.answer(wire, client, tcp=True)
                    if answer is None:
                        return
                    await stream.send_all(len(answer).to_bytes(2, "big") + answer)
                    idle.deadline = trio.current_time() + TCP_IDLE_S

    async def converse_safely(stream: trio.SocketStream) -> None:
        try:
            await converse(stream)
        except (trio.BrokenResourceError, OSError):
            return

    await trio.serve_listeners(converse_safely, [listener], handler_nursery=nursery)


async def _receive_exactly(stream: trio.SocketStream, size: int) -> bytes | None:
    data = bytearray()
    while len(data) < size:
        more = await stream.receive_some(size - len(data))
        if not more:
            return None
        data += more
    return bytes(data)


def main() -> None:
    settings = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=Settings)
    with Path(settings.log).open("a", encoding="utf-8") as log:
        trio.run(serve, ZoneServer(settings, log), settings)


if __name__ == "__main__":
    main()
