#!/usr/bin/env bash
# Guess: a configuration of which `haproxy -c` says "Configuration file is valid" starts, on the same machine and as the
#   same user.
# True: the check does not compare `maxconn` with the number of files that the process may open, of which each connection
#   needs two. The start does, and ends with "Cannot raise FD limit". haproxy has refused since 2.3; before, it warned and
#   started with less (`no strict-limits` brings that back). Without `maxconn` it takes what the limit allows.
# For a chat like ours: a container has a limit of its own, often 1,024 or 20,000. A check in CI or before a reload is
#   passed, and the proxy in front of all replicas does not come back. Test by starting, with the limit of the place where
#   it will run, or leave `maxconn` out.
# Needs Debian 12, whose packages are unpacked into the temporary folder.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
apt-get download --quiet=2 'haproxy=2.6.12-1+deb12u*' liblua5.3-0 libopentracing-c-wrapper0 libopentracing1 2> apt.log ||
  { cat apt.log; exit 1; }
for package in ./*.deb; do dpkg -x "$package" .; done
LD_LIBRARY_PATH=$(echo "$folder"/usr/lib/*-linux-gnu)
export LD_LIBRARY_PATH
ulimit -S -n 1024
ulimit -H -n 1024
cat > chat.cfg <<'CFG'
global
  maxconn 2000
defaults
  mode http
  timeout connect 2s
  timeout client 30s
  timeout server 30s
frontend chat
  bind unix@chat.sock
  http-request return status 200
CFG
started() { # whether it still runs after two seconds
  set +e
  timeout 2 usr/sbin/haproxy -db -f "$1" > log 2>&1
  [ $? -eq 124 ]
}
usr/sbin/haproxy -v | head -n 1
echo "guess: files that pass the check start"
check=$(usr/sbin/haproxy -c -f chat.cfg 2>&1 | tail -n 1)
echo "seen:  maxconn 2000 where 1,024 files may be open: check: $check"
if started chat.cfg; then with=starts; else with="does not start: $(grep -o 'Cannot raise.*' log)"; fi
echo "seen:  with maxconn 2000 it $with"
grep -v maxconn chat.cfg > less.cfg
if started less.cfg; then without=starts; else without="does not start"; fi
echo "seen:  without maxconn it $without"
case "$check/$with/$without" in
  *valid*/"does not start: Cannot raise FD limit"*/starts) ;;
  *) echo "The behaviour has changed." >&2; exit 1 ;;
esac
