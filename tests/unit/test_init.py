"""`import cohortreg`: what it offers, and that it loads nothing before it is used."""

import inspect
import json
import os
import subprocess
import sys
import typing

import pytest

import cohortreg


def test_every_name_is_there_with_a_docstring_an_example_and_types():
    assert set(dir(cohortreg)) == {*cohortreg.__all__, "__version__"}
    for name in cohortreg.__all__:
        value = getattr(cohortreg, name)
        assert value.__module__.startswith("cohortreg.") and inspect.getdoc(value)
        if inspect.isfunction(value):
            assert "Example:" in value.__doc__ and "Raises:" in value.__doc__, name
            signature = inspect.signature(value)
            assert all(each.annotation is not each.empty for each in signature.parameters.values())
            assert signature.return_annotation is not signature.empty


def test_what_editors_see_is_what_is_there():
    """Of `TYPE_CHECKING`, the same names from the same modules."""
    source = inspect.getsource(cohortreg)
    block = source[source.index("if TYPE_CHECKING:") : source.index("__version__")]
    names: dict[str, object] = {}
    exec(block.replace("if TYPE_CHECKING:", "if True:"), names)
    assert {name for name in names if not name.startswith("__")} == set(cohortreg.__all__)
    assert all(names[name] is getattr(cohortreg, name) for name in cohortreg.__all__)


def test_another_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'cohortreg' has no attribute 'regsiter'"):
        _ = cohortreg.regsiter
    assert not hasattr(cohortreg, "__wrapped__")


def test_nothing_is_loaded_before_it_is_used():
    program = (
        "import sys; before = set(sys.modules); import cohortreg; dir(cohortreg); import json;"
        "print(json.dumps(sorted(set(sys.modules) - before)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    loaded = {name.split(".")[0] for name in json.loads(done.stdout)}
    assert "cohortreg" in loaded
    assert loaded <= {"cohortreg", *sys.stdlib_module_names}


def test_two_images_need_no_library_of_reports_or_workflows():
    program = (
        "import sys, cohortreg; cohortreg.register, cohortreg.load, cohortreg.warp, cohortreg.measure, cohortreg.plot;"
        "print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "torch" in loaded
    assert not loaded & {
        "snakemake",
        "pandas",
        "matplotlib",
        "seaborn",
        "monai",
        "jinja2",
        "lightning_fabric",
        "rich",
    }


def test_types_can_be_resolved():
    """Tools that show them evaluate names of libraries that are imported for types alone."""
    import nibabel
    import SimpleITK

    known = {"sitk": SimpleITK, "SpatialImage": nibabel.spatialimages.SpatialImage}
    for name in ("register", "warp", "measure", "load"):
        assert typing.get_type_hints(getattr(cohortreg, name), localns=known)


@pytest.mark.parametrize(
    ("given", "found"), [({}, ["PASSIVE", "1000"]), ({"OMP_WAIT_POLICY": "ACTIVE"}, ["ACTIVE", None])]
)
def test_threads_that_wait_sleep_and_what_the_program_starts_is_not_told_so(given, found):
    """OpenMP itself says what it read. On a busy machine, a pair takes twenty times as long where they spin."""
    program = (
        "import os, cohortreg; cohortreg.register;"
        "print([os.environ.get(name) for name in ('OMP_WAIT_POLICY', 'GOMP_SPINCOUNT')])"
    )
    environment = {name: value for name, value in os.environ.items() if name != "GOMP_SPINCOUNT"}
    environment = {name: value for name, value in environment.items() if name != "OMP_WAIT_POLICY"} | given
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment | {"OMP_DISPLAY_ENV": "VERBOSE"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == str([given.get("OMP_WAIT_POLICY"), None])
    assert f"OMP_WAIT_POLICY = '{found[0]}'" in done.stderr
    assert found[1] is None or f"GOMP_SPINCOUNT = '{found[1]}'" in done.stderr
