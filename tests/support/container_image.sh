#!/usr/bin/env bash
# Builds the image of `Dockerfile` from the last commit, prints its size and checks its containers, before a release:
# `sudo tests/support/container_image.sh`.
#
#   --base IMAGE   the base image, which is pulled. Without it, a stand-in for python:3.13-slim is made: Debian 13 with
#                  its Python, for machines that reach no registry of images
#   --mirror URL   a mirror of Debian for the stand-in
#
# Needs root, podman, debootstrap (for the stand-in), git, haproxy and the environment of `make test`. The packages come
# from this machine's configuration of pip, which is mounted while the image is built, and is not in it.
set -euo pipefail

checkout=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
release=trixie
base=
mirror=http://deb.debian.org/debian

step() { printf '\n== %s\n' "$1"; }

fail() {
  echo "container_image.sh: $1" >&2
  exit 1
}

main() {
  while [ $# -gt 0 ]; do
    case $1 in
      --base) base=${2:?--base needs an image} && shift ;;
      --mirror) mirror=${2:?--mirror needs a URL} && shift ;;
      *) fail "unknown option $1" ;;
    esac
    shift
  done
  [ "$(id -u)" -eq 0 ] || fail "only root can run these containers: run it with sudo"
  for program in podman git haproxy; do
    PATH=$PATH:/usr/sbin command -v "$program" >/dev/null || fail "$program is missing: install the package of this name"
  done
  [ -x "$checkout/.venv/bin/python" ] || fail "there is no environment: run \`make .venv/.installed-dev\`"
  [ -z "$(git -C "$checkout" status --porcelain)" ] || echo "There are changes that are not committed: the last commit is built."

  folder=$(mktemp -d -t container-image-XXXXXX)
  choose_options
  trap 'clean_up' EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM HUP

  if [ -z "$base" ]; then
    make_base
  fi
  build
  print_sizes
  step "Its containers"
  cd "$checkout"
  CI=true TEST_PODMAN="${podman[*]}" TEST_PODMAN_RUN="${run[*]}" TEST_IMAGE=threadkeeper \
    .venv/bin/python -m pytest -q -n 0 -p no:cacheprovider tests/support/image_checks.py
  step "The image can be built, and its containers work."
}

clean_up() {
  "${podman[@]}" rm --all --force --volumes >/dev/null 2>&1 || true
  "${podman[@]}" image rm --all --force >/dev/null 2>&1 || true
  umount "$folder/store/overlay" 2>/dev/null || true
  rm -rf --one-file-system "$folder"
}

# The images and containers are in a folder of their own. `run`: what containers need on this machine.
choose_options() {
  podman=(podman --root "$folder/store" --runroot "$folder/run")
  run=()
  if [ ! -d /run/systemd/system ]; then
    podman+=(--cgroup-manager cgroupfs)
    # Its timer is systemd's. The checks run the health check themselves.
    run+=(--health-interval=disable)
  fi
  # crun does not run beside controllers of both versions of cgroups.
  if [ -d /sys/fs/cgroup/unified ] && command -v runc >/dev/null; then podman+=(--runtime runc); fi
  # podman's own limits are higher than root may set without CAP_SYS_RESOURCE.
  run+=("--ulimit=nofile=$(at_most 16384 "$(ulimit -Hn)")" "--ulimit=nproc=$(at_most 16384 "$(ulimit -Hu)")")
}

at_most() {
  if [ "$2" = unlimited ] || [ "$2" -gt "$1" ]; then echo "$1"; else echo "$2"; fi
}

make_base() {
  command -v debootstrap >/dev/null || fail "debootstrap is missing: install the package, or name an image with --base"
  step "Making a stand-in for python:3.13-slim: $release with its Python"
  local root=$folder/base
  {
    debootstrap --variant=minbase "$release" "$root" "$mirror"
    chroot "$root" env DEBIAN_FRONTEND=noninteractive \
      apt-get -q install -y --no-install-recommends python3 python3-venv python3-pip ca-certificates
    chroot "$root" apt-get clean
  } >"$folder/base.log" 2>&1 || {
    tail -n 20 "$folder/base.log" >&2
    fail "debootstrap or apt-get failed"
  }
  rm -rf "${root:?}"/var/lib/apt/lists/*
  ln -s /usr/bin/python3 "$root/usr/local/bin/python"
  base=localhost/python:stand-in
  tar -C "$root" -c . | "${podman[@]}" import - "$base" >/dev/null 2>&1
  rm -rf --one-file-system "$root"
}

build() {
  step "Building"
  local context=$folder/context path
  local -a mounts=()
  mkdir "$context"
  git -C "$checkout" archive HEAD | tar -x -C "$context"
  # What a checkout can have beside the code, and must not be in the image.
  mkdir "$context/.data"
  touch "$context"/{.env,.env.production,notes.txt,datalayer/.env,.data/cookie_secret}
  while read -r path; do mounts+=(--volume "$path:$path:ro"); done < <(pip_configuration)
  "${podman[@]}" build --isolation chroot --format docker --network host "${mounts[@]}" --build-arg "BASE=$base" \
    --tag threadkeeper "$context" >"$folder/build.log" 2>&1 || {
    tail -n 30 "$folder/build.log" >&2
    fail "the build failed"
  }
}

# The files of pip's configuration, and the files and folders on this machine that they name.
pip_configuration() {
  local path
  for path in /etc/pip.conf /etc/xdg/pip "$HOME/.config/pip" "$HOME/.pip"; do
    if [ -e "$path" ]; then
      echo "$path"
      { grep -rhoE '(^|[ =])(file://)?/[^ ,]+' "$path" || true; } | sed -E 's#^[ =]*(file://)?##; s#/simple/?$##'
    fi
  done | sort -u | while read -r path; do
    if [ -e "$path" ]; then echo "$path"; fi
  done
}

print_sizes() {
  local all of_base parts
  all=$("${podman[@]}" image inspect --format '{{.Size}}' threadkeeper)
  of_base=$("${podman[@]}" image inspect --format '{{.Size}}' "$base")
  parts=$("${podman[@]}" run --rm --network none "${run[@]}" --user 0 --entrypoint /bin/sh threadkeeper -c \
    'du -sm --apparent-size /venv /app' 2>"$folder/sizes.log") || fail "no container starts: $(cat "$folder/sizes.log")"
  step "The image: $((all / 1000000)) MB, of which the base is $((of_base / 1000000)) MB"
  echo "$parts"
}

main "$@"
