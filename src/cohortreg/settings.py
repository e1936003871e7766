"""The base of every section of the configuration: a type whose fields have a default, bounds and a description.

Text is read as the number, truth value or null that a field wants: Snakemake takes all that is nested in --config for
text, and YAML takes an exponent without a point before it for text. An error is one sentence with the place, the
nearest known key and the remedy.
"""

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Annotated, Any, ClassVar, Literal, Self, TypeVar, get_args, get_origin

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    Strict,
    TypeAdapter,
    ValidationError,
    WrapValidator,
    model_serializer,
    model_validator,
)
from pydantic_core import PydanticCustomError

from cohortreg.errors import UserError

#: How null is written where all is text.
NULL = ("", "~", "null", "Null", "NULL", "None")

Section = TypeVar("Section", bound="Settings")


class Settings(BaseModel):
    """A section of the configuration; inside, its values are trusted."""

    model_config = ConfigDict(extra="forbid", frozen=True, regex_engine="python-re")

    #: The page that an error refers to.
    page: ClassVar[str] = "config/README.md"
    #: Keys that are written only if they were given, as they are in the results of earlier versions.
    sparse: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def read(cls, values: object, where: str = "", source: str = "configuration") -> Self:
        """Validate a section.

        Args:
            values: Mapping of plain values, as YAML and JSON have them.
            where: The section's place, such as "method_settings.demons".
            source: What the values were given in.

        Raises:
            UserError: One sentence that names the first wrong key.
        """
        return read(cls, values, where, source)

    def plain(self) -> dict[str, Any]:
        """Return the section as plain values, as YAML and JSON have them."""
        return self.model_dump()

    @classmethod
    def foreign(cls, key: str, values: Mapping[str, Any]) -> str | None:
        """Say why a key of a neighbouring section does not belong here; None for a key that is simply unknown."""

    @classmethod
    def needed(cls, key: str) -> str:
        """Say why a key that is missing is needed."""
        return "missing, and it has no default"

    @model_validator(mode="before")
    @classmethod
    def _check_keys(cls, values: object) -> object:
        """An unknown key comes first, since a misspelt key is also a missing one."""
        if not isinstance(values, Mapping):
            return values
        strict = cls.model_config["extra"] == "forbid"
        for key in values if strict else ():
            if not isinstance(key, str):
                raise wrong(f"the key {key!r} is not text; put it in quotes", str(key))
            if key not in cls.model_fields:
                if problem := cls.foreign(key, values):
                    raise wrong(problem, key)
                raise PydanticCustomError(
                    "unknown_key", "unknown", {"key": key, "known": [*cls.model_fields]}
                )
        for key, field in cls.model_fields.items():
            if field.is_required() and key not in values:
                raise PydanticCustomError("missing_key", "missing", {"key": key, "problem": cls.needed(key)})
        return values

    @model_serializer(mode="wrap")
    def _given(self, handler: Any) -> dict[str, Any]:
        """Write every key, and those of `sparse` only if they were given."""
        left_out = {*self.sparse} - self.model_fields_set
        return {key: value for key, value in handler(self).items() if key not in left_out}


def wrong(problem: str, key: str = "") -> PydanticCustomError:
    """Return the error of a rule of our own, at a key such as "stages[1].steps"."""
    return PydanticCustomError("wrong", "wrong", {"key": key, "problem": problem})


def _number(value: Any) -> Any:
    """The number that a text is; everything else as it is."""
    if not isinstance(value, str):
        return value
    try:
        number = float(value)
    except ValueError:
        return value
    if not math.isfinite(number):
        return value
    return int(value) if re.fullmatch(r"[-+]?[0-9]+", value) else number


def _whole_number(value: object) -> object:
    value = _number(value)
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _as_given(value: Any, validate: Any) -> int | float:
    """A number keeps its kind, 1 or 1.0: digests of results are of its digits."""
    value = _number(value)
    validate(value)
    return value


def _flag(value: object) -> object:
    return {"true": True, "false": False}.get(value.lower(), value) if isinstance(value, str) else value


def _null(value: object) -> object:
    return None if isinstance(value, str) and value in NULL else value


Text = Annotated[str, Strict()]
Whole = Annotated[int, Strict(), BeforeValidator(_whole_number)]
Number = Annotated[float, Strict(), Field(allow_inf_nan=False), WrapValidator(_as_given)]
Flag = Annotated[bool, Strict(), BeforeValidator(_flag)]
#: Written in front of a type or null.
Nullable = BeforeValidator(_null)
#: Written in front of a choice of numbers.
Numeric = BeforeValidator(_whole_number)


@dataclass(eq=False)
class Fault(Exception):  # noqa: N818  (of what was given, which a user is told in a sentence)
    """What is wrong first with values: the place, such as "models.icon.stages[1].steps", the problem, and its kind."""

    place: str
    problem: str
    kind: str


def read(kind: Any, values: object, where: str = "", source: str = "configuration") -> Any:
    """Validate values of a type, a section or any other; see `Settings.read`."""
    try:
        return attempt(kind, values)
    except Fault as fault:
        place = ".".join(filter(None, [where, fault.place])) or "the whole"
        page = getattr(kind, "page", Settings.page)
        end = "" if fault.problem.endswith("?") else f"; see {page}."
        raise UserError(f"{source}: {place}: {fault.problem}{end}") from None


def attempt(kind: Any, values: object) -> Any:
    """Validate values of a type; raise `Fault` for what is wrong first."""
    try:
        return TypeAdapter(kind).validate_python(values)
    except ValidationError as error:
        raise _first(error, kind, values) from None
    except RecursionError:
        raise Fault("", "is nested too deeply", "recursion") from None


def _first(error: ValidationError, kind: type, values: object) -> Fault:
    faults = [
        (entry["type"] != "unknown_key", [str(part) for part in path], path, entry)
        for entry in error.errors(include_url=False)
        for path in [_place(entry["loc"], values)]
        if entry["type"] != "default_factory_not_called"
    ]
    *_, path, first = min(faults, key=lambda entry: entry[:2])
    context = first.get("ctx", {})
    key, problem = context.get("key", ""), _problem(first, context)
    if first["type"].startswith("union_tag") and isinstance(first["input"], Mapping):
        key = context["discriminator"].strip("'_()")
    if (is_key := first["loc"][-1:] == ("[key]",)) and isinstance(first["input"], str):
        path = path[:-1]
    here = dotted(path)
    if "problem" not in context and (about := _about(kind, here, is_key)):
        problem += f" ({about})"
    here = here + key if key.startswith("[") else ".".join(filter(None, [here, key]))
    return Fault(here.replace("\n", " "), problem.replace("\n", " "), first["type"])


def _place(loc: Iterable[int | str], values: object) -> list[int | str]:
    """The path of an error in what was given, without the tags of unions that pydantic puts into it."""
    path: list[int | str] = []
    for part in loc:
        if isinstance(values, Mapping) and part in values:
            values, part = values[part], str(part)
        elif isinstance(values, list | tuple) and isinstance(part, int) and part < len(values):
            values = values[part]
        else:
            continue
        path.append(part)
    return path


def _about(kind: type, path: str, is_key: bool) -> str | None:
    """The description of the field at a path, or of the names that it takes."""
    if not (isinstance(kind, type) and issubclass(kind, Settings)):
        return None
    for known, field in keys(kind):
        pattern = re.escape(known).replace(r"\{name\}", r"[^.]+").replace(r"\[\]", r"\[\d+\]")
        if re.fullmatch(pattern, path):
            if not is_key:
                return field.description
            name = get_args(get_args(field.annotation)[0])
            return next((part.description for part in name if getattr(part, "description", None)), None)
    return None


#: The kinds of JSON in the errors of pydantic.
_KINDS = {
    "int": "integer",
    "float": "number",
    "finite_number": "number",
    "bool": "boolean",
    "string": "string",
    "list": "array",
    "dict": "object",
    "mapping": "object",
    "model": "object",
    "model_attributes": "object",
    "union_tag_not_found": "object",
}
_BOUNDS = {
    "greater_than_equal": ("less than the minimum of", "ge"),
    "greater_than": ("less than or equal to the minimum of", "gt"),
    "less_than_equal": ("greater than the maximum of", "le"),
    "less_than": ("greater than or equal to the maximum of", "lt"),
}


def _problem(error: Mapping[str, Any], context: Mapping[str, Any]) -> str:
    """Describe what is wrong with a value."""
    value, kind = error["input"], error["type"]
    if kind == "unknown_key":
        known = context["known"]
        return f"unknown key; did you mean {_nearest(context['key'], known)}?" if known else "has no settings"
    if "problem" in context:
        return context["problem"]
    if error["loc"] and error["loc"][-1] == "[key]" and not isinstance(value, str):
        return f"the key {value!r} is not text; put it in quotes"
    shown = repr(value) if len(repr(value)) <= 200 else f"{repr(value)[:200]}..."
    if kind in _BOUNDS:
        words, bound = _BOUNDS[kind]
        limit = context[bound]
        return f"{shown} is {words} {int(limit) if limit == int(limit) else limit}"
    if kind in ("too_short", "string_too_short"):
        return f"{shown} should be non-empty" if not value else f"{shown} is too short"
    if kind in ("too_long", "string_too_long"):
        return f"{shown} is too long"
    if kind == "string_pattern_mismatch":
        return f"{shown} does not match {context['pattern']!r}"
    if kind == "literal_error":
        return f"{shown} is not one of [{context['expected'].replace(' or ', ', ')}]"
    if kind == "union_tag_invalid":
        return f"{context['tag']!r} is not one of [{context['expected_tags']}]"
    if kind == "union_tag_not_found" and isinstance(value, Mapping):
        return "missing, and it has no default"
    name = _KINDS.get(kind.removesuffix("_type"), "")
    if name == "number" and isinstance(value, float):
        value, shown = str(value), repr(str(value))
    if not name:
        return f"{shown}: {error['msg'][:1].lower()}{error['msg'][1:]}"
    quotes = name == "string" and not isinstance(value, Mapping | list | None)
    return f"{shown} is not of type '{name}'" + ("; put it in quotes" if quotes else "")


def dotted(path: Iterable[int | str]) -> str:
    """models.icon.stages[1].steps for ("models", "icon", "stages", 1, "steps")."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).removeprefix(".")


#: Whole configurations, in which a key is looked for that its section does not know.
WHOLE: list[type[Settings]] = []


def _nearest(unknown: str, known: Iterable[str]) -> str:
    """The most similar key of the same section or, if none is similar, of the whole configuration."""
    known = list(known)
    if here := get_close_matches(unknown, known, n=1):
        return here[0]
    elsewhere = {path.rpartition(".")[2]: path for kind in WHOLE for path, _ in keys(kind)}
    if there := get_close_matches(unknown, elsewhere, n=1):
        return elsewhere[there[0]]
    return get_close_matches(unknown, known, n=1, cutoff=0)[0]


def keys(kind: type[Settings], path: str = "") -> Iterator[tuple[str, Any]]:
    """Every key below a section, as its dotted path and its field; `{name}` stands for a name of the user's.

    Of a union, the keys of every kind, one after the other.
    """
    for key, field in kind.model_fields.items():
        here = f"{path}.{key}" if path else key
        yield here, field
        for end, section in sections(field.annotation):
            yield from keys(section, here + end)


def sections(kind: Any) -> Iterator[tuple[str, type[Settings]]]:
    """The sections in a type, each behind `.{name}`, `[]` or nothing."""
    if isinstance(kind, type) and issubclass(kind, Settings):
        yield "", kind
        return
    origin, parts = get_origin(kind), get_args(kind)
    if origin is Annotated:
        yield from sections(parts[0])
    elif origin in (dict, list):
        end = ".{name}" if origin is dict else "[]"
        yield from ((end + rest, section) for rest, section in sections(parts[-1]))
    elif origin is not Literal:
        for part in parts:
            yield from sections(part)
