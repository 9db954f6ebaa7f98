"""Print the shell command that follows the marker `<!-- NAME -->` in the README.

So CI runs what a newcomer is told, and not a copy of it.
"""

import pathlib
import re
import sys

name = sys.argv[1]
readme = (pathlib.Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
found = re.search(rf"<!-- {re.escape(name)} -->\s*```\w*\n(.*?)```", readme, re.DOTALL)
if not found:
    sys.exit(f"README.md has no command marked <!-- {name} -->")
sys.stdout.write(found[1])
