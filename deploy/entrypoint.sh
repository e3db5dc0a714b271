#!/bin/sh
# Runs `threadkeeper` with these arguments. Chainlit writes into its root, so each container has a copy in /tmp, and the
# root file system can be read-only.
set -eu
app=$(dirname "$0")/..
export CHAINLIT_APP_ROOT="${CHAINLIT_APP_ROOT:-/tmp/chainlit}"
mkdir -p "$CHAINLIT_APP_ROOT"
cp -R "$app/.chainlit" "$app/public" "$app"/chainlit*.md "$CHAINLIT_APP_ROOT/"
# The server gets the signals of the container itself.
exec threadkeeper "$@"
