#!/bin/bash
# Collect the pure-Python wheels that a machine with torch and transformers, but without network, lacks for this project:
#
#   tests/gpu/collect_wheels.sh FOLDER          then there: python3 -m pip install --no-index --no-deps --target SITE FOLDER/*.whl
#                                               and: PYTHONPATH=lib:SITE python3 -m pytest -m gpu tests/gpu
#
# Versions are those of requirements/cpu.lock.txt. PYTHON names another interpreter than .venv/bin/python.
set -euo pipefail
root="$(cd "$(dirname "$0")/../.." && pwd)"
target="${1:?usage: collect_wheels.sh FOLDER}"
python="${PYTHON:-$root/.venv/bin/python}"
wanted=()
for name in trl datasets dill multiprocess math-verify latex2sympy2-extended antlr4-python3-runtime gguf; do
  line="$(grep -m1 -E "^$name==" "$root/requirements/cpu.lock.txt" | sed 's/[ ;\\].*//')"
  wanted+=("${line:?$name is not in requirements/cpu.lock.txt}")
done
mkdir -p "$target"
"$python" -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: \
  --python-version 3.12 --implementation cp --platform any --dest "$target" "${wanted[@]}"
ls -l "$target"
