#!/usr/bin/env bash
# Runs `make run` and `make test` on a bare Debian 12, before a release: `sudo tests/support/bare_machine.sh`.
#
#   --fast         run `make test-fast` in place of `make test`
#   --mirror URL   a mirror of Debian, where this machine's apt has no source of Debian 12
#
# Needs root, debootstrap, git and a network. The bare machine is a root folder with a clone of this checkout's last
# commit, in mount and process namespaces of its own: when they end, all of its processes and mounts end too. It uses
# this machine's mirror, proxy, certificates and configuration of pip, which are read at run time.
set -euo pipefail

release=bookworm
checkout=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
home=/root/threadkeeper

step() { printf '\n== %s\n' "$1"; }

fail() {
  echo "bare_machine.sh: $1" >&2
  exit 1
}

# --- Outside: build the root, start the namespaces, remove the root.

outside() {
  local target=test mirror=
  while [ $# -gt 0 ]; do
    case $1 in
      --fast) target=test-fast ;;
      --mirror) mirror=${2:?--mirror needs a URL} && shift ;;
      *) fail "unknown option $1" ;;
    esac
    shift
  done
  [ "$(id -u)" -eq 0 ] || fail "only root can make a root folder: run it with sudo"
  for program in debootstrap git unshare chroot; do
    command -v "$program" >/dev/null || fail "$program is missing: install the package that has it"
  done
  if [ -z "$mirror" ]; then
    mirror=$(apt_mirror)
    [ -n "$mirror" ] || fail "this machine's apt has no source of $release: name a mirror with --mirror"
  fi
  if [ -n "$(git -C "$checkout" status --porcelain)" ]; then
    echo "There are changes that are not committed: the last commit is what runs."
  fi

  root=$(mktemp -d -t bare-machine-XXXXXX)
  namespace=
  # `--one-file-system`: never delete files of a leftover mount.
  trap 'end_namespace; rm -rf --one-file-system "$root" "$root.output"' EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM HUP

  step "Making a $release in $root"
  debootstrap --variant=minbase "$release" "$root" "$mirror" >"$root.log" 2>&1 || {
    tail -n 20 "$root.log" >&2
    fail "debootstrap failed; its whole output is in $root.log"
  }
  rm -f "$root.log"
  chmod 755 "$root"
  copy_network_configuration
  git clone --quiet --no-hardlinks "$checkout" "$root$home"

  # Waited for with `wait`, so that a signal is acted upon at once.
  unshare --mount --pid --fork --kill-child bash "${BASH_SOURCE[0]}" --inside "$root" "$target" &
  namespace=$!
  wait "$namespace"
}

end_namespace() {
  if [ -n "$namespace" ] && kill -KILL "$namespace" 2>/dev/null; then
    wait "$namespace" || true
    # The kernel ends the processes inside after the one that was killed.
    sleep 1
  fi
}

apt_mirror() {
  command -v apt-get >/dev/null || return 0
  apt-get indextargets --format '$(RELEASE) $(REPO_URI)' 'Created-By: Packages' | sed -n "s/^$release //p" | head -n 1
}

# Copies the network configuration of this machine (mirror, proxy, certificates, pip) to the same paths.
copy_network_configuration() {
  local path
  for path in /etc/resolv.conf /etc/hosts /etc/ssl/certs/ca-certificates.crt /usr/local/share/ca-certificates \
    /etc/pip.conf /etc/xdg/pip; do
    if [ -e "$path" ]; then copy "$path" "$path"; fi
  done
  for path in .config/pip .pip; do
    if [ -e "$HOME/$path" ]; then copy "$HOME/$path" "/root/$path"; fi
  done
  if command -v apt-config >/dev/null; then
    # Proxies and the like, without the hooks of packages that the root does not have.
    apt-config dump | grep -E '^Acquire::(http|https|ftp|Check|Retries)' >"$root/etc/apt/apt.conf.d/90machine" || true
  fi
}

copy() {
  mkdir -p "$(dirname "$root$2")"
  cp -RLT "$1" "$root$2"
}

# --- Inside: mounts that nobody else sees, and the commands of the README.

inside() {
  root=$1
  local target=$2
  mount -t proc proc "$root/proc"
  mount -t sysfs -o ro sysfs "$root/sys"
  mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
  mount -t devpts -o ptmxmode=0666 devpts "$root/dev/pts"
  mount_local_packages

  step "Without Python: one sentence that names the packages"
  on_machine "apt-get -qq update"
  apt_install make
  expect_sentence "apt install python3 python3-venv" "make run"

  step "Without python3-venv: one sentence that names the package, also after a half-made environment"
  apt_install python3
  expect_sentence "apt install python3-venv" "make run"
  expect_sentence "apt install python3-venv" "make test-fast"
  on_machine "! test -e .venv"
  on_machine "! python3 -m venv .venv" >/dev/null
  on_machine "test -e .venv/bin/python"
  expect_sentence "apt install python3-venv" "make run"

  step "make run"
  apt_install python3-venv
  start_and_stop_server
  grep -qE '(fetching|installing): [0-9]+ of [0-9]+ packages' "$root.output" || fail "make run shows no progress"
  step "make run, once more"
  start_and_stop_server

  step "make $target"
  # What .ci/run installs; without it, tests of the browser and of Azure are skipped, and CI=true makes a skip a failure.
  apt_install postgresql chromium-headless-shell libatomic1 haproxy pgbouncer libfaketime nodejs npm curl fonts-noto-cjk fontconfig
  on_machine "CI=true make $target"
  step "Everything works on a bare $release."
}

# Folders and files that the configuration of pip names, such as an index on this disk.
mount_local_packages() {
  local path
  {
    cat "$root"/etc/pip.conf "$root"/etc/xdg/pip/* "$root"/root/.config/pip/* "$root"/root/.pip/* 2>/dev/null || true
    env | grep '^PIP_' || true
  } | { grep -oE '(^|[ =])(file://)?/[^ ,]+' || true; } | sed -E 's#^[ =]*(file://)?##' | sort -u |
    while read -r path; do
      # The pages of an index link to files beside its folder.
      if [ "${path##*/}" = simple ]; then path=${path%/*}; fi
      if [ -d "$path" ] && [ ! -e "$root$path" ]; then
        mkdir -p "$root$path"
        mount --rbind -o ro "$path" "$root$path"
      elif [ -f "$path" ] && [ ! -e "$root$path" ]; then
        copy "$path" "$path"
      fi
    done
}

# Becomes a command in the clone. Its environment has nothing of this machine's but how the network is reached.
become() {
  local -a network
  mapfile -t network < <(env | grep -iE '^(PIP_[A-Z_]+|SSL_CERT_(FILE|DIR)|(https?|ftp|all|no)_proxy)=' || true)
  exec chroot "$root" /usr/bin/env -i HOME=/root TERM=dumb \
    PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    "${network[@]}" /bin/sh -c "cd $home && $1"
}

on_machine() { (become "$1"); }

apt_install() {
  echo "apt install $*"
  on_machine "DEBIAN_FRONTEND=noninteractive apt-get -qq install --no-install-recommends $*" >/dev/null 2>&1 ||
    fail "apt could not install $*"
}

# The command fails, and all that it prints, apart from make's own last line, is one line that holds these words.
expect_sentence() {
  local output
  if output=$(on_machine "$2" 2>&1); then
    fail "$2 succeeds, and should not"
  fi
  output=$(grep -v '^make: \*\*\*' <<<"$output" || true)
  echo "$2: $output"
  if [ "$(wc -l <<<"$output")" -ne 1 ] || ! grep -qF "$1" <<<"$output"; then
    fail "$2 should print one sentence with \"$1\""
  fi
}

start_and_stop_server() {
  local port server began=$SECONDS
  port=$(on_machine "python3 -c 'import socket; s = socket.socket(); s.bind((\"127.0.0.1\", 0)); print(s.getsockname()[1])'")
  become "exec env PORT=$port make run" > >(tee "$root.output") &
  server=$!
  until on_machine "python3 -c 'import urllib.request; urllib.request.urlopen(\"http://127.0.0.1:$port/ready\")'" 2>/dev/null; do
    kill -0 "$server" 2>/dev/null || fail "make run ended before /ready answered"
    [ $((SECONDS - began)) -lt 900 ] || fail "/ready does not answer after 900 seconds"
    sleep 0.5
  done
  echo "/ready answers after $((SECONDS - began)) seconds."
  # make hands the signal on, and ends when the server has ended.
  kill -TERM "$server"
  wait "$server" || true
  on_machine "! python3 -c 'import socket; socket.create_connection((\"127.0.0.1\", $port))'" 2>/dev/null ||
    fail "the server still listens after its end"
}

if [ "${1:-}" = --inside ]; then
  shift
  inside "$@"
else
  outside "$@"
fi
