"""Keys in, bytes out; no clock, no randomness, no I/O.

    noise       the handshake: IKpsk2 and XX
    transport   ciphers and keys of sealed datagrams
    replay      which counters have been received
    cookie      mac1, mac2, cookies: no work for strangers

What does not verify raises CryptoError.
"""
