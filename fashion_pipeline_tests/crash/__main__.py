"""`make crash KILLS=100 SEED=1`: strike, compare, say what happened, and write the report where that is asked."""

import argparse
import random
import signal
import sys
from pathlib import Path

from fashion_pipeline_tests.crash.crasher import Crasher, Difference
from fashion_pipeline_tests.crash.faults import FAULTS
from fashion_pipeline_tests.crash.report import summary, write_report


def main() -> int:
    parser = argparse.ArgumentParser(prog="make crash", description=__doc__)
    parser.add_argument("--kills", type=int, default=20, help="faults that hit")
    parser.add_argument(
        "--seed", type=int, default=None, help="of worlds, faults and moments; drawn where it is left out"
    )
    parser.add_argument("--faults", default=",".join(FAULTS), help=f"some of {', '.join(FAULTS)}")
    parser.add_argument(
        "--minutes", type=float, default=float("inf"), help="after which no more strikes begin"
    )
    parser.add_argument("--report", type=Path, default=None, help="Markdown file to write")
    options = parser.parse_args()
    seed = random.SystemRandom().randrange(1_000_000) if options.seed is None else options.seed
    print(f"seed {seed}", flush=True)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.default_int_handler)

    def say(line: str) -> None:
        print(line, flush=True)

    crasher = Crasher(
        seed, options.kills, faults=options.faults.split(","), seconds=60 * options.minutes, say=say
    )
    try:
        report = crasher.run()
    except Difference as difference:
        print(f"\n{difference}\n\nagain: make crash KILLS={options.kills} SEED={seed}")
        return 1
    print(summary(report))
    if options.report is not None:
        write_report(report, options.report)
    return 0


if __name__ == "__main__":
    sys.exit(main())
