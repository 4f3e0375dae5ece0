#!/bin/sh
# Works through a queue that is never empty: one parcel every INTERVAL seconds, until it is told to stop.
# Now and then it asks the API at API_URL how it is, where there is a tool to ask with.
set -eu

interval="${INTERVAL:-5}"
done_so_far=0
stopping=

ask() {
    if command -v curl >/dev/null 2>&1; then
        curl --silent --fail --max-time 2 "$1"
    elif command -v wget >/dev/null 2>&1; then
        wget --quiet --timeout=2 --output-document=- "$1"
    fi
}

trap 'stopping=yes' TERM INT

echo "worker started: one parcel every ${interval}s"
while [ -z "$stopping" ]; do
    done_so_far=$((done_so_far + 1))
    echo "parcel $done_so_far is on its way"
    if [ -n "${API_URL:-}" ] && [ $((done_so_far % 6)) -eq 1 ]; then
        answer="$(ask "$API_URL/health")" || answer="no answer"
        echo "the api says: ${answer:-nothing}"
    fi
    # waits in the background, so that the signal is heard at once
    sleep "$interval" &
    nap=$!
    wait "$nap" || true
done
kill "$nap" 2>/dev/null || true
echo "worker stopped after $done_so_far parcels"
