"""What of a host survives a crash."""

from __future__ import annotations

from dataclasses import dataclass, field

from vipnet.core.outputs import (
    DropBinding,
    DropOldKey,
    DropPeer,
    Output,
    StoreBinding,
    StoreClock,
    StoredState,
    StoreOldKey,
    StoreOwnToken,
    StorePeer,
    StoreQuarantine,
)
from vipnet.types import Fqdn, PublicKey, Token


@dataclass
class Disk:
    clock: StoreClock = field(default_factory=lambda: StoreClock(0, 0))
    own_token: Token | None = None
    peers: dict[Fqdn, StorePeer] = field(default_factory=dict)
    bindings: dict[Fqdn, StoreBinding] = field(default_factory=dict)
    quarantine: dict[Token, StoreQuarantine] = field(default_factory=dict)
    old_keys: dict[PublicKey, StoreOldKey] = field(default_factory=dict)

    def apply(self, output: Output) -> None:
        match output:
            case StoreClock():
                self.clock = output
            case StoreOwnToken():
                self.own_token = output.token
            case StorePeer():
                self.peers[output.name] = output
            case DropPeer():
                self.peers.pop(output.name, None)
            case StoreBinding():
                self.bindings[output.name] = output
            case DropBinding():
                self.bindings.pop(output.name, None)
            case StoreQuarantine():
                self.quarantine[output.token] = output
            case StoreOldKey():
                self.old_keys[output.public] = output
            case DropOldKey():
                self.old_keys.pop(output.public, None)

    def load(self) -> StoredState:
        return StoredState(
            self.clock,
            self.own_token,
            list(self.peers.values()),
            list(self.bindings.values()),
            list(self.quarantine.values()),
            list(self.old_keys.values()),
        )
