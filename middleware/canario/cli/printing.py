"""What the commands print: all of it through here, so that no text from outside is obeyed."""

from __future__ import annotations

import json
from typing import Any

import click

from canario.printable import code_escapes, printable, printable_lines

__all__ = ["EPILOG", "complain", "say", "say_builtins", "say_json", "say_text"]

EPILOG = "Exit codes: 0 all as expected, 1 an expectation failed, 2 bad usage or bad input."


def say(line: str = "") -> None:
    """Print one line for people."""
    click.echo(printable(line))


def complain(message: str) -> None:
    """Print one line to stderr."""
    click.echo(f"canario: {printable(message)}", err=True)


def say_text(text: str) -> None:
    """Print a file's text as it is to be written: what is not visible is escaped in it already."""
    click.echo(printable_lines(text), nl=False)


def say_json(document: Any) -> None:
    """Print JSON for programs, of a document or of its text."""
    if isinstance(document, bytes):
        document = document.decode()
    text = document if isinstance(document, str) else dumped(document)
    click.echo(code_escapes(text, long=False), nl=False)


def say_builtins(document: Any) -> None:
    """Print JSON for programs, of a document that holds values of canario's."""
    from msgspec import to_builtins

    say_json(to_builtins(document))


def dumped(document: Any) -> str:
    """JSON with two spaces of indent, and a line feed at its end: it may be printed."""
    return code_escapes(json.dumps(document, indent=2, ensure_ascii=False), long=False) + "\n"
