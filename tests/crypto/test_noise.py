from __future__ import annotations

from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from hypothesis import given
from hypothesis import strategies as st
from noise.connection import Keypair, NoiseConnection

from vipnet.crypto.noise import IKPSK2, XX, NoiseHandshake, Pattern, hkdf, prologue, public_key
from vipnet.errors import CryptoError
from vipnet.types import PublicKey

PATTERNS = [IKPSK2, XX]
keys = st.binary(min_size=32, max_size=32)
private_keys = keys

# Published vectors: the cacophony set (github.com/haskell-cryptography/cacophony), as in
# mcginty/snow, tests/vectors/cacophony.txt: same keys, prologue and payloads for both patterns.
PROLOGUE = bytes.fromhex("4a6f686e2047616c74")
PSK = b"This is my Austrian perspective!"
INITIATOR_STATIC = bytes.fromhex("e61ef9919cde45dd5f82166404bd08e38bceb5dfdfded0a34c8df7ed542214d1")
INITIATOR_EPHEMERAL = bytes.fromhex("893e28b9dc6ca8d611ab664754b8ceb7bac5117349a4439a6b0569da977c464a")
RESPONDER_STATIC = bytes.fromhex("4a3acbfdb163dec651dfa3194dece676d437029c62a408b4c5ea9114246e4893")
RESPONDER_EPHEMERAL = bytes.fromhex("bbdb4cdbd309f1a1f2e1456967fe288cadd6f712d65dc7b7793d5e63da6b375b")
PAYLOADS = [
    b"Ludwig von Mises",
    b"Murray Rothbard",
    b"F. A. Hayek",
    b"Carl Menger",
    b"Jean-Baptiste Say",
    b"Eugen B\xf6hm von Bawerk",
]
VECTORS = {
    "IKpsk2": (
        "f5191b875290abcd41347ac3622d9679688a7e980229cb937ef748336cfde0e5",
        "ca35def5ae56cec33dc2036731ab14896bc4c75dbb07a61f879f8e3afa4c7944001e21de9f98ddd8e2ad57527207feb5"
        "6253c9c94a9e496782ecfcb2a75fbcaf1b52948cc48daefe660c62119ab5000980c84831215f2441eba616548e832985"
        "464cf17e51ee93109008399a21f7e13f",
        "95ebc60d2b1fa672c1f46a8aa265ef51bfe38e7ccb39ec5be34069f144808843cb765f2caef0751b8f007572dab03222"
        "17755c0632f365717edbf34d33e87a",
        "8153ca9833bc3c1b91a7e66e5f4d4f5b59bf9e64c2f20d15f0bba7",
        "07af0c9c86e1b4e80f36b04ff7688d51141af3debd0332f0a705ef",
        "6ab1467c0448cc78394494abaaf23afce0e234315d6e2624dcbfa8a21c1c4d073d",
        "dfc346c0d2296ae6cf1acf6f12b8456a1dba228cf8d8b774aacf1c47fc53aa80ebc7a4c292",
    ),
    "XX": (
        "6c4c56cf71612f72d05ceb96c0155e6f4ea54a26b504c93de632a2db4a49d200",
        "ca35def5ae56cec33dc2036731ab14896bc4c75dbb07a61f879f8e3afa4c79444c756477696720766f6e204d69736573",
        "95ebc60d2b1fa672c1f46a8aa265ef51bfe38e7ccb39ec5be34069f1448088437c365eb362a1c991b0557fe8a7fb187d"
        "99346765d93ec63db6c1b01504ebeec55a2298d2dbff80eff034d20595153f63a196a6cead1e11b2bb13e336fa13616d"
        "d3e8b0a070c882ed3f1a78c7c06c93",
        "46c3307de83b014258717d97781c1f50936d8b7d50c0722a1739654d10392d415b670c114f79b9a4f80541570f77ce88"
        "802efa4220cff733e7b5668ba38059ec904b4b8eef9448085faf51",
        "d5e83adfaac5dc324a68f1862df54549e56d209fba707205f328b2",
        "d102c9029b1f55c788f561ba7737afbccef9c9f1bf2f238167fd40ba9c1c134867",
        "cb1ce80960382c6d5d5e740ffb724d1432f0310b200fb6f8424120f506092744baa415e155",
    ),
}


def pair(pattern: Pattern, **changes: Any) -> tuple[NoiseHandshake, NoiseHandshake]:
    """Both sides, with the vectors' keys; CHANGES of the initiator's arguments."""
    psk = PSK if pattern is IKPSK2 else bytes(32)
    ours: dict[str, Any] = {
        "static": INITIATOR_STATIC,
        "ephemeral": INITIATOR_EPHEMERAL,
        "prologue": PROLOGUE,
        "remote_static": public_key(RESPONDER_STATIC) if pattern.responder_known else None,
        "psk": psk,
    }
    initiator = NoiseHandshake(pattern, initiator=True, **(ours | changes))
    responder = NoiseHandshake(
        pattern,
        initiator=False,
        static=RESPONDER_STATIC,
        ephemeral=RESPONDER_EPHEMERAL,
        prologue=PROLOGUE,
        psk=psk,
    )
    return initiator, responder


@pytest.mark.parametrize("pattern", PATTERNS, ids=lambda p: p.name)
def test_published_vectors(pattern: Pattern) -> None:
    expected_hash, *ciphertexts = VECTORS[pattern.name]
    initiator, responder = pair(pattern)
    writer, reader = initiator, responder
    count = len(pattern.messages)
    for payload, ciphertext in zip(PAYLOADS[:count], ciphertexts[:count], strict=True):
        assert not writer.finished
        message = writer.write(payload)
        assert message.hex() == ciphertext
        assert reader.read(message) == payload
        writer, reader = reader, writer
    assert initiator.finished
    assert responder.finished
    assert initiator.handshake_hash.hex() == responder.handshake_hash.hex() == expected_hash
    assert initiator.remote_static == public_key(RESPONDER_STATIC)
    assert responder.remote_static == public_key(INITIATOR_STATIC)

    # We split with a label; with Noise's own Split() the published transport messages must come out.
    assert initiator.chaining_key == responder.chaining_key
    split = dict(zip((initiator, responder), hkdf(initiator.chaining_key, b"", 2), strict=True))
    rest = list(zip(PAYLOADS, ciphertexts, strict=True))[count:]
    for number, (payload, ciphertext) in enumerate(rest):
        nonce = bytes(4) + (number // 2).to_bytes(8, "little")
        assert ChaCha20Poly1305(split[writer]).encrypt(nonce, payload, b"").hex() == ciphertext
        writer, reader = reader, writer
    assert len(rest) >= 3


def reference(pattern: Pattern, initiator: bool, static: bytes, psk: bytes) -> Any:
    """The other implementation: the package noiseprotocol."""
    other = NoiseConnection.from_name(pattern.protocol_name)
    if initiator:
        other.set_as_initiator()
        if pattern.responder_known:
            other.set_keypair_from_public_bytes(Keypair.REMOTE_STATIC, public_key(RESPONDER_STATIC))
    else:
        other.set_as_responder()
    other.set_keypair_from_private_bytes(Keypair.STATIC, static)
    other.set_prologue(prologue(pattern))
    if pattern.uses_psk:
        other.set_psks(psk)
    other.start_handshake()
    return other


@pytest.mark.parametrize("we_begin", [True, False], ids=["initiator", "responder"])
@pytest.mark.parametrize("pattern", PATTERNS, ids=lambda p: p.name)
@given(
    initiator_static=private_keys,
    ephemeral=private_keys,
    psk=keys,
    payloads=st.lists(st.binary(max_size=1100), min_size=3, max_size=3),
)
def test_against_an_independent_implementation(
    pattern: Pattern,
    we_begin: bool,
    initiator_static: bytes,
    ephemeral: bytes,
    psk: bytes,
    payloads: list[bytes],
) -> None:
    own, others = (initiator_static, RESPONDER_STATIC) if we_begin else (RESPONDER_STATIC, initiator_static)
    ours = NoiseHandshake(
        pattern,
        initiator=we_begin,
        static=own,
        ephemeral=ephemeral,
        prologue=prologue(pattern),
        remote_static=public_key(RESPONDER_STATIC) if we_begin and pattern.responder_known else None,
        psk=psk,
    )
    theirs = reference(pattern, not we_begin, others, psk)
    our_turn = we_begin
    for payload in payloads[: len(pattern.messages)]:
        if our_turn:
            assert theirs.read_message(ours.write(payload)) == payload
        else:
            assert ours.read(bytes(theirs.write_message(payload))) == payload
        our_turn = not our_turn
    assert ours.finished
    assert theirs.handshake_finished
    assert ours.handshake_hash == theirs.get_handshake_hash()
    assert ours.remote_static == public_key(others)
    to_responder, to_initiator = hkdf(ours.chaining_key, b"", 2)
    receiving = to_initiator if we_begin else to_responder
    assert ChaCha20Poly1305(receiving).decrypt(bytes(12), theirs.encrypt(b"after"), b"") == b"after"


@pytest.mark.parametrize("pattern", PATTERNS, ids=lambda p: p.name)
def test_a_refused_message_leaves_no_trace(pattern: Pattern) -> None:
    """Every message, damaged in every byte and cut at every length, then the true one."""
    damaged = {"IKpsk2": [0, 1], "XX": [1, 2]}[
        pattern.name
    ]  # message 1 of XX is in clear: all is well-formed
    writer, reader = pair(pattern)
    for number, payload in enumerate(PAYLOADS[: len(pattern.messages)]):
        message = writer.write(payload)
        if number in damaged:
            for at in range(len(message)):
                with pytest.raises(CryptoError):
                    reader.read(message[:at] + bytes([message[at] ^ 1]) + message[at + 1 :])
                with pytest.raises(CryptoError):
                    reader.read(message[:at])
            with pytest.raises(CryptoError):
                reader.read(message + b"\0")
        assert reader.read(message) == payload
        writer, reader = reader, writer
    assert writer.handshake_hash == reader.handshake_hash
    assert writer.handshake_hash.hex() == VECTORS[pattern.name][0]


def test_message_1_of_xx_needs_a_whole_key() -> None:
    _, responder = pair(XX)
    with pytest.raises(CryptoError, match="1 bytes early"):
        responder.read(bytes(31))
    assert responder.read(bytes([9]) + bytes(31)) == b""


# Points whose X25519 result is 0 with every private key (RFC 7748 section 6.1; cr.yp.to/ecdh.html)
SMALL_ORDER = [
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0100000000000000000000000000000000000000000000000000000000000000",
    "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
    "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
]


@pytest.mark.parametrize("point", SMALL_ORDER)
def test_keys_of_small_order_are_refused(point: str) -> None:
    weak = PublicKey(bytes.fromhex(point))
    initiator, responder = pair(IKPSK2, remote_static=weak)
    with pytest.raises(CryptoError, match="small order"):
        initiator.write(b"")
    with pytest.raises(CryptoError, match="small order"):
        responder.read(weak + bytes(64))
    initiator, _ = pair(XX)
    initiator.write(b"")
    with pytest.raises(CryptoError, match="small order"):
        initiator.read(weak + bytes(64))


@pytest.mark.parametrize(
    "changes", [{"prologue": PROLOGUE + b"2"}, {"remote_static": public_key(bytes([1] * 32))}]
)
def test_prologue_and_key_are_checked_by_message_1(changes: dict[str, Any]) -> None:
    initiator, responder = pair(IKPSK2, **changes)
    message = initiator.write(b"")
    with pytest.raises(CryptoError):
        responder.read(message)


def test_the_psk_is_checked_by_message_2() -> None:
    initiator, responder = pair(IKPSK2, psk=bytes(32))
    responder.read(initiator.write(b""))
    message = responder.write(b"")
    with pytest.raises(CryptoError):
        initiator.read(message)


def test_a_responder_may_choose_the_psk_when_it_knows_who_asks() -> None:
    other = bytes(range(32))
    initiator, responder = pair(IKPSK2, psk=other)
    responder.read(initiator.write(b""))
    responder.psk = other
    assert initiator.read(responder.write(b"who asks")) == b"who asks"
    with pytest.raises(ValueError, match="33 bytes"):
        responder.psk = bytes(33)


def test_the_initiators_key_is_known_after_message_1_of_ik() -> None:
    initiator, responder = pair(IKPSK2)
    message = initiator.write(b"")
    with pytest.raises(CryptoError):  # the key in it is right, the payload is not
        responder.read(message[:-1] + bytes([message[-1] ^ 1]))
    assert responder.remote_static is None
    responder.read(message)
    assert responder.remote_static == public_key(INITIATOR_STATIC)
    assert not responder.finished


def test_writing_out_of_turn_is_our_mistake() -> None:
    initiator, responder = pair(IKPSK2)
    with pytest.raises(RuntimeError, match="peer's turn"):
        responder.write(b"")
    for side in (initiator, responder):
        with pytest.raises(RuntimeError, match="not finished"):
            _ = side.chaining_key
        with pytest.raises(RuntimeError, match="not finished"):
            _ = side.handshake_hash
    responder.read(initiator.write(b""))
    initiator.read(responder.write(b""))
    for side in (initiator, responder):
        with pytest.raises(RuntimeError, match="is finished"):
            side.write(b"")


@pytest.mark.parametrize("pattern", PATTERNS, ids=lambda p: p.name)
def test_messages_that_come_twice_are_refused_and_do_no_harm(pattern: Pattern) -> None:
    writer, reader = pair(pattern)
    for payload in PAYLOADS[: len(pattern.messages)]:
        message = writer.write(payload)
        assert reader.read(message) == payload
        for side in (writer, reader):
            if side is reader or side.finished:
                with pytest.raises(CryptoError, match="out of turn"):
                    side.read(message)
        writer, reader = reader, writer
    assert writer.handshake_hash == reader.handshake_hash


@pytest.mark.parametrize(
    ("pattern", "initiator", "remote_static"),
    [
        (IKPSK2, True, None),
        (IKPSK2, False, public_key(INITIATOR_STATIC)),
        (XX, True, public_key(RESPONDER_STATIC)),
    ],
)
def test_a_remote_key_is_given_exactly_where_the_pattern_has_it(
    pattern: Pattern, initiator: bool, remote_static: PublicKey | None
) -> None:
    with pytest.raises(ValueError, match="remote_static"):
        NoiseHandshake(
            pattern,
            initiator=initiator,
            static=INITIATOR_STATIC,
            ephemeral=INITIATOR_EPHEMERAL,
            prologue=b"",
            remote_static=remote_static,
        )


def test_psk_size() -> None:
    with pytest.raises(ValueError, match="31 bytes"):
        pair(IKPSK2, psk=bytes(31))


def test_prologue_names_protocol_version_and_pattern() -> None:
    assert prologue(IKPSK2) == b"vipnet1\x01IKpsk2"
    assert prologue(XX) == b"vipnet1\x01XX"


def test_public_key() -> None:
    """RFC 7748 section 6.1, Alice."""
    private = bytes.fromhex("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a")
    expected = "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a"
    assert public_key(private).hex() == expected
