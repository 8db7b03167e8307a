"""What `vipnet init` writes: a configuration, a key, and the line to put into DNS."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from msgspec import Struct
from nacl.public import PrivateKey

from vipnet.app import toml
from vipnet.app.config import DEFAULT_PATH, Config, load_config
from vipnet.app.keys import create_key, load_key, write_new
from vipnet.app.publishconfig import Publish
from vipnet.errors import ConfigError
from vipnet.names.records import CAPABILITY_TTL_S, CapabilityRecord, capability_name
from vipnet.types import Fqdn, PublicKey

if TYPE_CHECKING:
    from vipnet.app.trial import Trial

# Zones in which strangers have names too: nobody is let in for being there.
SHARED_ZONES: Final = frozenset(
    {
        "ddns.net", "dedyn.io", "duckdns.org", "dy.fi", "dyndns.org", "dynu.net", "dynv6.net",
        "freeddns.org", "hopto.org", "mooo.com", "myftp.org", "nip.io", "noip.com", "nsupdate.info",
        "zapto.org",
    }
)  # fmt: skip
SECRET_NAME: Final = "publish-secret"  # noqa: S105 - a file's name
_SECOND_LEVELS: Final = frozenset({"ac", "co", "com", "edu", "gov", "ne", "net", "or", "org"})  # as in co.uk


class Written(Struct, frozen=True):
    """What `initialise` left on disk.

    new_config, new_key  False: was there before and stays
    checked              what `check` returned; None: nothing was tried
    """

    config: Config
    public_key: PublicKey
    new_config: bool
    new_key: bool
    checked: Trial | None = None


def initialise(
    path: Path,
    name: Fqdn,
    publish: Mapping[str, object],
    *,
    replace: bool = False,
    secret: str | None = None,
    check: Callable[[Config, PublicKey], Trial | None] | None = None,
) -> Written:
    """Write the configuration for NAME to PATH, and a key where there is none.

    PUBLISH holds keys of the table of that name (vipnet.app.config.Publish); SECRET goes into
    its `secret_file`. The configuration is written last, when CHECK has not raised; what was
    made until then goes again. A key file is never replaced: it is what peers know this host by.
    Of other files that REPLACE puts new ones for, the old one is kept as NAME.before. Raise
    ConfigError when there are such files and REPLACE is false.
    """
    path = path.absolute()
    text = config_text(name, publish, path)
    config = toml.decode(text.encode(), Config)  # nothing is written that `up` would refuse
    new_config = not _is_same(path, config)
    if new_config and path.exists() and not replace:
        raise ConfigError(f"{path}: exists and says something else; `--yes` replaces it")
    with contextlib.ExitStack() as undo:
        new_key = not config.key_file.exists()
        if new_key:
            create_key(config.key_file)
            undo.callback(config.key_file.unlink)
        public = public_key(config)
        if secret is not None and config.publish.secret_file is not None:
            _place_secret(config.publish.secret_file, secret, replace=replace, undo=undo)
        checked = check(config, public) if new_config and check is not None else None
        if new_config:
            _write(path, text)
        undo.pop_all()
    return Written(config, public, new_config, new_key, checked)


def public_key(config: Config) -> PublicKey:
    """Raise ConfigError when the key file is missing, wrong or open to others."""
    return PublicKey(bytes(PrivateKey(load_key(config.key_file)).public_key))


def record_line(config: Config, key: PublicKey) -> str:
    """The capability record as a line of a zone file (RFC 1035 section 5.1)."""
    record = CapabilityRecord(key, config.transport.port)
    return f'{capability_name(config.name)}. {CAPABILITY_TTL_S} IN TXT "{record}"'


def config_text(name: Fqdn, publish: Mapping[str, object], path: Path) -> str:
    """The TOML of a new configuration at PATH: only what differs from the defaults."""
    lines = [
        "# What this file leaves out has its default: examples/config.toml explains every key.",
        f"name = {json.dumps(name)}",
    ]
    if path != DEFAULT_PATH:
        lines.append(f"key_file = {json.dumps(str(path.with_name('key')))}")
    lines += ["", "[publish]  # how this host's address gets into DNS"]
    lines += [f"{key} = {_toml(publish[key])}" for key in Publish.__struct_fields__ if key in publish]
    # Names of these providers are mostly in zones that they share out.
    shared = publish.get("provider") in ("dyndns2", "duckdns") and "zone" not in publish
    zone = None if shared else own_zone(name, publish.get("zone"))
    lines += [
        "",
        "[accept]  # who may open a session to this host; names it contacts first always may",
        f"from = {_toml([f'*.{zone}'] if zone else [])}",
    ]
    return "\n".join(lines) + "\n"


def own_zone(name: Fqdn, zone: object = None) -> str | None:
    """The zone whose names are all this user's, as far as can be told."""
    zone = str(zone or name.partition(".")[2]).lower().rstrip(".")
    labels = zone.split(".")
    everybodys = len(labels) < 2 or (len(labels) == 2 and len(labels[1]) == 2 and labels[0] in _SECOND_LEVELS)
    return None if everybodys or zone in SHARED_ZONES else zone


def _toml(value: object) -> str:
    # A JSON string, number or list of strings is TOML as well, control characters apart.
    return json.dumps(value, default=str, ensure_ascii=False)


def _is_same(path: Path, config: Config) -> bool:
    try:
        return load_config(path) == config
    except ConfigError:
        return False


def _place_secret(place: Path, secret: str, *, replace: bool, undo: contextlib.ExitStack) -> None:
    """Put SECRET into PLACE, mode 0600, and have UNDO put back what was there. Raise ConfigError."""
    content = f"{secret}\n".encode()
    try:
        there = place.read_bytes() if place.exists() else None
        if there == content:
            return
        if there is None:
            undo.callback(place.unlink, missing_ok=True)
        elif replace:
            undo.callback(_kept(place).replace, place)
        else:
            raise ConfigError(
                f"{place}: exists and holds something else; `--yes` replaces it, --secret-file names another"
            )
    except OSError as error:
        raise ConfigError(
            f"{place}: cannot be replaced: {error.strerror}; try as root, or name another --secret-file"
        ) from None
    write_new(place, content, "secret file")


def _kept(path: Path) -> Path:
    """Move PATH out of the way; return where it is now."""
    kept = path.with_name(path.name + ".before")
    return path.replace(kept)


def _write(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(text)
        temporary.chmod(0o644)  # no secrets in it: those are in files of their own
        if path.exists():
            _kept(path)
        temporary.replace(path)
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot be written: {error.strerror}; try as root, or name another --config"
        ) from None
