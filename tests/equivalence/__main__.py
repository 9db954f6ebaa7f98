"""Does canario still do what it did? `python -m tests.equivalence record FILE`, from the root.

What a refactoring must not change is recorded on the commit before it, and compared after each
move: `python -m tests.equivalence compare FILE` prints what differs as a diff, and exits with 1.
Everything is asked for as a user asks: commands in processes of their own, and the names that the
README and docs import. FILE is a zip of plain texts, one for each thing that was looked at, with
their digests in `digests.txt`; the same commit makes the same bytes.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tests.equivalence.parts import PARTS
from tests.equivalence.recording import differences, made_by, read, write


def main() -> int:
    """Exit code 1 when something differs."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.equivalence",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("what", choices=("record", "compare"))
    parser.add_argument("file", type=Path, metavar="FILE", help="the recording")
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="NAME",
        help=f"parts whose name begins so; as often as you like ({', '.join(PARTS)})",
    )
    parser.add_argument("--processes", type=int, default=1, help="parts at a time")
    parser.add_argument("--lines", type=int, default=40, help="of a diff, the most to be shown")
    options = parser.parse_args()
    chosen = [name for name in PARTS if name.startswith(tuple(options.only or [""]))]
    if not chosen:
        parser.error(f"--only {' '.join(options.only)}: no part begins so; {', '.join(PARTS)} do")
    before = read(options.file) if options.what == "compare" else {}
    texts = made_by(chosen, options.processes)
    if options.what == "record":
        write(options.file, texts)
        print(f"{len(texts)} texts of {len(chosen)} parts")
        return 0
    before = {name: text for name, text in before.items() if name.split("/")[0] in chosen}
    told = list(differences(before, texts, options.lines))
    for difference in told:
        print(difference)
    print(f"{len(texts)} texts of {len(chosen)} parts, {len(told)} differ")
    return 1 if told else 0


if __name__ == "__main__":
    sys.exit(main())
