"""Random requests of several clients at once, then hostile ones; every promise is checked for every message."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from tests.stress.drive import play
from tests.stress.hostile import besiege
from tests.stress.link import BrokenError


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.stress", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="the first seed (1)")
    parser.add_argument("--seeds", type=int, default=1, metavar="N", help="how many seeds, one after another (1)")
    parser.add_argument("--messages", type=int, default=20_000, metavar="N", help="requests of each run (20000)")
    parser.add_argument("--hostile", type=int, default=0, metavar="N", help="then so many hostile messages (0)")
    parser.add_argument("--clients", type=int, default=3, metavar="N", help="clients at once (3)")
    parser.add_argument("--profile", action="append", help="a profile; may be repeated (default, trio)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="as `async-kernel run --set`")
    return parser


def main() -> int:
    given = arguments().parse_args()
    options = tuple(part for each in given.set for part in ("--set", each))
    for seed in range(given.seed, given.seed + given.seeds):
        for profile in given.profile or ("default", "trio"):
            again = f"python -m tests.stress --seed {seed} --messages {given.messages} --hostile {given.hostile}"
            again += f" --clients {given.clients} --profile {profile}{''.join(f' --set {each}' for each in given.set)}"
            print(again, flush=True)
            try:
                with tempfile.TemporaryDirectory(prefix="stress-") as folder:
                    if given.messages:
                        said = play(seed, given.messages, profile, options, Path(folder), given.clients)
                        print(f"  {said}", flush=True)
                with tempfile.TemporaryDirectory(prefix="stress-") as folder:
                    if given.hostile:
                        print(f"  {besiege(seed, given.hostile, profile, options, Path(folder))}", flush=True)
            except BrokenError as error:
                print(f"\nFAILED: {error}\n\nagain: {again}", file=sys.stderr)
                return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
