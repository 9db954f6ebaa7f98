"""Does a test fail when the code is wrong? `python -m tests.mutation ROOM`, from the root.

Each function of a room's modules is changed in one place at a time (`a < b` to `a <= b`, a
condition to its opposite, a statement left out, …: a *mutant*), and those of the room's tests that
call it are run. A mutant that no test notices has survived: it is printed, unless it stands in
`equivalent.toml` with the reason why it is no fault.

The tests are imported once, and each mutant is a fork in which a function has other code: some
tens of them a second where tests are quick. Tools that write changed files and start the tests
anew take seconds for each.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tomllib
from pathlib import Path

from tests.mutation.running import Room, survivors

HERE = Path(__file__).parent


def main() -> int:
    """Exit code 1 when a mutant has survived that is not accounted for."""
    rooms = tomllib.loads((HERE / "rooms.toml").read_text(encoding="utf-8"))
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__)
    parser.add_argument("room", choices=sorted(rooms), help="what is changed, see rooms.toml")
    parser.add_argument("--only", default="", help="functions whose module:name holds this text")
    parser.add_argument("--processes", type=int, default=2, help="mutants at a time")
    parser.add_argument("--all", action="store_true", help="show those of equivalent.toml as well")
    options = parser.parse_args()
    room = Room(options.room, **rooms[options.room])
    known = tomllib.loads((HERE / "equivalent.toml").read_text(encoding="utf-8"))
    excused = {} if options.all else {each["mutant"]: each["why"] for each in known["equivalent"]}
    made = survivors(room, only=options.only, processes=options.processes)
    left = [name for name in made.survived if name not in excused]
    for name in left:
        print(f"survived: {name}")
    for name in made.uncalled:
        print(f"no test of the room calls {name}")
    if not options.only:
        own = {name for name in excused if made.is_of_the_room(name)}
        for name in sorted(own - set(made.survived)):
            print(f"no such survivor any more, take it out of equivalent.toml: {name}")
    excuses = len(made.survived) - len(left)
    print(
        f"{room.name}: {made.mutants} mutants, {made.mutants - len(made.survived)} noticed, "
        f"{excuses} equivalent, {len(left)} survived; {len(made.uncalled)} functions uncalled; "
        f"{_processor_seconds():.0f} s of processor time"
    )
    return 1 if left or made.uncalled else 0


def _processor_seconds() -> float:
    return sum(
        each.ru_utime + each.ru_stime
        for each in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )


if __name__ == "__main__":
    sys.exit(main())
