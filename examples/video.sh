#!/bin/sh
# A moving picture from one host to another: plain ffmpeg over plain UDP, which knows nothing of vipnet.
# Change networks at either end while it runs.
#
# usage: video.sh watch [PORT]            on the one that looks (port 5004 unless told)
#        video.sh send NAME [PORT]        on the other, NAME being the first one's
#
# PLAYER is what shows it: ffplay unless set. SOURCE is what ffmpeg sends: a test picture with a clock
# unless set, a camera for example: SOURCE='-f v4l2 -i /dev/video0'.
set -eu

usage() {
    sed -n '5,9s/^# \{0,1\}//p' "$0" >&2
    exit 2
}

case ${1-} in
watch)
    [ $# -le 2 ] || usage
    exec ${PLAYER-ffplay -loglevel error -fflags nobuffer} "udp://0.0.0.0:${2-5004}?overrun_nonfatal=1"
    ;;
send)
    [ $# -ge 2 ] && [ $# -le 3 ] || usage
    # shellcheck disable=SC2086 # SOURCE is several words
    exec ffmpeg -nostdin -loglevel error -re ${SOURCE--f lavfi -i testsrc2=size=640x360:rate=25} \
        -codec:v mpeg4 -b:v 1500k -g 25 -f mpegts "udp://$2:${3-5004}?pkt_size=1316"
    ;;
*)
    usage
    ;;
esac
