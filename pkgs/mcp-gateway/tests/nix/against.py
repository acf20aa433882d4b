"""Compares our module system with nixpkgs' own: `python -m tests.nix.against LIB`, a copy of nixpkgs' `lib`.

For a machine that has one; CI has none. Prints what differs, which should be nothing.
"""

import argparse
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.nix.evaluating import Nix, evaluate, least_versions
from tests.real import REPOSITORY

# What is made of nixpkgs' own lists of licenses and platforms.
LISTS = ("package.meta.",)


def differences(place: str, ours: Any, theirs: Any) -> Iterator[str]:
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for name in sorted({*ours, *theirs}):
            yield from differences(f"{place}.{name}", ours.get(name), theirs.get(name))
    elif ours != theirs and not place.startswith(LISTS):
        yield f"{place}: {ours!r}, and with theirs: {theirs!r}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("lib", type=Path, metavar="LIB")
    lib = str(parser.parse_args().lib.resolve())
    with tempfile.TemporaryDirectory() as folder:
        nix = Nix(Path(folder))
        ours = evaluate(nix)
        done = nix.value(REPOSITORY, versions=least_versions(), library=lib)
        if done.returncode:
            raise SystemExit(done.stderr)
        theirs = json.loads(done.stdout)
        found = [
            line
            for part in ("cases", "flake", "package", "lenient")
            for line in differences(part, ours.all[part], theirs[part])
        ]
        found += [
            f"{name}: accepted with theirs"
            for name in ours.all["broken"]
            if not nix.value(REPOSITORY, broken=name, library=lib).returncode
        ]
    print(
        "\n".join(found)
        or f"{len(ours.cases)} cases are the same, {len(ours.all['broken'])} are refused by both"
    )
    raise SystemExit(bool(found))


if __name__ == "__main__":
    main()
