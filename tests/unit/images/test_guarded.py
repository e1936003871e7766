"""The functions that are called are the standard library's own, which do to a process whatever one asks for."""

import errno
import signal
from pathlib import Path

import numpy as np
import pytest
import SimpleITK

from cohortreg.errors import BadImage
from cohortreg.images import guarded
from cohortreg.images.guarded import call

HERE = Path(__file__)


def test_what_a_function_returns_arrives(tmp_path):
    path = tmp_path / "a.mha"
    image = SimpleITK.GetImageFromArray(np.arange(60, dtype=np.int16).reshape(3, 4, 5))
    SimpleITK.WriteImage(image, str(path))
    value, arrays = call("cohortreg.images.itk:read", path, about=path)
    assert value["size"] == [5, 4, 3]
    np.testing.assert_array_equal(arrays[0], SimpleITK.GetArrayFromImage(image))
    assert arrays[0].dtype == np.int16 and arrays[0].flags.writeable


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE])
def test_a_crash_is_the_files_and_the_next_call_goes_on(number):
    with pytest.raises(BadImage, match="crashes the library") as error:
        call("signal:raise_signal", int(number), about=HERE)
    assert str(HERE) in str(error.value)
    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        call("operator:floordiv", 1, 0, about=HERE)


def test_what_runs_forever_is_ended(monkeypatch):
    monkeypatch.setattr(guarded, "SECONDS", 1)
    with pytest.raises(BadImage, match="hang"):
        call("re:match", "(a+)+$", 60 * "a" + "b", about=HERE)


def test_more_memory_than_a_file_can_need_is_the_files_fault(monkeypatch):
    monkeypatch.setattr(guarded, "MEMORY", 2**28)
    with pytest.raises(BadImage, match="far more memory"):
        call("numpy:ones", [2**29], about=HERE)


@pytest.mark.parametrize(
    ("number", "kind"), [(signal.SIGKILL, MemoryError), (signal.SIGTERM, ChildProcessError)]
)
def test_a_process_that_the_machine_ended_is_not_the_files_fault(number, kind):
    with pytest.raises(kind):
        call("signal:raise_signal", int(number), about=HERE)


def test_what_the_system_refuses_stays_what_it_is(tmp_path):
    with pytest.raises(FileNotFoundError) as error:
        call("os:listdir", tmp_path / "none", about=HERE)
    assert (error.value.errno, error.value.filename) == (errno.ENOENT, str(tmp_path / "none"))


def test_modules_in_the_users_folder_are_not_imported(tmp_path, monkeypatch):
    (tmp_path / "numpy.py").write_text("open('imported', 'w')")
    monkeypatch.chdir(tmp_path)
    guarded._stop()
    with pytest.raises(RuntimeError):
        call("operator:floordiv", 1, 0, about=HERE)
    assert not (tmp_path / "imported").exists()


def test_an_image_gets_the_memory_that_its_size_needs(tmp_path, monkeypatch):
    path = tmp_path / "a.mha"
    SimpleITK.WriteImage(SimpleITK.Image(400, 400, 400, SimpleITK.sitkUInt8), str(path))
    call("cohortreg.images.itk:read", path, False, about=path)
    monkeypatch.setattr(guarded, "MEMORY", 2**24)
    _, arrays = call("cohortreg.images.itk:read", path, about=path)
    assert arrays[0].shape == (400, 400, 400)
