"""What datagrams under `opencrypto` say, to one who has no key."""

from __future__ import annotations

from msgspec import Struct

from vipnet.crypto.noise import KEY_SIZE
from vipnet.wire import control
from vipnet.wire.control import ControlMessage
from vipnet.wire.datagram import HEADER_SIZE, KIND_IPV4, TAG_SIZE, DataHeader, is_handshake
from vipnet.wire.handshake import (
    HandshakeDatagram,
    HandshakeType,
    InitPayload,
    ResponsePayload,
    StalePayload,
    decode_handshake,
    decode_init_payload,
    decode_response_payload,
)


class Parts(Struct, frozen=True):
    """A datagram, taken apart.

    content  a control message, the body of an application's packet, or a HandshakeDatagram
    payload  of a handshake; `drawn`: the random keys that stand in it
    """

    content: ControlMessage | HandshakeDatagram | bytes
    index: int
    key: bytes = b""
    counter: int = 0
    payload: InitPayload | ResponsePayload | StalePayload | None = None
    drawn: tuple[bytes, ...] = ()


def read_datagram(data: bytes) -> Parts:
    if is_handshake(data):
        datagram = decode_handshake(data)
        assert isinstance(datagram, HandshakeDatagram)
        noise = datagram.noise
        if datagram.type is HandshakeType.IK_INIT:
            payload = decode_init_payload(noise[3 * KEY_SIZE :])
            return Parts(datagram, datagram.sender, payload=payload, drawn=(noise[:KEY_SIZE],))
        answer = decode_response_payload(noise[KEY_SIZE + TAG_SIZE :])
        return Parts(datagram, datagram.receiver, payload=answer, drawn=(noise[:KEY_SIZE],))
    header = DataHeader.decode(data)
    plaintext, key = data[HEADER_SIZE:-TAG_SIZE], data[-TAG_SIZE:]
    body = plaintext[:-1]
    content = body[20:] if plaintext[-1] == KIND_IPV4 else control.decode(body)
    return Parts(content, header.receiver_index, key, header.counter)
