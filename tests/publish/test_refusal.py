from __future__ import annotations

import dns.edns
import dns.message
import dns.rcode
import pytest

from vipnet.errors import PublishError
from vipnet.publish.refusal import refusal
from vipnet.publish.signed import Answer
from vipnet.types import Fqdn, Locator

SERVER = Locator("192.0.2.53", 53)


def error(code: dns.rcode.Rcode, message: dns.message.Message | None = None) -> PublishError:
    result = refusal(Answer(SERVER, code, message), name=Fqdn("a.test"), zone="test", key="k.test")
    assert "\n" not in str(result)
    assert "{" not in str(result).replace("{ grant", "")
    return result


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (dns.rcode.BADKEY, "does not know the key k.test (BADKEY): check [publish] key_name"),
        (dns.rcode.BADSIG, "finds the signature wrong (BADSIG): [publish] key_secret_file"),
        (dns.rcode.BADTRUNC, "wants a longer signature (BADTRUNC): use [publish] key_algorithm"),
        (dns.rcode.REFUSED, "refuses to let k.test change a.test (REFUSED): allow it there"),
        (dns.rcode.NOTAUTH, "is not authoritative for test (NOTAUTH): check [publish] server and zone"),
        (dns.rcode.NOTZONE, "says that a.test is not in test (NOTZONE): check [publish] zone"),
        (dns.rcode.NOTIMP, "takes no dynamic updates (NOTIMP): use another"),
    ],
)
def test_what_only_the_user_can_mend(code: dns.rcode.Rcode, words: str) -> None:
    assert error(code).permanent
    assert str(error(code)).startswith(f"192.0.2.53:53 {words}")


@pytest.mark.parametrize("code", [dns.rcode.SERVFAIL, dns.rcode.FORMERR, dns.rcode.Rcode(15)])
def test_what_may_pass(code: dns.rcode.Rcode) -> None:
    assert not error(code).permanent
    assert not error(code).clock


def test_a_clock_is_not_a_refusal() -> None:
    assert error(dns.rcode.BADTIME).clock
    assert not error(dns.rcode.BADTIME).permanent


def test_the_servers_words_are_told_without_control_characters() -> None:
    message = dns.message.make_response(dns.message.make_query("a.test", "A", use_edns=0))
    message.use_edns(options=[dns.edns.EDEOption(dns.edns.EDECode.PROHIBITED, "zone is\x1b[31m frozen\n")])
    assert '(REFUSED, "zone is[31m frozen"): allow it' in str(error(dns.rcode.REFUSED, message))
