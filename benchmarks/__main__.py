"""Run every benchmark and write its tables into `docs/benchmarks.md`.

python -m benchmarks [--quick] [--only NAME ...] [--output FILE]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from datetime import date
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

BENCHMARKS = {
    "core": "Routing, recording and memory",
    "middleware": "The middleware beside others",
    "instructions": "The middleware, counted by instructions",
    "tracing": "Tracing beside OpenTelemetry's own",
    "slo": "Objectives and alerts",
    "tapes": "Recording a tape",
    "judges": "Judges: cost, false rollbacks, delay",
    "sharing": "One rollout over all workers",
    "startup": "What commands cost before they do anything",
    "simulation": "A rehearsal beside SimPy",
    "queues": "Queues beside SimPy's Resource",
    "laboratory": "The laboratory: replications, tasks, workers",
    "tuning": "Tuning: every threshold from one trajectory",
}

INTRO = """\
# Benchmarks

Speed and memory beside peers, in the same run on the same machine. Absolute times are one
machine's; the ratios carry over better. The aims are those that the project has set itself, and
the tables say where they are missed.

```
pip install -e '.[dev]'
python -m benchmarks
```

writes this page in a few minutes, from the root of a checkout. Every time is CPU time of the
process that is measured, all its threads together, so that other programs of the machine take
none of it; variants take turns in every round, and the tables show medians over the rounds. A
ratio is the median of the rounds' own ratios.

Measured on {day}: {machine}.
"""


def main() -> None:
    """Write the page."""
    parser = argparse.ArgumentParser(description="Run every benchmark and write the page.")
    parser.add_argument("--quick", action="store_true", help="few rounds: no numbers to keep")
    parser.add_argument(
        "--output", type=Path, default=ROOT / "docs" / "benchmarks.md", help="the page to write"
    )
    parser.add_argument(
        "--only", nargs="+", choices=BENCHMARKS, help="measure these again, and keep the others"
    )
    arguments = parser.parse_args()
    today = date.today().isoformat()
    page: list[str] = []
    if arguments.only:
        page = arguments.output.read_text(encoding="utf-8").split("\n## ")
    intro, kept = page[:1], {text.partition("\n")[0]: f"## {text}" for text in page[1:]}
    for name in arguments.only or BENCHMARKS:
        print(f"benchmarks.{name} …", file=sys.stderr)
        machine, tables = _run(name, quick=arguments.quick)
        again = f"Measured again on {today}: {machine}.\n\n" if intro else ""
        title = BENCHMARKS[name]
        kept[title] = f"## {title}\n\n```\npython -m benchmarks.{name}\n```\n\n{again}{tables}"
    sections = [kept[title] for title in BENCHMARKS.values() if title in kept]
    intro = intro or [INTRO.format(day=today, machine=machine)]
    arguments.output.write_text("\n".join([*intro, *sections]), encoding="utf-8")


def _run(name: str, *, quick: bool) -> tuple[str, str]:
    """The machine, and the tables: from a process of its own, which nothing else has warmed."""
    command = [sys.executable, "-m", f"benchmarks.{name}", *(["--quick"] if quick else [])]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True)
    machine, _, tables = done.stdout.decode().partition("\n\n")
    return machine, tables


if __name__ == "__main__":
    main()
