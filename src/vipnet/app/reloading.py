"""A changed configuration in a running daemon: what it takes over, without ending a session, and what not.

All that can be refused is read and checked before anything is changed. So a configuration is taken
over, or the old one goes on as if nobody had asked.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from msgspec import Struct, structs

from vipnet.app import publishers
from vipnet.app.assembly import accept_policy, listed_peers, trust_anchors
from vipnet.app.config import Config, PeerConfig, load_config
from vipnet.app.publishconfig import Publish
from vipnet.app.publishers import Make
from vipnet.app.toml import Section
from vipnet.core.trust import AcceptPolicy, ListedPeer
from vipnet.errors import ConfigError, VipnetError
from vipnet.names.dnssec import Anchors

# Tables, and keys of tables, that a running daemon can change; all others want a new one.
LIVE: Final = frozenset(
    {
        "accept",
        "publish",
        "peer",
        ("dns", "vip_names"),
        ("dns", "bypass"),
        ("dns", "require"),
        ("dns", "upstreams"),
        ("dns", "dnssec"),
        ("dns", "trust_anchors"),
        ("transport", "interfaces"),
    }
)

log = logging.getLogger(__name__)


def is_live(table: str, key: str) -> bool:
    """Whether a running daemon takes over KEY of TABLE."""
    return table in LIVE or (table, key) in LIVE


class Changes(Struct, frozen=True):
    """What is different between two configurations, in the words of the file.

    config   what is to be in force: the new one, but for what wants a restart
    taken    that takes effect
    restart  that does not, before a restart
    """

    config: Config
    taken: tuple[str, ...] = ()
    restart: tuple[str, ...] = ()


class Fresh(Struct, frozen=True):
    """What the configuration in force stands for, read and checked.

    make_publisher  None: nothing is published
    publish_stamp   changes with the table [publish] and with the secrets that it names
    """

    config: Config
    accept: AcceptPolicy
    listed: tuple[ListedPeer, ...]
    anchors: Anchors
    make_publisher: Make | None
    publish_stamp: bytes


def compare(old: Config, new: Config) -> Changes:
    """What NEW changes. Raise ConfigError when what is left of OLD does not go with the rest of NEW."""
    taken: list[str] = []
    restart: list[str] = []
    kept: dict[str, Any] = {}
    for field in structs.fields(Config):
        before, after = getattr(old, field.name), getattr(new, field.name)
        if before == after:
            continue
        if field.encode_name in LIVE:
            taken += _labels(field.encode_name, before, after)
        elif isinstance(before, Section):
            stays = [name for name in _different(before, after) if not is_live(field.name, name)]
            taken += [f"[{field.name}] {name}" for name in _different(before, after) if name not in stays]
            restart += [f"[{field.name}] {name}" for name in stays]
            kept[field.name] = structs.replace(after, **{name: getattr(before, name) for name in stays})
        else:
            restart.append(field.name)
            kept[field.name] = before
    try:
        config = structs.replace(new, **kept)
    except ValueError as error:
        names = ", ".join(restart)
        raise ConfigError(f"{error}; that is so until {names} can change: restart for it") from None
    return Changes(config, tuple(taken), tuple(restart))


def _labels(table: str, before: Any, after: Any) -> Iterator[str]:  # noqa: ANN401 - any field of Config
    if isinstance(before, Section):
        names = {field.name: field.encode_name for field in structs.fields(before)}
        yield from (f"[{table}] {names[name]}" for name in _different(before, after))
        return
    yield from (f"[[{table}]] {name}" for name in sorted(changed_peers(before, after)))


def _different(before: Section, after: Section) -> list[str]:
    names = [field.name for field in structs.fields(before)]
    return [name for name in names if getattr(before, name) != getattr(after, name)]


def changed_peers(before: tuple[PeerConfig, ...], after: tuple[PeerConfig, ...]) -> set[str]:
    """Names of peers that are listed otherwise than before."""
    known, wanted = ({peer.name: peer for peer in peers} for peers in (before, after))
    return {name for name in known | wanted if known.get(name) != wanted.get(name)}


def read(config: Config, told_time: Callable[[float], None]) -> Fresh:
    """Read the files that CONFIG names. Raise ConfigError: nothing has changed then."""
    return Fresh(
        config=config,
        accept=accept_policy(config),
        listed=tuple(listed_peers(config)),
        anchors=trust_anchors(config),
        make_publisher=publishers.prepare(config, told_time),
        publish_stamp=publish_stamp(config.publish),
    )


def publish_stamp(publish: Publish) -> bytes:
    """Another one when [publish] is another, or a secret in a file that it names."""
    digest = hashlib.blake2s(repr(publish).encode())
    for path in (publish.secret_file, publish.key_secret_file, publish.ca_file):
        with suppress(OSError):  # who needs it has read it, and complained
            digest.update(b"" if path is None else Path(path).read_bytes())
    return digest.digest()


class Reloading:
    """Reads the configuration file again when asked to.

    path       the file
    fresh      what is in force now
    take_over  puts it in force: what was before, what is from now on. It cannot fail
    told_time  for publishers.prepare()
    """

    def __init__(
        self,
        path: Path,
        fresh: Fresh,
        take_over: Callable[[Fresh, Fresh], None],
        told_time: Callable[[float], None],
    ) -> None:
        self._path, self._fresh = path, fresh
        self.wants_restart: tuple[str, ...] = ()  # keys of the file that are not in force
        self._take_over, self._told_time = take_over, told_time

    def reload(self) -> dict[str, Any]:
        """Take over what has changed, and say what. Raise ConfigError: nothing has then."""
        changes = compare(self._fresh.config, load_config(self._path))
        before, fresh = self._fresh, read(changes.config, self._told_time)
        self._fresh, self.wants_restart = fresh, changes.restart
        self._take_over(before, fresh)
        taken = list(changes.taken)
        if before.publish_stamp != fresh.publish_stamp and before.config.publish == fresh.config.publish:
            taken.append("the secret of [publish]")
        log.info("config.reloaded", extra={"taken": taken, "wants_restart": list(changes.restart)})
        return {"taken": taken, "restart": list(changes.restart)}

    def reload_by_signal(self) -> None:
        """The same, when there is nobody to tell but the log."""
        try:
            self.reload()
        except VipnetError as error:
            log.warning("config.refused", extra={"error": str(error)})
