#!/bin/sh
# Install the course from this folder, without a network (Linux, macOS):  sh install.sh [FOLDER]
case $0 in
    */*) here=${0%/*} ;;
    *) here=. ;;
esac
for python in python3 python3.13 python3.12 python3.11 python3.10 python3.14 python; do
    if "$python" "$here/install.py" --suits >/dev/null 2>&1; then
        exec "$python" "$here/install.py" "$@"
    fi
done
for python in python3 python; do  # none suits: let one say why
    if "$python" -c 'import sys; sys.exit(sys.version_info < (3, 6))' >/dev/null 2>&1; then
        exec "$python" "$here/install.py" "$@"
    fi
done
echo "install: there is no Python 3 here. Install one that README.txt names, then try again." >&2
exit 1
