"""Configuration files: read, merged and validated."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cohortreg.config.configuration import Configuration
from cohortreg.errors import UserError


def load(*paths: Path) -> Configuration:
    """Read, merge and validate configuration files, later ones over earlier ones, as the workflow does.

    Raises:
        UserError: A file cannot be read, or what is in them is no configuration.
    """
    return Configuration.read(merged(*paths))


def merged(*paths: Path) -> dict[str, Any]:
    """Read configuration files and merge them, later ones over earlier ones, as Snakemake does.

    Raises:
        UserError: A file cannot be read.
    """
    import yaml

    config: dict[str, Any] = {}
    for path in paths:
        try:
            content = yaml.safe_load(Path(path).read_text("utf-8")) or {}
        except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
            reason = " ".join(str(error).split())
            raise UserError(f"configuration {path}: cannot be read as YAML ({reason}).") from None
        if not isinstance(content, Mapping):
            raise UserError(f"configuration {path}: it has no keys; see config/README.md.")
        config = merge(config, content)
    return config


def merge(config: Mapping[str, Any], overlay: Mapping[str, Any]) -> dict[str, Any]:
    """Put the overlay's values over those of config: mappings merge, anything else is replaced."""
    result = dict(config)
    for key, value in overlay.items():
        before = result.get(key)
        nested = isinstance(value, Mapping) and isinstance(before, Mapping)
        result[key] = merge(before or {}, value) if nested else value
    return result


def repeated_keys(path: Path) -> list[str]:
    """A sentence for each key that a configuration file has twice in one mapping: of the two, YAML takes the last.

    None for what cannot be read as YAML.
    """
    import yaml

    try:
        nodes = [yaml.compose(Path(path).read_text("utf-8"), Loader=yaml.SafeLoader)]
    except (OSError, ValueError, RecursionError, yaml.YAMLError):
        return []
    seen, sentences = set(), []
    while nodes:
        node = nodes.pop()
        if id(node) in seen:  # an alias of a part that was looked at
            continue
        seen.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            nodes += node.value
        if not isinstance(node, yaml.MappingNode):
            continue
        lines: dict[str, int] = {}
        for key, value in node.value:
            nodes.append(value)
            line = key.start_mark.line + 1
            if isinstance(key, yaml.ScalarNode) and key.value in lines:
                sentences.append(
                    f"configuration {path}: line {line}: {key.value} is already given in line {lines[key.value]}; "
                    "the last counts, remove the other."
                )
            if isinstance(key, yaml.ScalarNode):
                lines[key.value] = line
    return sentences
