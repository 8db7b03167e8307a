"""Where the aliases in an answer lead, from the name that was asked for: nothing else in it counts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import dns.message
import dns.name
import dns.rrset
from dns.rdatatype import CNAME, DNAME, TXT, RdataType
from msgspec import Struct

_ALIASES_MAX: Final = 16  # as BIND follows; a loop ends here, too


class Chain(Struct, frozen=True):
    """From a question for TXT records to what answers it.

    aliases  CNAMEs that somebody has written, in their order
    dname    of a zone above `end`: all below it is another's alias, and has no records of its own
    end      the name that would have the records
    texts    its TXT records, None: it has none
    """

    aliases: tuple[dns.rrset.RRset, ...]
    dname: dns.rrset.RRset | None
    end: dns.name.Name
    texts: dns.rrset.RRset | None


def text_chain(message: dns.message.Message) -> Chain:
    """Follow the aliases in an answer to TXT, as far as a DNAME."""
    aliases: list[dns.rrset.RRset] = []
    end = message.question[0].name
    while (dname := _dname_above(message, end)) is None and len(aliases) < _ALIASES_MAX:
        alias = find(message.answer, end, CNAME)
        if alias is None:
            break
        aliases.append(alias)
        end = alias[0].target
    texts = find(message.answer, end, TXT) if dname is None else None
    return Chain(tuple(aliases), dname, end, texts)


def find(
    section: Sequence[dns.rrset.RRset], name: dns.name.Name, rdtype: RdataType
) -> dns.rrset.RRset | None:
    return next((rrset for rrset in section if rrset.rdtype == rdtype and rrset.name == name), None)


def _dname_above(message: dns.message.Message, name: dns.name.Name) -> dns.rrset.RRset | None:
    above = (rrset for rrset in message.answer if rrset.rdtype == DNAME and rrset.name != name)
    return next((rrset for rrset in above if name.is_subdomain(rrset.name)), None)
