#!/usr/bin/env bash
# Guess: what `pip install trafilatura` installs without an error can be imported.
# True: one of its dependencies asks for `lxml[html_clean]`; lxml 6.1.3 calls that extra `html-clean`. Both spellings
#   mean the same since PEP 685, but pip before 23.3 compares them as text: it warns that there is no such extra,
#   leaves the package out, reports success, and `import trafilatura` raises ImportError. Debian 12 and the
#   virtual environments of Python 3.11 come with such a pip.
# For a chat like ours: reading web pages fails on exactly the machines that the README names. Name `lxml_html_clean`
#   as a dependency of our own, or install from a lock that lists it.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
for pip in 23.0.1 24.0; do
  python3 -m venv "$folder/$pip"
  "$folder/$pip/bin/python" -m pip install --quiet --disable-pip-version-check "pip==$pip"
  "$folder/$pip/bin/python" -m pip install --quiet --disable-pip-version-check trafilatura==2.3.1 lxml==6.1.3 \
    justext==3.0.2 2> "$folder/$pip.warnings"
  "$folder/$pip/bin/python" -c 'import trafilatura' > /dev/null 2>&1 && result=works || result=ImportError
  echo "pip $pip: installed with code 0; import trafilatura: $result; $(grep -i 'extra' "$folder/$pip.warnings" || true)"
  echo "$pip $result" >> "$folder/seen"
done
echo "guess: it works with both"
if [ "$(cat "$folder/seen")" != $'23.0.1 ImportError\n24.0 works' ]; then
  echo "The behaviour has changed." >&2
  exit 1
fi
