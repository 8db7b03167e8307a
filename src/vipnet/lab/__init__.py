"""The paper's testbed (its Figure 1) in network namespaces of one machine.

    layout       names, addresses and paths, as values
    namespaces   enter a namespace, give a host its own resolv.conf
    topology     LANs, router and NICs, by `ip`
    moves        what `lab move` does to a host
    zone, named  the name server for vipip.net: our own small one, or BIND
    hosts        configuration, keys, start and stop of the daemons
    lab          all of it: up, status, down
    traffic, capture, figures, demo   the measurement

Nothing here is needed by a host that runs vipnet.
"""
