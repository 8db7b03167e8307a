"""A name server for which every name has one address: `one_answer.py ADDRESS PORT ANSWER`."""

from __future__ import annotations

import socket
import sys

import dns.flags
import dns.message
import dns.rdatatype
import dns.rrset


def main() -> None:
    address, port, answer = sys.argv[1:]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((address, int(port)))
        while True:
            data, client = sock.recvfrom(4096)
            query = dns.message.from_wire(data)
            reply = dns.message.make_response(query)
            reply.flags |= dns.flags.RA
            (question,) = query.question
            if question.rdtype == dns.rdatatype.A:
                reply.answer.append(dns.rrset.from_text(question.name, 60, "IN", "A", answer))
            sock.sendto(reply.to_wire(), client)


if __name__ == "__main__":
    main()
