#!/usr/bin/env bash
# Builds the wheel, checks it, installs it into an empty environment in a temporary folder and uses it there, without the checkout.
# WHEEL_PYTHON=/path/python takes the packages that the wheel needs from that interpreter's environment instead of installing them.
set -euo pipefail
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT

python="${WHEEL_PYTHON:-python3}"
git -C "$root" archive HEAD | tar -x -C "$work" --one-top-level=source  # what is committed, and nothing that lies about
"$python" -m venv "$work/tools"
"$work/tools/bin/pip" install --quiet build twine
"$work/tools/bin/python" -m build --quiet --outdir "$work/dist" "$work/source"
"$work/tools/bin/twine" check --strict "$work"/dist/*

"$python" -m venv "$work/user"
if [ -n "${WHEEL_PYTHON:-}" ]; then
  "$work/user/bin/pip" install --quiet --no-deps "$work"/dist/*.whl
  "$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))' > "$work/borrowed.pth"
  mv "$work/borrowed.pth" "$("$work/user/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/zz_borrowed.pth"
else
  "$work/user/bin/pip" install --quiet "$work"/dist/*.whl
fi

rm -rf "$work/source"
mkdir "$work/elsewhere" && cd "$work/elsewhere"
unset PYTHONPATH
"$work/user/bin/python" -c "import bench, sys; sys.exit('$work' not in bench.__file__ and 'not the wheel: ' + bench.__file__)"
"$work/user/bin/fedsiege" --version
"$work/user/bin/fedsiege" list > list.txt
grep -q krum list.txt
"$work/user/bin/fedsiege" run --suite smoke --quiet
test -s runs/smoke/leaderboard.md
"$work/user/bin/fedsiege" leaderboard --suite smoke --format html --output board.html
test -s board.html
echo "the wheel works"
