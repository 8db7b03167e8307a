"""Bytes to frozen values and back; no state, no clock, no I/O.

    datagram    header of a sealed datagram, kinds of what is in it
    control     messages inside a session
    handshake   handshake datagrams, and the payloads Noise encrypts in them
    inner       IPv4 packets inside the tunnel, ICMP answers to them

What cannot be a value raises WireError; nothing else escapes a decoder.
"""
