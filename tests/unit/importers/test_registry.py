"""Every entry is a command that its function can serve."""

import inspect
import typing

import pytest

from cohortreg.importers.found import Found
from cohortreg.importers.registry import IMPORTERS


@pytest.mark.parametrize("name", IMPORTERS)
def test_a_function_takes_what_its_command_gives(name):
    importer = IMPORTERS[name]
    parameters = inspect.signature(importer.function).parameters
    assert next(iter(parameters)) == importer.argument
    assert [*parameters][1:] == [
        "say",
        *(key for key in parameters if key in {*importer.options, *importer.tools}),
    ]
    assert set(parameters) == {importer.argument, "say", *importer.options, *importer.tools}
    for key, option in importer.options.items():
        assert parameters[key].default in (option.default, inspect.Parameter.empty), key
    assert typing.get_type_hints(importer.function)["return"] is Found


def test_a_command_shows_what_it_reads_and_has_no_option_twice():
    for importer in IMPORTERS.values():
        texts = [importer.source, importer.about, *(option.help for option in importer.options.values())]
        assert all(text[0].isupper() and text.endswith(".") for text in texts)
        shared = {"output", *(importer.draw._asdict() if importer.draw else ())}
        assert shared.isdisjoint(importer.options) and importer.argument not in shared
