"""Whose keys are known, and our own: what `vipnet trust` and `vipnet key rotate` ask of the daemon."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from typing import Any

from nacl.public import PrivateKey

from vipnet.app.config import Config
from vipnet.app.control import Handler, text
from vipnet.app.engine import Engine
from vipnet.app.init import record_line
from vipnet.app.keys import replace_key
from vipnet.app.publishing import PublishLoop
from vipnet.app.texts import is_address, parse_host_port, parse_key
from vipnet.core.outputs import LookupResult
from vipnet.core.peer import Peer
from vipnet.errors import ConfigError, UnreachableError
from vipnet.system.lookup import Lookup
from vipnet.types import Fqdn, Locator, PublicKey, fingerprint, parse_name


class TrustOperations:
    """The operations of these commands.

    publishing  puts the new capability record into DNS, where the provider takes one
    """

    def __init__(self, config: Config, *, engine: Engine, lookup: Lookup, publishing: PublishLoop) -> None:
        self._config, self._engine, self._lookup = config, engine, lookup
        self._publishing = publishing

    def use(self, config: Config) -> None:
        """The configuration has changed."""
        self._config = config

    @property
    def handlers(self) -> Mapping[str, Handler]:
        return {
            "trust_list": self._list,
            "trust_add": self._add,
            "trust_remove": self._remove,
            "trust_accept": self._accept,
            "key_rotate": self._rotate,
        }

    async def _list(self, _params: dict[str, Any]) -> object:
        peers = self._engine.node.peers
        return {"peers": [_described(peers[name]) for name in sorted(peers)]}

    async def _add(self, params: dict[str, Any]) -> object:
        """With a key: pin it. Without: ask the peer for its key, and keep what it shows."""
        name = self._other_name(params)
        peer = self._engine.node.peers.get(name)
        locators = await self._locators(params)
        if "key" not in params:
            if peer is None:
                await self._meet(name, locators)
            return _described(self._engine.node.peers[name])
        key = _key(params)
        if peer is not None and peer.key != key:
            raise ConfigError(
                f"{name} is known with another key ({fingerprint(peer.key)}); "
                f"if {fingerprint(key)} is right: "
                f"`vipnet trust accept-new-key {name} {b64encode(key).decode()}`"
            )
        self._engine.pin(name, self._not_ours(key), locators)
        return _described(self._engine.node.peers[name])

    async def _meet(self, name: Fqdn, locators: tuple[Locator, ...]) -> None:
        """Trust on first use. Raise UnreachableError."""
        found = await self._lookup.lookup(name, authoritative=False, verify=True)
        if found.bogus is not None:  # the key that somebody keeps from us would be the right one
            raise UnreachableError(f"DNS is not to be believed: {found.bogus}; give the key by hand")
        contacts = self._engine.node.contacts
        contacts.list_for_now(name, locators)
        try:
            await self._engine.bind(LookupResult(name) if found.failed else found)
        finally:
            contacts.unlist(name)

    async def _remove(self, params: dict[str, Any]) -> object:
        name = parse_name(text(params, "name"))
        if any(peer.name == name for peer in self._config.peers):
            raise ConfigError(f"{name} is listed as [[peer]] in the configuration: remove it there")
        if not self._engine.forget(name):
            raise ConfigError(_not_known(name))
        return {"removed": name}

    async def _accept(self, params: dict[str, Any]) -> object:
        """Take KEY for the peer's; without one, say which was offered last and change nothing."""
        name = self._other_name(params)
        peer = self._engine.node.peers.get(name)
        if peer is None:
            raise ConfigError(_not_known(name))
        if any(listed.name == name and listed.key is not None for listed in self._config.peers):
            raise ConfigError(
                f"{name} is listed as [[peer]] with its key in the configuration: change it there"
            )
        if "key" in params:
            self._engine.accept_key(name, self._not_ours(_key(params)))
        elif peer.offered_key is None:
            raise ConfigError(
                f"{name} has shown no other key than {fingerprint(peer.key)} since the daemon started; "
                f"give the new one: `vipnet trust accept-new-key {name} KEY`"
            )
        return _described(peer)

    async def _rotate(self, params: dict[str, Any]) -> object:
        old = self._engine.node.host.public_key
        key_file = self._config.key_file
        forget_old = params.get("forget_old") is True
        self._engine.rotate(
            bytes(PrivateKey.generate()), lambda key: replace_key(key_file, key), forget_old=forget_old
        )
        self._publishing.renew()
        new = self._engine.node.host.public_key
        peers = self._engine.node.peers.values()
        return {
            "old": {"key": b64encode(old).decode(), "fingerprint": fingerprint(old)},
            "new": {"key": b64encode(new).decode(), "fingerprint": fingerprint(new)},
            "record": None if self._publishing.writes_record else record_line(self._config, new),
            "untold": sorted(peer.name for peer in peers if peer.own.public != new),
        }

    async def _locators(self, params: dict[str, Any]) -> tuple[Locator, ...]:
        if params.get("address") is None:
            return ()
        try:
            where = parse_host_port(text(params, "address"))
        except ValueError as error:
            raise ConfigError(f"address {params['address']}: {error}; must be HOST or HOST:PORT") from None
        hosts = (
            (where.host,) if is_address(where.host) else await self._lookup.addresses(parse_name(where.host))
        )
        return tuple(Locator(host, where.port) for host in hosts)

    def _other_name(self, params: dict[str, Any]) -> Fqdn:
        name = parse_name(text(params, "name"))
        if name == self._config.name:
            raise ConfigError(f"{name} is this host itself: `vipnet key show`")
        return name

    def _not_ours(self, key: PublicKey) -> PublicKey:
        if self._engine.node.host.has_key(key):
            raise ConfigError(
                "that is this host's own key: take what `vipnet key show` prints on the other one"
            )
        return key


def _described(peer: Peer) -> dict[str, Any]:
    """One element of `trust list`.

    offered  the key that was shown in its name, or is in DNS, and is not trusted
    told     False while it knows this host by an earlier key
    """
    offered = peer.offered_key
    return {
        "name": peer.name,
        "trust": peer.known.trust,
        "key": b64encode(peer.key).decode(),
        "fingerprint": fingerprint(peer.key),
        "previous": [fingerprint(key) for key in peer.known.previous_keys],
        "offered": None
        if offered is None
        else {"key": b64encode(offered).decode(), "fingerprint": fingerprint(offered)},
        "told": peer.own == peer.host.key,
    }


def _key(params: dict[str, Any]) -> PublicKey:
    try:
        return parse_key(text(params, "key"))
    except ValueError as error:
        raise ConfigError(f"key {params['key']}: {error}; must be a public key, 32 bytes in base64") from None


def _not_known(name: Fqdn) -> str:
    return f"{name} is not among the peers: `vipnet trust list` shows them"
