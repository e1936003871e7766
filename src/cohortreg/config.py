"""The configuration: validated once, here; inside, values are trusted.

The defaults are not in the code: config/config.yaml has a value for every key, and the file of another cohort
is merged over it. The schema, schemas/config.schema.yaml, describes every key.
"""

import math
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from cohortreg.errors import UserError

if TYPE_CHECKING:
    from jsonschema import ValidationError

DATA = "../shared/data"
#: How null is written where all is text.
NULL = ("", "~", "null", "Null", "NULL", "None")
#: What a cohort's own file replaces and does not complete.
REPLACED = ("structures", "method_settings", "phantom")
#: Ends the name of a row whose networks are optimised for each pair.
OPTIMISED = "-io"
#: Ends the name of a row whose maps are those of the row without it, refined by fit.
FITTED = "-fit"
#: What a model of ICON needs, and no other has; the same for its stages.
ICON_KEYS = ("network", "similarity", "regularity", "noise")
ICON_STAGE_KEYS = ("downsample", "stride", "window")
#: What a network of an architecture needs, and what else it may have.
NETWORK_KEYS = {
    "unet": ("down", "up"),
    "enc_dec": ("down", "up"),
    "conv_only": ("channels", "layers"),
    "mlp": ("hidden",),
    "dual_stream": ("down", "up"),
}
NETWORK_EXTRAS = {"unet": ("bottleneck",), "dual_stream": ("finest", "smoothing")}


def schema() -> dict:
    """The JSON schema of the configuration."""
    import yaml

    return yaml.safe_load(
        (resources.files("cohortreg") / "schemas" / "config.schema.yaml").read_text("utf-8")
    )


def load(defaults: Path, *overlays: Path) -> dict:
    """Read, merge and validate configuration files, later ones over earlier ones, as the workflow does.

    Raises UserError for a file that cannot be read, and what `validate` raises.
    """
    import yaml

    merged = {}
    for path in (defaults, *overlays):
        try:
            content = yaml.safe_load(Path(path).read_text("utf-8"))
        except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
            reason = " ".join(str(error).split())
            raise UserError(f"configuration {path}: cannot be read as YAML ({reason}).") from None
        if not isinstance(content or {}, Mapping):
            raise UserError(f"configuration {path}: it has no keys; see config/README.md.")
        merged = merge(merged, content or {})
    return validate(merged)


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


def merge(config: Mapping, overlay: Mapping) -> dict:
    """The overlay's values over those of config: mappings merge, anything else is replaced.

    The keys of REPLACED are replaced as a whole: a cohort has its own and not the demo's beside them. Of a network
    whose architecture the overlay names, keys of another architecture go. Images of a cohort's own are real unless it
    says itself that they are to be made.
    """
    merged = dict(config)
    if "phantom" in config and not {"images", "root"}.isdisjoint(overlay):
        merged["phantom"] = None
    for key, value in overlay.items():
        before = merged.get(key)
        if key in REPLACED or not isinstance(value, Mapping) or not isinstance(before, Mapping):
            merged[key] = value
            continue
        if key == "network" and value.get("architecture") in list(NETWORK_KEYS):
            before = {name: before[name] for name in before if name in _network_keys(value["architecture"])}
        merged[key] = merge(before, value)
    return merged


def _network_keys(architecture: str) -> tuple[str, ...]:
    return ("architecture", *NETWORK_KEYS[architecture], *NETWORK_EXTRAS.get(architecture, ()))


def validate(config: Mapping) -> dict:
    """The configuration, if it is one that a run can be built from, with numbers that were given as text as numbers.

    Raises UserError with one sentence that names the first wrong key and what to do about it.
    """
    known = schema()
    config = _as_asked(config, known, known["$defs"])
    error = first_error(known, config)
    if error is not None:
        raise UserError(_sentence(error))
    _check_preprocess(config["preprocess"], config["phantom"])
    for name, model in config["models"].items():
        _check_model(f"models.{name}", model, config["preprocess"]["grid"])
        _check_batches(f"models.{name}", model, config["training"])
    if config["report"]["reference"] not in config["methods"]:
        _fail(
            "report.reference",
            f"{config['report']['reference']!r} is not among methods; add it there or name one",
        )
    if config["exclude_rated"] and not config["ratings"]:
        _fail("exclude_rated", "needs ratings, the path of a report's qc.tsv")
    if "paper" in config:
        _check_paper(config)
    return dict(config)


def check_settings(
    settings: Mapping, names: Sequence[str], section: Sequence[str] = (), **own: Mapping
) -> None:
    """Raise UserError with one sentence unless a command's settings are such as the configuration may have.

    settings: name -> value. names: those that the command reads; it says itself which it needs, so that any may be
    missing, at every depth. section: what part of the configuration they belong to, such as ("phantom",), all of whose
    names are meant where none is given. own: the JSON schema of a setting that the configuration does not have so.
    """
    known = schema()
    rule = part_of_schema(known, section)
    rules = rule.get("properties", {})
    rules = {name: rules[name] for name in names or (rules if section else ())} | own
    whole = _without_needs({"properties": rules, "$defs": known["$defs"]})
    error = first_error(whole, dict(settings))
    if error is not None:
        raise UserError(_sentence(error, ".".join(section), "--settings"))


def part_of_schema(node: Mapping, path: Sequence[str]) -> Mapping:
    """The schema of a part of the configuration, such as ("models", "icon"): of a name of the user's, that of any."""
    for key in path:
        node = node.get("properties", {}).get(key) or node["additionalProperties"]
    return node


def _without_needs(rule: object) -> object:
    """A JSON schema that asks for no key, and for no number of them."""
    if isinstance(rule, list):
        return [_without_needs(part) for part in rule]
    if not isinstance(rule, Mapping):
        return rule
    needs = ("required", "minProperties")
    return {name: _without_needs(part) for name, part in rule.items() if name not in needs}


def check_model(name: str, model: Mapping) -> None:
    """Raise UserError with one sentence unless it is a whole model, such as the configuration has under `models`."""
    known = schema()
    rule = part_of_schema(known, ("models", name)) | {"$defs": known["$defs"]}
    error = first_error(rule, model)
    if error is not None:
        raise UserError(_sentence(error, f"models.{name}"))
    _check_model(f"models.{name}", model)


def complete(schema: Mapping[str, dict], given: Mapping, where: str) -> dict:
    """The settings of a method: those given, over the defaults in its schema.

    schema: name -> JSON schema of the setting, with `default` and `description`. where: the settings' place in the
    configuration. Raises UserError with one sentence that names the first wrong key.
    """
    whole = {"type": "object", "additionalProperties": False, "properties": schema}
    given = _as_asked(given, whole)
    error = first_error(whole, given)
    if error is not None:
        raise UserError(_sentence(error, where))
    return {name: part["default"] for name, part in schema.items()} | dict(given)


def trained_methods(models: Mapping) -> dict[str, tuple[str, int]]:
    """Methods that the models offer.

    Each `{model}-{n}step` stands for a model of ICON and the stage, from 1, that brings it to n steps; another model
    has one row of its name, for its last stage. With `-fit` behind any of them, its maps are refined by fit; with
    `-io`, the networks of an icon model's last stage are optimised for each pair.
    """
    methods = {}
    for name, model in models.items():
        steps, stages = 0, {}
        for number, stage in enumerate(model["stages"], start=1):
            steps += stage["steps"]
            row = f"{name}-{steps}step" if is_icon(model) else name
            stages[row] = (name, number)
        methods |= stages | {row + FITTED: stage for row, stage in stages.items()}
        if "optimisation" in model and is_icon(model):
            methods[row + OPTIMISED] = stages[row]
    return methods


def ratings_left_out(exclude_rated: str | Sequence[str] | None) -> list[str]:
    """The ratings whose pairs are left out, which the configuration names alone or as a list."""
    return [exclude_rated] if isinstance(exclude_rated, str) else list(exclude_rated or [])


def is_icon(model: Mapping) -> bool:
    """Whether a model's part of the configuration, or its card, is one of ICON."""
    return model.get("method", "icon") == "icon"


def expand_root(root: str) -> Path:
    """The folder that a table's paths start from, with $VARIABLES replaced.

    $COHORTREG_DATA, the one place for data outside the repository, is ../shared/data unless it is set.
    """
    if not os.environ.get("COHORTREG_DATA"):
        root = root.replace("${COHORTREG_DATA}", DATA).replace("$COHORTREG_DATA", DATA)
    return Path(os.path.expandvars(root)).expanduser()


def _fail(where: str, problem: str) -> None:
    raise UserError(f"configuration: {where}: {problem}; see config/README.md.")


def first_error(rule: Mapping, value: object) -> "ValidationError | None":
    """What is wrong first with a value under a JSON schema; None where nothing is."""
    from jsonschema import Draft202012Validator

    return min(Draft202012Validator(rule).iter_errors(value), key=_urgency, default=None)


def _urgency(error: "ValidationError") -> tuple[int, list[str]]:
    """An unknown key comes first, since a misspelt key is also a missing one."""
    return error.validator != "additionalProperties", [str(part) for part in error.absolute_path]


def _sentence(error: "ValidationError", part: str = "", source: str = "configuration") -> str:
    """What is wrong, where; part: the place in the configuration of what was validated, which was in the source."""
    where = ".".join(filter(None, [part, dotted(error.absolute_path)]))
    if error.validator == "additionalProperties":
        known = error.schema["properties"]
        unknown = next(key for key in error.instance if key not in known)
        where = f"{where}.{unknown}" if where else str(unknown)
        problem = (
            f"unknown key; did you mean {_nearest(str(unknown), known)}?" if known else "has no settings"
        )
    elif error.validator == "required":
        missing = next(key for key in error.validator_value if key not in error.instance)
        where = f"{where}.{missing}" if where else missing
        problem = "missing; take its default from config/config.yaml"
    else:
        problem = error.message
        named = not isinstance(error.instance, Mapping | list | None)
        if error.validator == "type" and "string" in error.validator_value and named:
            problem += "; put it in quotes"
        if description := error.schema.get("description"):
            problem += f" ({description})"
    end = "" if problem.endswith("?") else "; see config/README.md."
    return f"{source}: {where or 'the whole'}: {problem}{end}"


def dotted(path: Iterable) -> str:
    """models.icon.stages[1].steps for ("models", "icon", "stages", 1, "steps")."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).removeprefix(".")


def _nearest(unknown: str, known: Mapping) -> str:
    """The most similar key of the same mapping or, if none is similar, of the whole configuration."""
    if here := get_close_matches(unknown, known, n=1):
        return here[0]
    elsewhere = dict(key_paths(schema()))
    if there := get_close_matches(unknown, elsewhere, n=1):
        return elsewhere[there[0]]
    return get_close_matches(unknown, known, n=1, cutoff=0)[0]


def key_paths(node: Mapping, path: str = "") -> Iterator[tuple[str, str]]:
    """Every key that a schema node knows, as (key, dotted path); `{name}` stands for one of the user's."""
    for key, child in node.get("properties", {}).items():
        here = f"{path}.{key}" if path else key
        yield key, here
        yield from key_paths(child, here)
    if isinstance(named := node.get("additionalProperties"), Mapping):
        yield from key_paths(named, f"{path}.{{name}}")
    if isinstance(items := node.get("items"), Mapping):
        yield from key_paths(items, f"{path}[]")


def _as_asked(value: object, rule: Mapping, definitions: Mapping = {}, where: str = "") -> object:
    """A part of the configuration with numbers, truth values and null where its schema wants them and text was given.

    Snakemake takes all that is nested in --config for text, and YAML an exponent without a point before it. Raises
    UserError where a key is no text.
    """
    rule = definitions.get(rule.get("$ref", "").removeprefix("#/$defs/"), {}) | rule
    if isinstance(value, Mapping):
        named, others = rule.get("properties", {}), rule.get("additionalProperties")
        read = {}
        for key, part in value.items():
            here = f"{where}.{key}" if where else str(key)
            if not isinstance(key, str):
                _fail(here, f"the key {key!r} is not text; put it in quotes")
            part_rule = named.get(key, others if isinstance(others, Mapping) else {})
            read[key] = _as_asked(part, part_rule, definitions, here)
        return read
    if isinstance(value, list | tuple):
        items = rule.get("items", {})
        return [_as_asked(item, items, definitions, f"{where}[{place}]") for place, item in enumerate(value)]
    return _scalar(value, rule)


def _scalar(value: object, rule: Mapping) -> object:
    """A value without parts as its schema asks for it; one that does not fit stays as it is, for the validator."""
    kinds = {kind for part in (rule, *rule.get("anyOf", ())) for kind in _kinds(part)}
    choices = rule.get("enum", [])
    if isinstance(value, str) and value not in choices:
        if value in NULL and ("null" in kinds or None in choices):
            return None
        if "string" in kinds:
            return value
        if "boolean" in kinds and value.lower() in ("true", "false"):
            return value.lower() == "true"
        number = _number(value)
        value = number if kinds & {"integer", "number"} or number in choices else value
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)  # YAML has .nan and .inf, which are none of the numbers that a schema means
    return int(value) if isinstance(value, float) and value.is_integer() and "integer" in kinds else value


def _kinds(rule: Mapping) -> list[str]:
    kinds = rule.get("type", [])
    return [kinds] if isinstance(kinds, str) else kinds


def _number(text: str) -> int | float | str:
    """The number that a text is, or else the text."""
    try:
        number = float(text)
    except ValueError:
        return text
    if not math.isfinite(number):
        return text
    return int(text) if re.fullmatch(r"[-+]?[0-9]+", text) else number


def _check_preprocess(preprocess: Mapping, phantom: Mapping | None) -> None:
    if phantom and len(preprocess["grid"]) != 3:
        _fail(
            "preprocess.grid",
            f"{preprocess['grid']} is not 3D as phantoms are; real images have phantom: null",
        )
    low, high = preprocess["percentiles"]
    if low >= high:
        _fail("preprocess.percentiles", f"the first, {low}, must be below the second, {high}")


def _check_batches(where: str, model: Mapping, training: Mapping) -> None:
    """Each device, and each part that it computes at a time, gets as many pairs as the others."""
    parts = training["devices"] * training["nodes"] * training["accumulate"]
    for number, stage in enumerate(model["stages"]):
        if stage["batch_size"] % parts:
            reason = f"{stage['batch_size']} pairs cannot be divided into {parts} equal parts"
            _fail(
                f"{where}.stages[{number}].batch_size",
                f"{reason}, as training.devices, nodes and accumulate ask; change one of them",
            )


def _check_model(where: str, model: Mapping, grid: Sequence[int] | None = None) -> None:
    """Raise UserError where parts of a model do not fit each other, or the images' grid if it is known."""
    parts = [(where, model, ICON_KEYS, ("optimisation",))]
    parts += [
        (f"{where}.stages[{number}]", stage, ICON_STAGE_KEYS, ())
        for number, stage in enumerate(model["stages"])
    ]
    for at, part, needed, optional in parts:
        for key in (*needed, *optional):
            if is_icon(model) and key in needed and key not in part:
                _fail(f"{at}.{key}", "missing; take its default from config/config.yaml")
            if not is_icon(model) and key in part:
                _fail(
                    f"{at}.{key}", f"only a model of icon has it, and this one's method is {model['method']}"
                )
    if not is_icon(model):
        return
    if "settings" in model:
        _fail(f"{where}.settings", "a model of icon has none; its settings are the other keys")
    _check_network(f"{where}.network", model["network"])
    if model["noise"] and model["regularity"] != "icon":
        _fail(f"{where}.noise", f"is for regularity icon only, but regularity is {model['regularity']}")
    factors = [stage["downsample"] for stage in model["stages"]]
    for number, factor in enumerate(factors):
        if number and factor > factors[number - 1]:
            _fail(
                f"{where}.stages[{number}].downsample",
                f"is {factor} after {factors[number - 1]}, but stages go from coarse to fine",
            )
        if grid is None:
            continue
        if any(size % factor for size in grid):
            _fail(
                f"{where}.stages[{number}].downsample",
                f"{factor} does not divide preprocess.grid {list(grid)}; change one of the two",
            )
        stride, smallest = model["stages"][number]["stride"], min(grid) // factor
        if stride > smallest:
            _fail(
                f"{where}.stages[{number}].stride",
                f"is {stride}, but along one axis the stage's images have {smallest} voxels; give that or less",
            )


def network_problem(network: Mapping) -> tuple[str, str] | None:
    """What no network can be built from: where, from `network` on, and why. None where there is nothing."""
    architecture = network["architecture"]
    needed = NETWORK_KEYS[architecture]
    if missing := [key for key in needed if key not in network]:
        return f".{missing[0]}", f"missing; {architecture} needs {' and '.join(needed)}"
    if others := [key for key in network if key not in _network_keys(architecture)]:
        return f".{others[0]}", f"a network of architecture {architecture} has none; remove it"
    if "down" not in needed:
        return None
    down, up = network["down"], network["up"]
    seen = {"dual_stream": (1, "one image at a time")}.get(
        architecture, (2, "the moving and the fixed image")
    )
    if down[0] != seen[0]:
        return ".down[0]", f"must be {seen[0]}, {seen[1]}, but is {down[0]}"
    one_more = architecture == "enc_dec"
    if len(down) <= len(up) or (one_more and len(down) > len(up) + 1):
        more = "one more" if one_more else "more"
        return "", f"down has {len(down)} entries and up {len(up)}, but down must have {more} than up"
    return None


def _check_network(where: str, network: Mapping) -> None:
    if problem := network_problem(network):
        _fail(where + problem[0], problem[1])


def _check_paper(config: Mapping) -> None:
    presets = config["paper"]["presets"]
    if config.get("preset") not in presets:
        _fail("preset", f"no preset {config.get('preset')!r}; known are {', '.join(presets)}")
    for name, preset in presets.items():
        for network in ("enc_dec", "unet"):
            settings = {key: preset["networks"][network][key] for key in NETWORK_KEYS[network]}
            settings["architecture"] = network
            _check_network(f"paper.presets.{name}.networks.{network}", settings)
