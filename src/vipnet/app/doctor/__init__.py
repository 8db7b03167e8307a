"""What keeps vipnet from working on this host, and what mends it: `vipnet doctor`.

    gather.py     asks the system (vipnet.system.survey), DNS, and the daemon if one runs -> Facts
    checks_*.py   small pure functions, a check each: facts in, one Verdict out
    examine.py    all of them, in the order of a person who looks for a cause
    packetfilter.py, nft.py, iptables.py   what the firewall would do with a packet

Nothing here changes anything on the host; every mend is a line for the user.
"""
