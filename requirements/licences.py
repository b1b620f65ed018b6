"""List name, version and licence of every package of a lock file, as its installed metadata state them.

Usage: python requirements/licences.py requirements/cpu.lock.txt > requirements/licences.csv
"""

import csv
import importlib.metadata
import re
import sys
from pathlib import Path


def licence(package: importlib.metadata.Distribution) -> str:
    """The licence expression, else the classifiers, else the first line of the licence field."""
    metadata = package.metadata
    if expression := metadata.get("License-Expression"):
        return expression
    classifiers = [name.rpartition(" :: ")[2] for name in metadata.get_all("Classifier", []) if "License ::" in name]
    classifiers = [name for name in classifiers if name != "OSI Approved"]
    field = (metadata.get("License") or "").strip().splitlines()
    return "; ".join(classifiers) or (field[0][:60] if field else "not stated")


def main(lock: str) -> None:
    """Write the list to standard output, sorted by name."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(["package", "version", "licence"])
    for name in sorted(set(re.findall(r"^([A-Za-z0-9._-]+)==", Path(lock).read_text(encoding="utf-8"), re.MULTILINE))):
        try:
            found = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            writer.writerow([name, "", "not installed on this platform"])
            continue
        writer.writerow([name, found.version.partition("+")[0], licence(found)])


if __name__ == "__main__":
    main(sys.argv[1])
