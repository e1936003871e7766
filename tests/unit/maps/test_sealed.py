"""Fields that are damaged anywhere are refused, and whole ones are read as before by every program."""

import gzip
import struct

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from earlier import FIELD, FILE, write_before
from hypothesis import given, settings
from hypothesis import strategies as st

from cohortreg.errors import UserError
from cohortreg.images.grid import Grid
from cohortreg.images.itk import to_sitk
from cohortreg.maps.coded import write_coded
from cohortreg.maps.exchange import Pair, read, write_field
from cohortreg.maps.sealed import read_whole, seal, seal_at
from cohortreg.maps.transforms import Transform, read_transform

AFFINE = np.array([[0, -1.5, 0, 7], [2.0, 0, 0, -3], [0, 0, 1.2, 20], [0, 0, 0, 1]])


def field(shape=(3, 4, 2)) -> Transform:
    affine = AFFINE[np.ix_([*range(len(shape)), 3], [*range(len(shape)), 3])]
    values = np.random.default_rng(1).normal(size=(len(shape), *shape))
    return Transform(values.astype(np.float32), Grid(shape, affine))


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    path = tmp_path_factory.mktemp("sealed") / "field.nii"
    write_before(path, field())
    return path


@pytest.mark.parametrize("shape", [(3, 4, 2), (5, 4)])
def test_programs_read_a_sealed_field_as_one_that_itk_wrote(tmp_path, shape):
    ours = field(shape)
    sitk.WriteImage(to_sitk(ours.displacement, ours.grid), str(tmp_path / "itk.nii"))
    write_field(tmp_path / "ours.nii", ours, Pair(ours.grid, ours.grid))
    theirs, read_back = (sitk.ReadImage(str(tmp_path / name)) for name in ("itk.nii", "ours.nii"))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(theirs), sitk.GetArrayFromImage(read_back))
    assert theirs.GetDirection() == read_back.GetDirection()
    loaded = [nibabel.load(tmp_path / name) for name in ("itk.nii", "ours.nii")]
    np.testing.assert_array_equal(loaded[0].get_fdata(), loaded[1].get_fdata())
    np.testing.assert_array_equal(loaded[0].affine, loaded[1].affine)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_one_wrong_byte_or_a_cut_anywhere_is_noticed(written, data):
    """Or leaves the voxels as they were, where nothing but the seal is gone."""
    whole = written.read_bytes()
    place = data.draw(st.integers(0, len(whole) - 1))
    if data.draw(st.booleans()):
        damaged = whole[:place]
    else:
        damaged = bytearray(whole)
        damaged[place] ^= data.draw(st.integers(1, 255))
    path = written.with_name("damaged.nii")
    path.write_bytes(damaged)
    try:
        found = read_transform(path)
    except UserError as error:
        assert str(path) in str(error)
    else:
        assert damaged == whole[: len(damaged)]
        np.testing.assert_array_equal(found.displacement, field().displacement)


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_a_part_of_zeros_is_noticed(written, data):
    whole = written.read_bytes()
    start, stop = sorted(data.draw(st.tuples(*[st.integers(0, len(whole))] * 2)))
    path = written.with_name("zeros.nii")
    path.write_bytes(whole[:start] + bytes(stop - start) + whole[stop:])
    if path.read_bytes() == whole:
        read_transform(path)
    else:
        with pytest.raises(UserError):
            read_transform(path)


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_a_field_for_other_programs_is_noticed_too(tmp_path_factory, data):
    """.nii.gz, where gzip's own checksum is at the end, which NIfTI's readers do not reach."""
    path = tmp_path_factory.mktemp("exported") / data.draw(st.sampled_from(["field.nii", "field.nii.gz"]))
    ours = field()
    write_field(path, ours, Pair(ours.grid, ours.grid))
    expected = sitk.GetArrayFromImage(
        sitk.DisplacementFieldTransform(read(path).transform).GetDisplacementField()
    )
    whole = path.read_bytes()
    place = data.draw(st.integers(0, len(whole) - 1))
    damaged = bytearray(whole)
    damaged[place] ^= data.draw(st.integers(1, 255))
    path.write_bytes(data.draw(st.sampled_from([damaged, whole[:place]])))
    try:
        found = read(path)
    except UserError as error:
        assert str(path) in str(error)
    else:
        values = sitk.DisplacementFieldTransform(found.transform).GetDisplacementField()
        np.testing.assert_array_equal(sitk.GetArrayFromImage(values), expected)


@pytest.mark.parametrize("by", [-64, -4, 4, 64])
def test_voxels_that_begin_elsewhere_than_the_header_says_are_noticed(tmp_path, by):
    """By vox_offset: what is read would be shifted by some voxels, and what is left would look foreign."""
    path, ours = tmp_path / "field.nii", field()
    write_field(path, ours, Pair(ours.grid, ours.grid))
    content = bytearray(path.read_bytes())
    (offset,) = struct.unpack_from("<f", content, 108)
    struct.pack_into("<f", content, 108, offset + by)
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"damaged|cut short"):
        read(path)


def test_a_file_that_an_earlier_version_wrote_is_read_as_it_was_and_still_written_so_here(tmp_path):
    path = tmp_path / "field.nii"
    path.write_bytes(FILE)
    found = read_transform(path)
    np.testing.assert_array_equal(found.displacement, FIELD.displacement)
    np.testing.assert_allclose(found.grid.affine, FIELD.grid.affine, atol=1e-6)
    assert seal_at(path) == "496:fa7242d0"
    write_before(tmp_path / "again.nii", FIELD)
    assert (tmp_path / "again.nii").read_bytes() == FILE


def test_a_field_of_an_earlier_version_is_read_unless_it_is_cut_short_or_no_number(tmp_path):
    ours = field()
    path = tmp_path / "field.nii"
    sitk.WriteImage(to_sitk(ours.displacement, ours.grid), str(path))
    assert seal_at(path) == ""
    np.testing.assert_array_equal(read_transform(path).displacement, ours.displacement)
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    with pytest.raises(UserError, match="cut short"):
        read_transform(path)
    path.write_bytes(whole[:-4] + np.float32(np.nan).tobytes())
    with pytest.raises(UserError, match="NaN or infinite"):
        read_transform(path)
    with pytest.raises(UserError, match="NaN or infinite"):
        read(path)


def test_another_program_that_writes_the_field_anew_is_believed(tmp_path, written):
    image = nibabel.load(written)
    path = tmp_path / "smoothed.nii"
    nibabel.save(nibabel.Nifti1Image(image.get_fdata(dtype=np.float32) * 2, None, image.header), path)
    np.testing.assert_allclose(read_transform(path).displacement, 2 * field().displacement)


def test_the_seal_tells_fields_apart_without_reading_them(tmp_path, written):
    other = field()
    other.displacement[0, 0, 0, 0] += 1
    write_before(tmp_path / "other.nii", other)
    write_before(tmp_path / "same.nii", field())
    assert seal_at(tmp_path / "same.nii") == seal_at(written) != seal_at(tmp_path / "other.nii")
    (tmp_path / "same.nii").write_bytes(written.read_bytes()[:-1])
    assert seal_at(tmp_path / "same.nii") == ""


def test_what_was_not_written_whole_is_not_sealed(tmp_path, written):
    path = tmp_path / "short.nii"
    path.write_bytes(written.read_bytes()[:400])
    with pytest.raises(OSError, match="not all of it was written"):
        seal(path)


def test_compressed_content_is_checked_to_its_end(tmp_path, written):
    whole = gzip.compress(written.read_bytes()[:-20])
    path = tmp_path / "field.nii.gz"
    for damaged in (whole[:-1], whole[:-8] + bytes(8)):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match=r"field\.nii\.gz is cut short or damaged"):
            read_whole(path)


def test_a_grid_that_itk_has_no_words_for_is_refused(tmp_path):
    sheared = AFFINE.copy()
    sheared[0, 2] = 0.3
    ours = Transform(field().displacement, Grid((3, 4, 2), sheared))
    with pytest.raises(UserError, match=r"cannot be written: .* shear"):
        write_field(tmp_path / "field.nii", ours, Pair(ours.grid, ours.grid))
    with pytest.raises(UserError, match=r"cannot be written: .* shear"):
        write_coded(tmp_path / "field.map.gz", ours)
    assert not list(tmp_path.iterdir())
