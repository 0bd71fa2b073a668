#!/bin/sh
# One call with curl, of whatever version.
set -eu
gateway="${TENCENT_API:-http://127.0.0.1:8080}"
answer=$(curl --silent --show-error --max-time 25 \
    -H 'content-type: application/json' -H 'x-caller: example-curl' -d '{}' \
    "$gateway/v4/live_config/get_callback")
echo "$answer"
# ErrorCode 0 is success, whatever the HTTP status says.
case "$answer" in *'"ErrorCode":0'[,}]*) ;; *) exit 1 ;; esac
