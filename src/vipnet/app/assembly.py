"""What the configuration and the store say, as the core wants it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

from msgspec import structs

from vipnet.app.config import Config
from vipnet.app.keys import load_psk
from vipnet.app.texts import is_address
from vipnet.core.host import Host
from vipnet.core.node import Node
from vipnet.core.outputs import StoreOwnToken
from vipnet.core.tokens import TokenSpace
from vipnet.core.trust import AcceptPolicy, ListedPeer
from vipnet.errors import ConfigError
from vipnet.names.dnssec import Anchors, parse_anchors
from vipnet.system.store import Store
from vipnet.types import Locator


def make_node(config: Config, private_key: bytes, listed: tuple[ListedPeer, ...], store: Store) -> Node:
    """The core of this host, with what STORE has of it; a token of its own is chosen and stored."""
    stored = store.load()
    space = TokenSpace(config.tun.subnet, config.tun.exclude)
    host = Host(
        config.name,
        private_key,
        policy=structs.replace(config.mobility.policy(), nat_keepalive_s=config.transport.nat_keepalive_s),
        space=space,
        accept=accept_policy(config),
        random_bytes=os.urandom,
        unix_us=lambda: time.time_ns() // 1000,
        clock=stored.clock,
        has_aes=_has_aes(),
        port=config.transport.port,
        tun_mtu=config.tun.first_mtu,
    )
    node = Node(host, stored, listed)
    own = space.choose_own(config.name, time.time())
    if own != stored.own_token:
        store.apply([StoreOwnToken(own)])
    return node


def accept_policy(config: Config) -> AcceptPolicy:
    """`[accept]`, as the core wants it."""
    return AcceptPolicy(config.accept.from_, config.accept.xx, config.accept.callback)


def listed_peers(config: Config) -> Iterator[ListedPeer]:
    """`[[peer]]`. Raise ConfigError when a secret cannot be read."""
    for peer in config.peers:
        psk = bytes(32) if peer.psk_file is None else load_psk(peer.psk_file)
        locators: tuple[Locator, ...] = ()
        if peer.address is not None and is_address(peer.address.host):
            locators = (Locator(peer.address.host, peer.address.port),)
        yield ListedPeer(peer.name, peer.key, locators, psk)


def trust_anchors(config: Config) -> Anchors:
    """The user's own trust anchors. Raise ConfigError."""
    path = config.dns.trust_anchors
    if path is None:
        return {}
    try:
        return parse_anchors(path.read_text())
    except OSError as error:
        raise ConfigError(
            f"[dns] trust_anchors = {path}: {error.strerror}; is it a file that vipnet may read?"
        ) from None
    except ValueError as error:
        raise ConfigError(f"[dns] trust_anchors = {path}: {error}; it takes lines of DS records") from None


def _has_aes() -> bool:
    """Whether the processor has AES instructions (x86: AES-NI, ARM: the Crypto Extension)."""
    try:
        flags = Path("/proc/cpuinfo").read_text().split()
    except OSError:
        return False
    return "aes" in flags
