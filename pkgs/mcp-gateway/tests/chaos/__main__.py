"""`python -m tests.chaos`, which `make chaos` calls: one run, its report, exit 1 when an invariant broke."""

import argparse
import random
import sys
import tempfile
from pathlib import Path

from tests.chaos.run import STRICT, run


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seconds", type=float, default=180.0, help="calm and chaos together (180)")
    parser.add_argument("--seed", type=int, default=None, help="what happens when (by chance)")
    given = parser.parse_args()
    seed = random.SystemRandom().randrange(1_000_000) if given.seed is None else given.seed
    print(f"chaos: seed {seed}, {given.seconds:g} s", flush=True)
    with tempfile.TemporaryDirectory(prefix="chaos-") as directory:
        report = run(seed, given.seconds, STRICT, Path(directory))
    print(report, flush=True)
    return 1 if report.violations else 0


if __name__ == "__main__":
    sys.exit(main())
