"""The identity: what every method starts from."""

from cohortreg.methods.identity import Identity


def test_it_leaves_every_voxel_where_it_is(known):
    registration = Identity(Identity.Settings(), 1, 1)(known.moving, known.fixed)
    assert registration.forward.shape == (1, 3, *known.fixed.shape)
    assert not registration.forward.any() and not registration.inverse.any()


def test_it_leaves_every_pixel_where_it_is(flat):
    registration = Identity(Identity.Settings(), 1, 1)(flat.moving, flat.fixed)
    assert registration.forward.shape == (1, 2, *flat.fixed.shape)
    assert not registration.forward.any() and not registration.inverse.any()
