"""What a server's refusal of an update means, and what the user can do about it."""

from __future__ import annotations

from typing import Final

import dns.edns
import dns.message
import dns.rcode
from dns.rcode import Rcode

from vipnet.errors import PublishError
from vipnet.publish.signed import Answer
from vipnet.types import Fqdn

# What the answer says, and the mend. FORMERR and SERVFAIL are not here: they may pass.
_PERMANENT: Final = {
    Rcode.BADKEY: (
        "does not know the key {key}",
        "check [publish] key_name and key_algorithm against the server's key statement",
    ),
    Rcode.BADSIG: (
        "finds the signature wrong",
        "[publish] key_secret_file does not hold the secret that the server has for {key}",
    ),
    Rcode.BADTRUNC: ("wants a longer signature", "use [publish] key_algorithm hmac-sha256 or better"),
    Rcode.REFUSED: (
        "refuses to let {key} change {name}",
        "allow it there; BIND, in zone {zone}: update-policy {{ grant {key} subdomain {name} A AAAA TXT; }};",
    ),
    Rcode.NOTAUTH: ("is not authoritative for {zone}", "check [publish] server and zone"),
    Rcode.NOTZONE: ("says that {name} is not in {zone}", "check [publish] zone"),
    Rcode.NOTIMP: ("takes no dynamic updates", "use another [publish] provider or server"),
}


def refusal(answer: Answer, *, name: Fqdn, zone: str, key: str) -> PublishError:
    """The error for a server's no: one line with its words and the mend."""
    # 16 is BADVERS in EDNS, which our messages do not use, and BADSIG in TSIG.
    code = "BADSIG" if answer.code == Rcode.BADSIG else dns.rcode.to_text(answer.code)
    label = code + _extra_text(answer.message)
    if answer.code == Rcode.BADTIME:
        return PublishError(
            f"{answer.server} answers {label}: the clocks differ by minutes; set this host's clock",
            clock=True,
        )
    if answer.code in _PERMANENT:
        says, mend = (text.format(key=key, name=name, zone=zone) for text in _PERMANENT[answer.code])
        return PublishError(f"{answer.server} {says} ({label}): {mend}", permanent=True)
    return PublishError(f"{answer.server} answers {label} to the update of {name}; its log says why")


def _extra_text(message: dns.message.Message | None) -> str:
    """What the server adds in words (RFC 8914), as printable text."""
    options = message.options if message is not None else ()
    texts = [option.text for option in options if isinstance(option, dns.edns.EDEOption) and option.text]
    return "".join(f', "{"".join(filter(str.isprintable, text))}"' for text in texts)
