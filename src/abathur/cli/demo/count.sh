#!/bin/sh
# The demo's command agent: counts the words of the report. Progress goes to descriptor 3, the result, as
# JSON, to stdout. Its task is on stdin, as JSON too; this one does not need it.
set -eu
printf '{"progress": 0.5, "message": "counting"}\n' >&3
set -- $(wc -lw < "$REPORT")
printf '{"lines": %d, "words": %d}\n' "$1" "$2"
