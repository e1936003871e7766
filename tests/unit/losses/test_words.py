"""What similarities are called."""

from cohortreg.losses.words import in_turn, similarity_in_words


def test_similarities_in_words():
    words = [similarity_in_words(name) for name in ("mse", "squared_lncc", "mse_interpolated")]
    assert words == ["MSE", "squared LNCC", "MSE, interpolated points"]
    assert in_turn(words[:2]) == "MSE, then squared LNCC"
    assert in_turn(["", "MSE"]) == in_turn(["MSE", "MSE"]) == "MSE"
