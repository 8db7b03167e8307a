"""Hypothesis strategies for everything that travels."""

from __future__ import annotations

from ipaddress import IPv4Address

from hypothesis import strategies as st

from vipnet.policy import LOCATORS_MAX, OFFER_PAGE
from vipnet.types import Fqdn, Locator, Token, parse_name
from vipnet.wire import control
from vipnet.wire.handshake import (
    HandshakeDatagram,
    HandshakeType,
    InitPayload,
    ResponsePayload,
    StalePayload,
)

u32 = st.integers(0, 2**32 - 1)
u63 = st.integers(0, 2**63 - 1)
indices = st.integers(1, 2**32 - 1)
eight_bytes = st.binary(min_size=8, max_size=8)
macs = st.binary(min_size=16, max_size=16)

labels = st.from_regex(r"[a-z0-9_]([a-z0-9_-]{0,10}[a-z0-9_])?", fullmatch=True)
names: st.SearchStrategy[Fqdn] = st.lists(labels, min_size=2, max_size=4).map(
    lambda parts: parse_name(".".join(parts))
)
locators = st.builds(Locator, host=st.ip_addresses().map(str), port=st.integers(1, 65535))
tokens = u32.map(lambda number: Token(IPv4Address(number)))
locator_lists = st.lists(locators, max_size=LOCATORS_MAX).map(tuple)
token_lists = st.lists(tokens, max_size=OFFER_PAGE).map(tuple)
pairs = st.builds(control.TokenPair, chooser=tokens, other=tokens)
gaps = st.lists(st.tuples(u63, u63), max_size=128).map(tuple)
reports = st.builds(control.Report, index=u32, base=u63, highest=u63, gaps=gaps)
report_lists = st.lists(reports, max_size=4).map(tuple)

token_messages: st.SearchStrategy[control.TokenMessage] = st.one_of(
    st.builds(
        control.Offer,
        existing=st.none() | pairs,
        chooser=token_lists,
        other=token_lists,
        page=st.integers(0, 31),
    ),
    st.builds(control.OfferRequest, page=st.integers(1, 31)),
    st.builds(control.Choose, tokens=pairs, generation=u32, revoke=st.booleans()),
    st.builds(control.Accept, tokens=pairs, generation=u32),
)
messages: st.SearchStrategy[control.ControlMessage] = st.one_of(
    token_messages,
    st.builds(control.Hint, move_number=u63, locators=locator_lists, reports=report_lists),
    st.builds(
        control.HintAck,
        move_number=u63,
        challenge=eight_bytes,
        reports=report_lists,
        observed=st.none() | locators,
    ),
    st.builds(control.PathChallenge, data=eight_bytes, observed=st.none() | locators),
    st.builds(control.PathResponse, data=eight_bytes),
    st.builds(control.Keepalive),
    st.builds(control.Close, reason=st.text(max_size=200)),
    st.builds(control.KeyRotation, key=st.binary(min_size=32, max_size=32)),
    st.builds(control.Cloned),
)

message_lists = st.lists(token_messages, max_size=2).map(tuple)
init_payloads = st.builds(
    InitPayload,
    name=names,
    timestamp=u63,
    boot_id=eight_bytes,
    ciphers=st.lists(st.integers(0, 255), min_size=1, max_size=8).map(tuple),
    locators=locator_lists,
    move_number=u63,
    observed=st.none() | locators,
    tokens=message_lists,
)
response_payloads = st.builds(
    ResponsePayload,
    name=names,
    boot_id=eight_bytes,
    cipher=st.integers(0, 255),
    locators=locator_lists,
    move_number=u63,
    observed=st.none() | locators,
    tokens=message_lists,
) | st.builds(StalePayload, greatest=u63)

_NOISE_SIZE = {  # bytes a Noise message may have in a datagram
    HandshakeType.IK_INIT: (1158, 1158),
    HandshakeType.IK_RESPONSE: (48, 1154),
    HandshakeType.XX_1: (32, 32),
    HandshakeType.XX_2: (96, 1154),
    HandshakeType.XX_3: (64, 1154),
}


@st.composite
def handshake_datagrams(draw: st.DrawFn) -> HandshakeDatagram:
    kind = draw(st.sampled_from(sorted(_NOISE_SIZE)))
    least, most = _NOISE_SIZE[kind]
    return HandshakeDatagram(
        type=kind,
        sender=draw(indices),
        receiver=0 if kind in (HandshakeType.IK_INIT, HandshakeType.XX_1) else draw(indices),
        noise=draw(st.binary(min_size=least, max_size=most)),
        mac1=draw(macs),
        mac2=draw(macs),
    )
