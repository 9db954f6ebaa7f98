"""Arrivals on a tape of real traffic."""

from __future__ import annotations

from canario.config import ConfigError
from canario.tape.format import TapeError
from canario_sim.tapes.read import read_tape

from .recorded import Recording, recording_of

__all__ = ["from_tape"]


def from_tape(path: str) -> Recording:
    """The arrivals on a tape; users are called by their hashed keys, in hexadecimal digits.

    Raises `ConfigError` for a tape that cannot be read.
    """
    try:
        tape = read_tape(path)
    except TapeError as error:
        raise ConfigError(path, "", str(error)) from error
    # Hashes are kept as signed numbers of 64 bits; written without a sign they have 16 digits.
    names = tuple(f"{identity % 2**64:016x}" for identity in tape.identities.tolist())
    return recording_of(path, tape.at, (names, tape.key), (tape.routes, tape.route))
