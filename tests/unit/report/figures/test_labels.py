"""Labels of points, placed where nothing is."""

import numpy as np

from cohortreg.report.figures.labels import overlap, place

AREA = np.array([0, 0, 100, 100.0])
NOTHING = np.empty((0, 4))


def boxes(centres, sizes) -> np.ndarray:
    return np.concatenate([centres - np.divide(sizes, 2), centres + np.divide(sizes, 2)], axis=1)


def test_shared_areas():
    one, others = np.array([[0, 0, 4, 2.0]]), np.array([[3, 1, 9, 9], [4, 0, 5, 5], [1, 0.5, 2, 1.5]])
    assert overlap(one, others).tolist() == [[1, 0, 1]]


def test_a_label_is_to_the_right_of_its_point_if_it_can():
    point = np.array([[50.0, 50.0]])
    assert place(point, [(20, 4)], NOTHING, AREA, 2).tolist() == [[62, 50]]
    assert place(point, [(20, 4)], np.array([[55, 45, 60, 55]]), AREA, 2).tolist() == [[38, 50]]
    # At the area's right edge there is no room.
    assert place(np.array([[90.0, 50.0]]), [(20, 4)], NOTHING, AREA, 2).tolist() == [[78, 50]]


def test_labels_of_a_crowd_cover_neither_one_another_nor_a_point():
    rng = np.random.default_rng(1)
    points = 40 + 12 * rng.random((15, 2))
    sizes = np.tile([12.0, 3.0], (15, 1))
    markers = boxes(points, np.ones((15, 2)))
    placed = boxes(place(points, sizes, markers, AREA, 1), sizes)
    assert not overlap(placed, markers).any()
    shared = overlap(placed, placed)
    assert np.allclose(shared, np.diag(np.diag(shared)))
    assert np.allclose(overlap(placed, AREA[None]), 36)


def test_where_all_is_taken_a_label_is_still_placed():
    assert place(np.array([[50.0, 50.0]]), [(20, 4)], AREA[None], AREA, 2).shape == (1, 2)
