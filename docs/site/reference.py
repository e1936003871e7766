"""What is written from the package itself: configuration keys, settings, measures, captions, the command line.

As a program it writes those that are kept in the repository: `make generated`.
"""

import json
import re
import textwrap
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer.main
import yaml
from pydantic import ConfigDict, TypeAdapter
from pydantic.fields import FieldInfo

import cohortreg
from cohortreg.cli import app, commands  # noqa: F401  (registers every command)
from cohortreg.config import AvsmSettings, Configuration, VoxelMorphSettings
from cohortreg.evaluation.measures import MEASURES, UNION, Measure, in_captions
from cohortreg.icon.releases import RELEASES
from cohortreg.methods.registry import PAIRWISE, method_class
from cohortreg.paper.settings import Experiments
from cohortreg.report.figures.registry import FIGURES
from cohortreg.settings import Settings, keys, sections

REPOSITORY = Path(__file__).parents[2]
SCHEMA = REPOSITORY / "workflow" / "schemas" / "config.schema.yaml"
PAPER = REPOSITORY / "workflow" / "paper"
CAPTIONS = REPOSITORY / "workflow" / "report"
WIDTH = 120
#: The heading of keys that have none below them.
ALONE = "Single keys"
#: Below this, keys are in the table of docs/methods.md.
OF_METHODS = "models.{name}.settings."
#: Bounds in pydantic's words, and in the standard's.
BOUNDS = {"ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum"}
DIALECT = "https://json-schema.org/draft/2020-12/schema"


def configuration_keys(kind: type[Settings] = Configuration) -> str:
    """A table of the keys that have none below them, and one for each of the others."""
    tables: dict[str, list[str]] = {ALONE: []}
    found = fields(kind)
    groups = {path.partition(".")[0] for path in found if "." in path}
    for path, alike in found.items():
        key = path.partition(".")[0]
        values = " or ".join(dict.fromkeys(words for field in alike for words in _values_of(field)))
        cells = [f"`{path}`", values, default(kind, path, alike[0]), _cell(alike[0].description)]
        tables.setdefault(key if key in groups else ALONE, []).append(f"| {' | '.join(cells)} |")
    head = ["| key | values | default | what |", "| --- | --- | --- | --- |"]
    return "\n\n".join(f"## {key}\n\n{_of_names(head + rows)}" for key, rows in tables.items())


def fields(kind: type[Settings]) -> dict[str, list[FieldInfo]]:
    """The fields at each path of a section; several where kinds of one section have the key."""
    found: dict[str, list[FieldInfo]] = {}
    for path, field in keys(kind):
        if not path.startswith(OF_METHODS):
            found.setdefault(path, []).append(field)
    return found


def standard(node: Any) -> Any:
    """A JSON schema of pydantic's in the standard's words, without the titles that it makes of names."""
    if isinstance(node, list):
        return [standard(part) for part in node]
    if not isinstance(node, dict):
        return node
    named = {BOUNDS.get(key, key): standard(value) for key, value in node.items()}
    return {key: value for key, value in named.items() if key != "title" or isinstance(value, dict)}


def _of_names(rows: list[str]) -> str:
    """A table whose first column has names, which site/static/wide.css keeps in one piece."""
    return "\n".join(['<div class="names">', "", *rows, "", "</div>"])


def _values_of(field: FieldInfo) -> Iterator[str]:
    kind = Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation
    is_section = isinstance(kind, type) and issubclass(kind, Settings)
    config = None if is_section else ConfigDict(regex_engine="python-re")
    schema = standard(TypeAdapter(kind, config=config).json_schema())
    yield from values(schema, schema.get("$defs", {}))


def values(node: dict, definitions: dict) -> Iterator[str]:
    """In words, what a node of a JSON schema allows."""
    node = definitions.get(node.get("$ref", "").rpartition("/")[2], {}) | node
    if parts := node.get("anyOf") or node.get("oneOf"):
        for part in parts:
            yield from values(part, definitions)
        return
    if "enum" in node or "const" in node:
        yield ", ".join(
            f"`{json.dumps(value).strip(chr(34))}`" for value in node.get("enum", [node.get("const")])
        )
        return
    names = {
        "object": "mapping",
        "array": "list",
        "string": "text",
        "boolean": "true or false",
        "null": "`null`",
    }
    said = names.get(node.get("type", "object"), node.get("type"))
    items = node.get("items", {})
    if node.get("type") == "array" and ("enum" in items or items.get("type", "object") != "object"):
        said = f"list of {next(values(items, definitions))}"
    bounds = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤"}
    said += "".join(f", {sign} {node[key]:g}" for key, sign in bounds.items() if key in node)
    least, most = node.get("minItems"), node.get("maxItems")
    if most is not None:
        said += f", {most} of them" if least == most else f", {least} to {most} of them"
    yield said


def default(kind: type[Settings], path: str, field: FieldInfo) -> str:
    """The default of a key; nothing for a section, and for a key whose description says what holds without it."""
    if field.is_required():
        return "required"
    value = field.default
    written = isinstance(value, bool | int | float | str | list | dict) or value is None
    section = next(
        (part for part in _sections_of(kind, path) if path.rpartition(".")[2] in part.model_fields), None
    )
    sparse = section is not None and path.rpartition(".")[2] in section.sparse
    return f"`{_cell(json.dumps(value))}`" if written and not sparse else ""


def _sections_of(kind: type[Settings], path: str) -> Iterator[type[Settings]]:
    """The sections that have the key at a path."""
    parent = path.rpartition(".")[0]
    if not parent:
        yield kind
        return
    for known, field in keys(kind):
        if parent.startswith(known):
            yield from (part for end, part in sections(field.annotation) if known + end == parent)


def every_key(kind: type[Settings] = Configuration) -> str:
    """Rows of key and description."""
    rows = [f"| `{path}` | {_cell(alike[0].description)} |" for path, alike in fields(kind).items()]
    return "\n".join(["| key | what |", "| --- | --- |", *rows])


def method_settings() -> str:
    """A row for each setting of a method; methods whose setting is the same share one."""
    kinds = {name: method_class(name).Settings for name in PAIRWISE}
    kinds |= {"voxelmorph": VoxelMorphSettings, "avsm": AvsmSettings}
    rows: dict[str, list[str]] = {}
    for name, kind in kinds.items():
        for key, field in kind.model_fields.items():
            shown = re.sub(r"\d+\.\d{5,}", lambda found: f"{float(found[0]):.4g}", json.dumps(field.default))
            rows.setdefault(f"| `{key}` | `{shown}` | {_cell(field.description)} |", []).append(name)
    head = ["| method | setting | default | what |", "| --- | --- | --- | --- |"]
    return "\n".join([*head, *(f"| {', '.join(names)} {row}" for row, names in rows.items())])


def schema(kind: type[Settings]) -> str:
    """The JSON schema of a configuration, as YAML."""
    whole = {"$schema": DIALECT} | standard(kind.model_json_schema())
    if kind is Configuration:
        named = {name: standard(method_class(name).Settings.model_json_schema()) for name in PAIRWISE}
        own = whole["properties"]["method_settings"]
        own |= {"properties": named, "additionalProperties": False}
    head = "# Written from the package by `make generated`; an editor can check a configuration against it.\n"
    return head + yaml.safe_dump(
        whole, sort_keys=False, allow_unicode=True, width=WIDTH, default_flow_style=None
    )


def measures() -> str:
    """A row for each measure, with its columns in the tables."""
    return "\n".join(["| column | measure | what |", "| --- | --- | --- |", *map(_measure, MEASURES)])


def _measure(measure: Measure) -> str:
    columns = [measure.column, *(measure.of(name) for name in measure.parts(["{structure}"]))]
    text = measure.definition
    if measure.of_union:
        columns.append(measure.of(UNION))
        text += (
            f"; `{columns[-1]}`: of the union of all structures, if there are several, not part of the mean"
        )
    return f"| {', '.join(f'`{column}`' for column in columns)} | {_cell(measure.name)} | {text} |"


def captions() -> dict[Path, str]:
    """Captions of Snakemake's report: path -> text."""
    texts = {name: f"{figure.title}. {figure.caption}" for name, figure in FIGURES.items()}
    texts["pairs"] = (
        f"One row per method and pair. {_sentences('pairs')} ``failure``: why the pair was not registered. An empty "
        "cell: nothing to measure, or none. Dice is from 0 to 1."
    )
    texts["methods"] = (
        f"One row per method, means over the pairs that it registered: ``pairs``; ``failed`` is how many it did not. "
        f"``similarity``: what the method maximises. {_sentences('methods')} ``dice_std``: standard deviation of "
        "``dice_mean`` between pairs. ``hardware``: what times were measured on. ``..._low``, ``..._high``: ends of "
        "the mean's 95 % bootstrap confidence interval. ``p_value``: two-sided Wilcoxon signed-rank test of the pairs' "
        "Dice against the reference's, Holm-corrected over the rows. ``..._published``: published results. An empty "
        "cell: nothing to measure. Dice is from 0 to 1."
    )
    return {CAPTIONS / f"{name}.rst": textwrap.fill(text, WIDTH) + "\n" for name, text in texts.items()}


def _sentences(table: str) -> str:
    """The measures of a table in a sentence each; of those that a configuration names, Snakemake fills them in."""
    of_others = f'{{{{ snakemake.config.get("of_other_packages", {{}}).get("{table}", "") }}}}'
    return f"{in_captions(MEASURES, of_pairs=table == 'pairs')} {of_others}"


def published_models() -> str:
    """A row for each file of weights that can be imported."""
    rows = [
        "| model | file | grid | axes | intensities | mirrored |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for release in RELEASES:
        grid = " × ".join(map(str, release.grid))
        file = f"[{release.file}]({release.address}) of {release.repository}, {release.tag}"
        low, high = release.percentiles
        cells = [
            f"`{release.name}`",
            file,
            grid,
            release.axes,
            f"{release.intensities} (percentiles {low}, {high})",
        ]
        rows.append(f"| {' | '.join([*cells, release.mirror or 'any side'])} |")
    return "\n".join(rows)


def command_line() -> str:
    """A section for each command, in alphabetical order."""
    root = typer.main.get_command(app)
    found = sorted(leaves(root, "cohortreg"))
    return "\n\n".join(_command(name, command) for name, command in found)


def leaves(command, name: str):
    """Every command below a group, with its whole name."""
    for part, child in getattr(command, "commands", {}).items():
        if hasattr(child, "commands"):
            yield from leaves(child, f"{name} {part}")
        else:
            yield f"{name} {part}", child


def _command(name: str, command) -> str:
    shown = [param for param in command.params if not getattr(param, "hidden", False)]
    arguments = [param for param in shown if param.param_type_name == "argument"]
    usage = " ".join([name, "[OPTIONS]", *(_argument(param) for param in arguments)])
    rows = [f"| {_parameter(param)} | {_facts(param)} | {_cell(param.help or '')} |" for param in shown]
    parts = [f"## {name}", command.help or "", f"```text\n{usage}\n```"]
    if rows:
        parts.append(_of_names(["| | | |", "| --- | --- | --- |", *rows]))
    return "\n\n".join(parts)


def _argument(param) -> str:
    name = param.metavar or param.name.upper()
    name = f"{name}..." if param.nargs == -1 else name
    return name if param.required else f"[{name}]"


def _parameter(param) -> str:
    if param.param_type_name == "argument":
        return f"`{param.metavar or param.name.upper()}`"
    return ", ".join(f"`{option}`" for option in [*param.opts, *param.secondary_opts])


def _facts(param) -> str:
    """Whether it must be given; otherwise its default."""
    if param.required:
        return "required"
    if any(param.default is value for value in (None, False)) or param.default in ("", ()):
        return ""
    value = getattr(param.default, "value", param.default)
    value = " ".join(map(str, value)) if isinstance(value, tuple) else value
    return f"default `{_cell(str(value))}`"


def python() -> str:
    """What `import cohortreg` offers, from docstrings: functions, then the classes of what they return."""
    names = sorted(cohortreg.__all__, key=lambda name: (name[0].isupper(), name))
    parts = [_python(name) for name in names]
    return "\n".join(["```{eval-rst}", *parts, "```"])


def _python(name: str) -> str:
    if isinstance(getattr(cohortreg, name), type):
        return f".. autoclass:: cohortreg.{name}\n   :members:\n   :no-index-entry:\n"
    return f".. autofunction:: cohortreg.{name}\n"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


#: What `<!-- generated: NAME -->` becomes in the built documentation.
REFERENCES = {
    "configuration keys": configuration_keys,
    "keys of the paper": partial(configuration_keys, Experiments),
    "command line": command_line,
    "python": python,
}
#: What stands between `<!-- written: NAME -->` and `<!-- end -->` in the repository.
WRITTEN = {
    "every key": every_key,
    "keys of the paper": partial(every_key, Experiments),
    "measures": measures,
    "settings of methods": method_settings,
    "published models": published_models,
}
PAGES = (
    "config/README.md",
    "workflow/paper/README.md",
    "docs/methods.md",
    "docs/outputs.md",
    "docs/trained-models.md",
)
BETWEEN = re.compile(r"(<!-- written: (.+?) -->\n).*?(\n<!-- end -->)", re.DOTALL)


def generated() -> dict[Path, str]:
    """What each file of the repository has to hold that is written from the package."""
    found = captions() | {
        SCHEMA: schema(Configuration),
        PAPER / "config.schema.yaml": schema(Experiments),
    }
    for page in (REPOSITORY / name for name in PAGES):
        text = page.read_text("utf-8")
        found[page] = BETWEEN.sub(lambda part: f"{part[1]}\n{WRITTEN[part[2]]()}\n{part[3]}", text)
    return found


if __name__ == "__main__":
    for path, text in generated().items():
        path.write_text(text, "utf-8")
