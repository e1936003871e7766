"""Display names of similarities."""

from collections.abc import Iterable

from cohortreg.config import SIMILARITIES


def similarity_in_words(similarity: str) -> str:
    """The display name of a similarity of the configuration."""
    return SIMILARITIES[similarity].name if similarity in SIMILARITIES else similarity


def in_turn(similarities: Iterable[str]) -> str:
    """Display names of similarities that are maximised one after the other, each but once; empty ones are none."""
    return ", then ".join(dict.fromkeys(filter(None, similarities)))
