"""An echo over QUIC, by aioquic.

    quic_program.py serve PORT CERTIFICATE KEY
    quic_program.py ask HOST PORT CERTIFICATE

The asking end keeps one connection with one stream; it behaves like those of clients.py.
"""

from __future__ import annotations

import asyncio
import sys
import time

from aioquic.asyncio.client import connect
from aioquic.asyncio.server import serve as listen
from aioquic.quic.configuration import QuicConfiguration

NAME = "b.vipip.net"  # in the certificate
ALPN = ["echo"]
PACE_S = 0.02


async def serve(port: int, certificate: str, key: str) -> None:
    configuration = QuicConfiguration(is_client=False, alpn_protocols=ALPN)
    configuration.load_cert_chain(certificate, key)
    echoes: set[asyncio.Task[None]] = set()

    def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        echoes.add(asyncio.ensure_future(_echo(reader, writer)))

    await listen("0.0.0.0", port, configuration=configuration, stream_handler=begin)
    await asyncio.Event().wait()


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)


async def ask(host: str, port: int, certificate: str) -> None:
    configuration = QuicConfiguration(alpn_protocols=ALPN, server_name=NAME)
    configuration.load_verify_locations(certificate)
    ended = asyncio.Event()
    asyncio.get_running_loop().add_reader(0, ended.set)
    async with connect(host, port, configuration=configuration) as connection:
        reader, writer = await connection.create_stream()
        number = 0
        while not ended.is_set():
            words = number.to_bytes(8, "big")
            writer.write(words)
            if await reader.readexactly(len(words)) != words:
                sys.exit(f"number {number} came back changed")
            print(time.monotonic_ns(), flush=True)
            number += 1
            await asyncio.sleep(PACE_S)
    print(f"{number} numbers came back on one connection", file=sys.stderr)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["serve", port, certificate, key]:
            asyncio.run(serve(int(port), certificate, key))
        case ["ask", host, port, certificate]:
            asyncio.run(ask(host, int(port), certificate))
        case _:
            sys.exit(__doc__)
