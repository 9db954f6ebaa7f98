"""embedding_model: a passage as a vector by signed feature hashing, and how alike two are.

Nothing is learnt and nothing is downloaded: the features are word stems and pairs of stems, and
murmur3 says where each is counted and with which sign. It is the same in every process.
"""

from __future__ import annotations

import math
from collections import Counter
from itertools import pairwise
from typing import TYPE_CHECKING

import mmh3

from .text import content_stems, fold

if TYPE_CHECKING:
    from .document_segmenter import Document

__all__ = ["DIMENSIONS", "Vector", "cosine", "embed", "embed_document"]

DIMENSIONS = 1024
# A heading tells what its paragraphs are about, but less than their own words do.
_HEADING_WEIGHT = 0.5
_PAIR_WEIGHT = 0.5

Vector = dict[int, float]


def embed(folded: str, heading: str = "") -> Vector:
    """The unit vector of a folded text under a folded heading; empty when there are no words."""
    vector: Vector = {}
    for feature, weight in _features(folded, heading).items():
        hashed = mmh3.hash(feature, 0, False)
        signed = weight if hashed & 1 else -weight
        place = (hashed >> 1) % DIMENSIONS
        vector[place] = vector.get(place, 0.0) + signed
    norm = math.sqrt(sum(x * x for x in vector.values()))
    return {place: x / norm for place, x in vector.items()} if norm else {}


def embed_document(document: Document) -> list[Vector]:
    """The vectors of all paragraphs, in order."""
    return [embed(document.folded[p.start : p.end], fold(p.section)) for p in document.paragraphs]


def cosine(a: Vector, b: Vector) -> float:
    """The cosine of the angle between two unit vectors."""
    # fsum gives the same sum in whatever order the common places come.
    return math.fsum(a[place] * b[place] for place in a.keys() & b.keys())


def _features(folded: str, heading: str) -> dict[str, float]:
    stems = content_stems(folded)
    pairs = Counter(f"{a} {b}" for a, b in pairwise(stems))
    # A word repeated ten times is not ten times as telling.
    features = {stem: 1 + math.log(count) for stem, count in Counter(stems).items()}
    features.update((pair, _PAIR_WEIGHT * (1 + math.log(n))) for pair, n in pairs.items())
    for stem in content_stems(heading):
        features[stem] = features.get(stem, 0.0) + _HEADING_WEIGHT
    return features
