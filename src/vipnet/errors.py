"""The error tree, by who must act."""


class VipnetError(Exception):
    """Root of what vipnet raises on purpose."""


class PeerError(VipnetError):
    """Network or peer is wrong: count, drop, go on."""


class WireError(PeerError):
    """Bytes do not parse."""


class CryptoError(PeerError):
    """A seal, a MAC or a handshake message does not verify."""


class ProtocolError(PeerError):
    """A well-formed message that is not allowed here and now."""


class ConfigError(VipnetError):
    """The user can mend it; the message says what is wrong, where, and how to mend it."""


class HostError(VipnetError):
    """The machine refuses (device, port, capability); the message says what to do."""


class NotRunningError(VipnetError):
    """No daemon answers on the control socket."""


class NotReadyError(VipnetError):
    """The daemon runs, but a part of it is missing; the message names it."""


class LookupFailedError(VipnetError):
    """A DNS question got no usable answer; the message says from whom and why."""


class BogusError(LookupFailedError):
    """An answer is not what its zone has signed (RFC 4033 section 5): worse than none."""


class UnreachableError(VipnetError):
    """A VIP name has no token now, because its host does not answer; the message says what was tried."""


class PublishError(VipnetError):
    """A DNS provider did not take an update.

    permanent      trying again without a change by the user is useless
    clock          the provider says that our clock is wrong (TSIG BADTIME)
    unsent         the provider has seen nothing of it, so that it does not count against a rate
    retry_after_s  the provider wants to be left alone for so many seconds
    """

    def __init__(
        self,
        message: str,
        *,
        permanent: bool = False,
        clock: bool = False,
        unsent: bool = False,
        retry_after_s: float = 0.0,
    ) -> None:
        super().__init__(message)
        self.permanent, self.clock = permanent, clock
        self.unsent, self.retry_after_s = unsent, retry_after_s
