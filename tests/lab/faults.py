"""What can be wrong with a host of a lab, and which check of `vipnet doctor` has to say so.

The table in docs/testing.md is made of these. UP are planted while the daemon runs, DOWN while
none does; LONG ones take long, or seldom break; PARTNER are of the host that it speaks to.
"""

from __future__ import annotations

from typing import NamedTuple


class Fault(NamedTuple):
    """PLANT and MEND are shell scripts on the host; $CONFIG, $STATE, $RUN, $KEY, $TSIG are its files.

    words  of the check's finding, which it does not have without the fault
    also   other checks that may fault as well: what follows from the cause
    host   where it is planted; a is examined
    """

    name: str
    plant: str
    mend: str
    check: str
    state: str
    words: str
    clock_s: float = 0.0
    also: tuple[str, ...] = ()
    host: str = "a"


FILTER = "nft add table inet t; nft add chain inet t c '{{ type filter hook {} priority 0; {} }}'"
NO_FILTER = "nft delete table inet t"
UP = (
    Fault(
        "the UDP port is closed by a rule",
        FILTER.format("input", "") + "; nft add rule inet t c udp dport 5847 drop",
        NO_FILTER,
        "firewall-udp",
        "fail",
        'chain c: "udp dport 5847 drop"',
    ),
    Fault(
        "240.0.0.0/4 is in a set of bogons",
        FILTER.format("prerouting", "")
        + "; nft add set inet t bogons '{ type ipv4_addr; flags interval; elements = { 240.0.0.0/4 }; }'"
        + "; nft add rule inet t c ip saddr @bogons drop",
        NO_FILTER,
        "firewall-tokens",
        "fail",
        'chain c: "ip saddr @bogons drop"',
    ),
    Fault(
        "no default route",
        "ip route del default",
        "ip route add default via 10.201.1.1",
        "default-route",
        "warn",
        "there is none",
    ),
    Fault(
        "strict reverse path filter, two networks",
        "sysctl -qw net.ipv4.conf.eth1.rp_filter=1; ip addr add 10.201.2.10/24 dev eth1; ip link set eth1 up",
        "ip link set eth1 down; ip addr flush dev eth1; sysctl -qw net.ipv4.conf.eth1.rp_filter=0",
        "rp-filter",
        "fail",
        "strict on eth1",
    ),
    Fault(
        "/etc/hosts has this host's own name",
        "cp /etc/hosts $STATE/hosts; echo '127.0.1.1 a.vipip.net a' >> /etc/hosts",
        "cat $STATE/hosts > /etc/hosts",
        "own-name",
        "warn",
        "/etc/hosts says 127.0.1.1 for a.vipip.net",
    ),
    Fault(
        "the clock is ten minutes ahead",
        "true",
        "true",
        "clock",
        "fail",
        "10 minutes ahead of the clock of 10.201.1.1:53",
        clock_s=600.0,
    ),
)
DOWN = (
    Fault(
        "wrong TSIG secret",
        "cp $TSIG $STATE/tsig; echo AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA= > $TSIG",
        "cat $STATE/tsig > $TSIG",
        "publish",
        "fail",
        "BADSIG",
    ),
    Fault(
        "a route lies in the subnet",
        "ip route add 250.0.0.0/8 via 10.201.1.1",
        "ip route del 250.0.0.0/8",
        "subnet",
        "fail",
        "240.0.0.0/4 overlaps 250.0.0.0/8 dev eth0",
    ),
    Fault(
        "the state directory is read-only",
        "mount -t tmpfs -o ro none $STATE",
        "umount $STATE",
        "state",
        "fail",
        "Read-only file system",
    ),
    Fault(
        "the key may be read by everybody",
        "chmod 644 $KEY",
        "chmod 600 $KEY",
        "secrets",
        "fail",
        "mode 0644",
    ),
    Fault(
        "somebody else's tun0",
        "ip tuntap add mode tun name tun0; ip link set tun0 up",
        "ip link del tun0",
        "interface",
        "fail",
        "tun0 exists, and no daemon runs",
    ),
    Fault(
        "a killed daemon left resolv.conf",
        "cp /etc/resolv.conf $STATE/resolv; echo 'nameserver 127.0.0.47' > /etc/resolv.conf",
        "cat $STATE/resolv > /etc/resolv.conf",
        "resolver",
        "fail",
        "names 127.0.0.47, and no daemon runs",
    ),
)


LONG_UP = (
    Fault(
        "no question leaves for DNS",
        FILTER.format("output", "") + "; nft add rule inet t c th dport 53 ip daddr 10.0.0.0/8 drop",
        NO_FILTER,
        "firewall-dns",
        "fail",
        "questions to 10.201.1.1 are dropped",
        also=("dns-upstream", "in-dns"),
    ),
    Fault(
        "packets to tokens are dropped on their way out",
        FILTER.format("output", "") + "; nft add rule inet t c ip daddr 240.0.0.0-255.255.255.255 reject",
        NO_FILTER,
        "firewall-tokens",
        "fail",
        "packets to tokens",
    ),
    Fault(
        "the interface drops the UDP port before anything else",
        "nft add table netdev n; "
        "nft add chain netdev n c '{ type filter hook ingress device \"eth0\" priority 0; }'; "
        "nft add rule netdev n c udp dport 5000-6000 drop",
        "nft delete table netdev n",
        "firewall-udp",
        "fail",
        "table netdev n, chain c",
    ),
    Fault(
        "default deny, and only vipnet's port is open",
        FILTER.format("input", "policy drop;")
        + "; nft add rule inet t c ct state established,related accept; nft add rule inet t c iif lo accept"
        + "; nft add rule inet t c udp dport 5847 accept",
        NO_FILTER,
        "firewall-partners",
        "warn",
        "the policy of the chain: drop",
    ),
    Fault(
        "guests may not use the host's partners",
        "ip link add docker0 type bridge; ip addr add 172.17.0.1/16 dev docker0; ip link set docker0 up; "
        "sysctl -qw net.ipv4.ip_forward=1; " + FILTER.format("forward", "policy drop;"),
        NO_FILTER + "; ip link del docker0; sysctl -qw net.ipv4.ip_forward=0",
        "firewall-forward",
        "warn",
        "guests behind docker0",
    ),
    Fault(
        "a link that carries 1,000 bytes",
        "ip link set eth0 mtu 1000",
        "ip link set eth0 mtu 1500",
        "mtu",
        "warn",
        "eth0 carries 1000",
    ),
    Fault(
        "a server on one real address",
        "socat TCP-LISTEN:8080,bind=10.201.1.10 - >/dev/null 2>&1 & echo $! > $STATE/socat; sleep 0.5",
        "kill $(cat $STATE/socat)",
        "listeners",
        "warn",
        "socat (8080) at 10.201.1.10",
    ),
    Fault(
        "a partner's name is in /etc/hosts",
        "ping -c 1 -W 5 b.vipip.net; cp /etc/hosts $STATE/hosts; "
        "echo '10.201.2.20 b.vipip.net' >> /etc/hosts",
        "cat $STATE/hosts > /etc/hosts",
        "partner-names",
        "fail",
        "/etc/hosts says 10.201.2.20 for b.vipip.net",
    ),
    Fault(
        "vipnet may not take resolv.conf",
        'sed -i \'s/hook = "file"/hook = "none"/\' $CONFIG; vipnet down; vipnet up',
        'sed -i \'s/hook = "none"/hook = "file"/\' $CONFIG; vipnet down; vipnet up',
        "resolver",
        "fail",
        "the system asks 10.201.1.1, which does not ask vipnet",
    ),
    Fault(
        "NetworkManager rewrites resolv.conf whenever vipnet has taken it",
        "for i in 1 2 3 4; do "
        "printf '# Generated by NetworkManager\nnameserver 10.201.1.1\n' > /etc/resolv.conf; sleep 3; done",
        "vipnet down; vipnet up",
        "resolver",
        "fail",
        "10.201.1.1, kept by NetworkManager, which does not ask vipnet (something keeps writing",
    ),
    Fault(
        "the provider refuses",
        "cp $TSIG $STATE/tsig; echo AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA= > $TSIG; "
        "vipnet down; vipnet up || true",
        "cat $STATE/tsig > $TSIG; vipnet down; vipnet up",
        "publish",
        "fail",
        "BADSIG",
    ),
    Fault(
        "the daemon was killed",
        "kill -9 $(cat $RUN/vipnet.pid); sleep 0.5",
        "vipnet up",
        "interface",
        "warn",
        "a route says that 240.0.0.0/4 is unreachable",
        also=("resolver",),
    ),
    Fault(
        "no address",
        "ip addr flush dev eth0; sleep 0.5",
        "ip addr add 10.201.1.10/24 dev eth0; ip route add default via 10.201.1.1; sleep 1",
        "address",
        "fail",
        "no interface has an address",
        also=("daemon", "dns-upstream", "in-dns"),
    ),
)
LONG_DOWN = (
    Fault(
        "the disk is full",
        "mount -t tmpfs -o size=64k none $STATE; dd if=/dev/zero of=$STATE/x bs=1k count=999 || true",
        "umount $STATE",
        "state",
        "fail",
        "No space left on device",
    ),
    Fault(
        "no /dev/net/tun",
        "mount -t tmpfs none /dev/net",
        "umount /dev/net",
        "tun-device",
        "fail",
        "/dev/net/tun is missing",
    ),
    Fault(
        "another program has the UDP port",
        "socat UDP-LISTEN:5847 - >/dev/null 2>&1 & echo $! > $STATE/socat; sleep 0.5",
        "kill $(cat $STATE/socat)",
        "udp-port",
        "fail",
        "5847 is held by socat",
    ),
    Fault(
        "another resolver has port 53 of all addresses",
        "socat UDP-LISTEN:53 - >/dev/null 2>&1 & echo $! > $STATE/socat; sleep 0.5",
        "kill $(cat $STATE/socat)",
        "resolver-port",
        "fail",
        "socat holds port 53 of 0.0.0.0",
    ),
    Fault(
        "a resolver that hides private addresses",
        "dnsmasq -p 53 -a 127.0.0.99 -z -R -S 10.201.1.1 --stop-dns-rebind -x $STATE/dnsmasq -u root; "
        "sed -i 's/^hook = .*/&\\nupstreams = [\"127.0.0.99\"]/' $CONFIG",
        "kill $(cat $STATE/dnsmasq); sed -i '/^upstreams = /d' $CONFIG",
        "rebind-filter",
        "fail",
        "127.0.0.99:53 (dnsmasq-",
    ),
    Fault(
        "the zone has another host's key under this name",
        "cp $KEY $STATE/key; head -c 32 /dev/urandom | base64 > $KEY",
        "cat $STATE/key > $KEY",
        "in-dns",
        "fail",
        "_vip.a.vipip.net has another key than this host",
    ),
    Fault(
        "no name source in nsswitch.conf but files",
        "cp /etc/nsswitch.conf $STATE/nss; echo 'hosts: files' > /etc/nsswitch.conf",
        "cat $STATE/nss > /etc/nsswitch.conf",
        "name-sources",
        "fail",
        "hosts: files",
    ),
)
PARTNER = (
    Fault(
        "the network carries 1,280 bytes",
        "ip link set eth0 mtu 1280; ping -c 2 -W 5 -s 1392 b.vipip.net",
        "ip link set eth0 mtu 1500",
        "partners",
        "ok",
        "packets of 1280 bytes",
    ),
    Fault(
        "a partner is away",
        "vipnet down",
        "vipnet up",
        "partners",
        "warn",
        "b.vipip.net: no answer from 10.201.2.20:5847, last heard",
        host="b",
    ),
    Fault(
        "a partner has another key",
        "vipnet down; head -c 32 /dev/urandom | base64 > $KEY; rm -rf $STATE; vipnet up; "
        "! ping -c 1 -W 2 a.vipip.net",
        "true",
        "trust",
        "warn",
        "with another key",
        host="b",
    ),
)
