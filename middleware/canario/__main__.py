"""`canario` and `python -m canario`."""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> None:
    """Run the command line; says what to install where its packages are missing."""
    try:
        from canario.cli.main import run
    except ModuleNotFoundError as error:
        if error.name not in ("click", "rich"):
            raise
        sys.stderr.write(
            f"canario: the command line needs {error.name}; "
            "install it with: pip install 'canario[cli]'\n"
        )
        sys.exit(2)
    run()


if __name__ == "__main__":
    main()
