"""A captive portal's name server: `portal_program.py ADDRESS` answers all with ADDRESS and junk.

Updates, too, are "done", by somebody who has no key.
"""

from __future__ import annotations

import socket
import sys

import dns.flags
import dns.message
import dns.opcode
import dns.rdatatype
import dns.rrset

_JUNK = {
    "TXT": '"Welcome" "to our hotel"',
    "NS": "ns.portal.",
    "SOA": "ns.portal. host.portal. 1 60 60 60 60",
}


def main() -> None:
    address = sys.argv[1]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.bind((address, 53))
        while True:
            wire, client = udp.recvfrom(65535)
            udp.sendto(answer(wire, address), client)


def answer(wire: bytes, address: str) -> bytes:
    header = wire[:2] + bytes([wire[2] | 0x84, 0x80]) + bytes(8)
    if (wire[2] >> 3) & 0xF != dns.opcode.QUERY:
        return header  # NOERROR
    response = dns.message.make_response(dns.message.from_wire(wire), recursion_available=True)
    response.flags |= dns.flags.AA
    question = response.question[0]
    rdtype = dns.rdatatype.to_text(question.rdtype)
    text = address if rdtype == "A" else _JUNK.get(rdtype)
    if text is not None:
        response.answer.append(dns.rrset.from_text(question.name, 3600, "IN", rdtype, text))
    return response.to_wire()


if __name__ == "__main__":
    main()
