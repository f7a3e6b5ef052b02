#!/bin/sh
# What it sees, under Apache, which writes X-Seen to a file: all of the line in hexadecimal.
hex() { od -An -v -tx1 | tr -d ' \n'; }
body=$(hex)
# What was broken off is no request.
[ "${#body}" -ge $((${CONTENT_LENGTH:-0} * 2)) ] || exit 1
line="$REQUEST_METHOD $REQUEST_URI $body"
printf 'Content-Type: text/plain\nContent-Length: %s\nX-Seen: %s\n\n%s' "$(printf %s "$line" | wc -c)" \
    "$(printf %s "$line" | hex)" "$line"
