"""What similarities are called in tables."""

from collections.abc import Iterable

#: Similarities whose display name is more than their name in capitals.
SIMILARITIES = {"squared_lncc": "squared LNCC", "mse_interpolated": "MSE, interpolated points"}


def similarity_in_words(similarity: str) -> str:
    """The display name of a similarity of the configuration."""
    return SIMILARITIES.get(similarity, similarity.upper())


def in_turn(similarities: Iterable[str]) -> str:
    """Display names of similarities that are maximised one after the other, each but once; empty ones are none."""
    return ", then ".join(dict.fromkeys(filter(None, similarities)))
