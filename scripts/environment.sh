#!/bin/sh
# Makes the virtual environment .venv in the working directory, with the first Python that can make one, or with the
# one that the variable PYTHON names. `environment.sh check` only reports, by its exit code, whether .venv can be used.
set -u
venv=.venv
needed="Python 3.11, 3.12 or 3.13"

# Of this folder (console scripts hold its path), of a supported Python that still runs, and with the whole of pip:
# the line about INSTALLER is added to RECORD when pip itself has been installed completely.
check_program='
import importlib.metadata, pathlib, sys
supported = (3, 11) <= sys.version_info[:2] <= (3, 13)
pip_is_whole = "INSTALLER" in importlib.metadata.distribution("pip").read_text("RECORD")
is_of_this_folder = sys.prefix in pathlib.Path(sys.prefix, "bin", "pip").read_text()
sys.exit(not (supported and pip_is_whole and is_of_this_folder))
'

can_be_used() {
  [ -f "$venv/pyvenv.cfg" ] && "$venv/bin/python" -I -c "$check_program" 2>/dev/null
}

if [ "${1:-}" = check ]; then
  can_be_used
  exit
fi

fail() {
  echo "$1" >&2
  exit 1
}

# The family of systems, by the names that their package managers have.
case "$(uname -s) $(sed -n 's/^ID\(_LIKE\)\{0,1\}=//p' "${OS_RELEASE:-/etc/os-release}" 2>/dev/null | tr -d '"' | tr '\n' ' ')" in
  Darwin*) family=brew ;;
  *debian* | *ubuntu*) family=apt ;;
  *fedora* | *rhel*) family=dnf ;;
  *) family= ;;
esac

# The environment is deleted before it is made again, and its Python with it.
case ${PYTHON:-} in
  "$venv"/* | ./"$venv"/* | "$PWD/$venv"/*) fail "PYTHON is $PYTHON, which is inside the environment $venv that it should make: name a Python outside of it." ;;
esac

if [ -n "${PYTHON:-}" ]; then set -- "$PYTHON"; else set -- python3.13 python3 python3.12 python3.11 python; fi
python= unsupported= without_venv=
for candidate in "$@"; do
  version=$("$candidate" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) || continue
  case $version in
    3.11 | 3.12 | 3.13) ;;
    *)
      unsupported="${unsupported:+$unsupported, }$candidate is $version"
      continue
      ;;
  esac
  # Debian has ensurepip in a package of its own.
  if "$candidate" -c 'import ensurepip, venv' 2>/dev/null; then
    python=$candidate
    break
  fi
  : "${without_venv:=$candidate}"
done

if [ -z "$python" ]; then
  if [ -n "$without_venv" ]; then
    case "$family $without_venv" in
      "apt "*/*python3.1?) package="${without_venv##*/}-venv" ;;
      "apt python3.1"?) package="$without_venv-venv" ;;
      apt*) package=python3-venv ;;
      *) fail "$without_venv lacks the modules ensurepip and venv: install a complete $needed and run make again." ;;
    esac
    fail "$without_venv cannot make a virtual environment: install the package $package (apt install $package) and run make again."
  fi
  if [ -n "$unsupported" ]; then
    fail "$needed is needed, but $unsupported: install one of them and name it, for example make run PYTHON=/usr/local/bin/python3.13."
  fi
  if [ -n "${PYTHON:-}" ]; then
    fail "$PYTHON, which PYTHON names, does not run: $needed is needed."
  fi
  case $family in
    apt) fail "$needed is needed, but there is no Python: install the packages python3 and python3-venv (apt install python3 python3-venv) and run make again." ;;
    dnf) fail "$needed is needed, but there is no Python: install the package python3.13 (dnf install python3.13) and run make again." ;;
    brew) fail "$needed is needed, but there is no Python: install the formula python@3.13 (brew install python@3.13) and run make again." ;;
    *) fail "$needed is needed, but there is no Python: install one of them and run make again." ;;
  esac
fi

if [ -e "$venv" ] || [ -L "$venv" ]; then
  echo "The environment in $venv cannot be used (incomplete, of an unsupported Python, or moved): recreating it." >&2
  rm -rf "$venv"
fi
echo "Making the environment $venv with $python ($version)."
"$python" -m venv "$venv"
