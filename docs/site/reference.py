"""References that are written from the package itself: every configuration key, and the command line."""

import json
from collections.abc import Mapping
from pathlib import Path

import typer.main
import yaml

from cohortreg import config as configuration
from cohortreg.cli import app, commands  # noqa: F401  (registers every command)

CONFIG = Path(__file__).parents[2] / "config"
ENTRY = "[]"
NAMED_BY_USER = "{name}"
#: The heading of keys that have none below them.
ALONE = "Single keys"


def configuration_keys() -> str:
    """A table of the keys that have none below them, and one for each of the others."""
    defaults = yaml.safe_load((CONFIG / "paper.yaml").read_text("utf-8"))
    defaults |= yaml.safe_load((CONFIG / "config.yaml").read_text("utf-8"))
    schema, tables = configuration.schema(), {ALONE: []}
    paths = [path for _, path in configuration.key_paths(schema)]
    groups = {path.split(".")[0] for path in paths if "." in path}
    for path in paths:
        node, key = resolved(schema, path), path.split(".")[0]
        cells = [f"`{path}`", values(node), default(defaults, path), _cell(node["description"])]
        tables.setdefault(key if key in groups else ALONE, []).append(f"| {' | '.join(cells)} |")
    head = ["| key | values | default | what |", "| --- | --- | --- | --- |"]
    return "\n\n".join(f"## {key}\n\n{_of_names(head + rows)}" for key, rows in tables.items())


def _of_names(rows: list[str]) -> str:
    """A table whose first column has names, which site/static/wide.css keeps in one piece."""
    return "\n".join(['<div class="names">', "", *rows, "", "</div>"])


def resolved(schema: Mapping, path: str) -> Mapping:
    """The schema's node at a dotted path as `configuration.key_paths` gives it, with what it refers to."""
    node = schema
    for part in path.replace(ENTRY, f".{ENTRY}").split("."):
        node = {ENTRY: node.get("items"), NAMED_BY_USER: node.get("additionalProperties")}.get(part) or node[
            "properties"
        ][part]
    return _whole(node, schema["$defs"])


def _whole(node: object, definitions: Mapping) -> object:
    """A node with the definitions that it and its parts refer to in their place."""
    if isinstance(node, list):
        return [_whole(part, definitions) for part in node]
    if not isinstance(node, Mapping):
        return node
    referred = definitions[node["$ref"].split("/")[-1]] if "$ref" in node else {}
    return {key: _whole(part, definitions) for key, part in {**referred, **node}.items()}


def values(node: Mapping) -> str:
    """In words, what a schema's node, without references, allows."""
    if "anyOf" in node and "type" not in node:
        return " or ".join(values(part) for part in node["anyOf"])
    if "enum" in node:
        return ", ".join(f"`{json.dumps(value).strip(chr(34))}`" for value in node["enum"])
    kinds = node.get("type", "object")
    kinds = [kinds] if isinstance(kinds, str) else kinds
    names = {"object": "mapping", "array": "list", "string": "text", "boolean": "true or false"}
    said = " or ".join(names.get(kind, kind) for kind in kinds)
    items = node.get("items", {})
    if "array" in kinds and ("enum" in items or items.get("type", "object") != "object"):
        said = f"list of {values(items)}"
    bounds = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤"}
    said += "".join(f", {sign} {node[key]}" for key, sign in bounds.items() if key in node)
    least, most = node.get("minItems"), node.get("maxItems")
    if most is not None:
        said += f", {most} of them" if least == most else f", {least} to {most} of them"
    return said


def default(defaults: object, path: str) -> str:
    """The default at a path: of config.yaml, or of paper.yaml; of a list's entries, or of names, that of the first."""
    value = defaults
    for part in path.replace(ENTRY, f".{ENTRY}").split("."):
        if part == ENTRY:
            value = value[0] if value else None
        elif part == NAMED_BY_USER:
            value = next(iter(value.values()), None)
        elif not isinstance(value, Mapping) or part not in value:
            return ""
        else:
            value = value[part]
    mapping = value if isinstance(value, list) and value else [value]
    if any(isinstance(entry, Mapping) and entry for entry in mapping):
        return ""
    return f"`{_cell(json.dumps(value))}`"


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


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


#: What `<!-- generated: NAME -->` becomes.
REFERENCES = {"configuration keys": configuration_keys, "command line": command_line}
