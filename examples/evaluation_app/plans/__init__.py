"""Three development plans of municipalities that do not exist: a good, a fair and a poor one."""

from __future__ import annotations

from pathlib import Path

__all__ = ["TITLES", "load"]

# By file name, from the best plan to the poorest.
TITLES = {
    "puerto_almendral": "Puerto Almendral",
    "san_telmo_de_los_guaduales": "San Telmo de los Guaduales",
    "cerro_candil": "Cerro Candil",
}


def load(name: str) -> str:
    """The text of the plan `name`, one of `TITLES`; `KeyError` for any other name."""
    if name not in TITLES:
        raise KeyError(name)
    return Path(__file__).with_name(f"{name}.txt").read_text(encoding="utf-8")
