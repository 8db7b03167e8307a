#!/bin/sh
# Hold one SSH connection to another vipnet host while you move, and show every
# silence in it. Both hosts run `vipnet up`; PEER has an SSH server.
#
# usage: two_hosts.sh [USER@]PEER [SILENCE_MS]      (silences over 300 ms unless told)
set -eu

if [ $# -lt 1 ] || [ $# -gt 2 ]; then
    sed -n '2,5s/^# \{0,1\}//p' "$0" >&2
    exit 2
fi
peer=$1
silence_ms=${2-300}
name=${peer#*@}

echo "What the name leads to, step by step; the last line is what ssh connects to:"
vipnet resolve "$name"
echo
echo "One line every 100 ms comes from $name. Change networks now; Ctrl-C ends."

trap 'echo; echo "What happened:"; vipnet moves; exit 0' INT

# The remote loop counts, so that a lost or doubled line would show.
ssh -o ServerAliveInterval=0 "$peer" 'n=0; while :; do n=$((n + 1)); echo $n; sleep 0.1; done' | {
    trap '' INT
    expected=1
    last=$(date +%s%3N)
    while read -r number; do
        now=$(date +%s%3N)
        [ "$number" = "$expected" ] || echo "line $number where $expected was due"
        [ $((now - last)) -lt "$silence_ms" ] ||
            echo "$(date +%T) silence of $((now - last)) ms before line $number, none lost"
        expected=$((number + 1))
        last=$now
    done
}
