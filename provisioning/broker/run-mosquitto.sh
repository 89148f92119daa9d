#!/bin/sh
# Run Mosquitto on a folder that the fleet server exports ([broker] export_dir), and let it read certificates and lists of
# revoked certificates again when the server has renewed them: with an old list it would lock every node out after a week.
# Usage: run-mosquitto.sh FOLDER [SECONDS between looks]
set -eu
folder=${1:?the folder that the fleet server exports}
every=${2:-5}
PATH=$PATH:/usr/sbin:/usr/local/sbin

look() { cat "$folder/mosquitto.conf" "$folder"/*.acl "$folder"/server/*.pem "$folder"/pki/*/*.pem | cksum; }

if [ ! -r "$folder/mosquitto.conf" ]; then  # it is written last
    echo "run-mosquitto.sh: $folder is not, or not wholly, exported: fleet init with [broker] export_dir does it" >&2
    exit 1
fi
known=$(look)
mosquitto -c "$folder/mosquitto.conf" &
broker=$!
trap 'kill -TERM "$broker" 2>/dev/null; wait "$broker"; exit' TERM INT
while kill -0 "$broker" 2>/dev/null; do
    sleep "$every" &
    wait $! || true
    now=$(look) || continue
    if [ "$now" != "$known" ]; then
        known=$now
        kill -HUP "$broker" 2>/dev/null || true
    fi
done
wait "$broker"
