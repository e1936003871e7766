"""Configurations drawn from the JSON schema, as it is shipped, some of them with something wrong."""

import copy
from collections.abc import Mapping

import yaml
from configurations import CONFIG
from hypothesis import strategies as st

SCHEMA = yaml.safe_load((CONFIG.parent / "workflow/schemas/config.schema.yaml").read_text("utf-8"))
#: Texts that mean something here; all others are drawn.
TEXTS = {"cohort": ["tiny"], "images": ["tables/images.tsv"], "pairs": ["tables/pairs.tsv"], "root": ["raw"]}
TEXTS |= {"reference": ["affine", "identity", "a-1step"]}
NAMES = ["a", "b", "icon", "affine", "demons", "knees"]
#: Values that fit each other more often than those that are drawn one by one.
FITTING = {
    "grid": [[8, 8, 8], [16, 8, 16], [16, 16], [24, 16, 12]],
    "percentiles": [[0, 100], [1, 99], [99, 1]],
    "phantom": [None, {"labels": "x"}, {"grid": [8, 8, 8], "spacing": [1, 1, 2.5]}, {"grid": [8, 8, 8]}],
    "down": [[2, 4, 4], [1, 4, 4], [2, 4, 4, 4]],
    "up": [[4], [4, 4]],
    "exclude_rated": [None, None, "bad", ["bad", "doubtful"]],
    "features": [[4, 4], [4, 4, 4, 4]],
    "methods": [
        ["identity", "affine"],
        ["affine", "fit", "demons"],
        ["affine", "a-1step", "a-1step-fit"],
        ["affine", "a"],
    ],
    "deviations": [[0.1] * 5, [0.1]],
    "weights": [[0.2] * 5],
    "windows": [[0.1] * 3],
    "window_weights": [[0.5] * 3, [0.5]],
    "weight_from": [None],
    "weight_rise": [None],
}
#: What is put in the place of a value.
ODD = [
    None,
    "x",
    "1e-3",
    -1,
    0,
    0.5,
    10**12,
    True,
    [],
    [1],
    [[1]],
    {},
    {"a": 1},
    float("nan"),
    float("inf"),
    "a\nb",
]


def values(node: Mapping, key: str = "") -> st.SearchStrategy:
    """What a node of the schema allows; of names and sizes a few, so that they fit each other now and then."""
    if key in FITTING:
        return st.sampled_from(FITTING[key])
    node = SCHEMA["$defs"].get(node.get("$ref", "").rpartition("/")[2], {}) | node
    if parts := node.get("anyOf") or node.get("oneOf"):
        return st.one_of([values(part, key) for part in parts])
    if "const" in node or "enum" in node:
        return st.sampled_from(node.get("enum", [node.get("const")]))
    return OF_TYPE[node.get("type", "object")](node, key)


def _number(node: Mapping, key: str) -> st.SearchStrategy:
    least = node.get("minimum", node.get("exclusiveMinimum", 0) + 0.25)
    return st.sampled_from(
        [least, min(node.get("maximum", 100), least + 0.5), min(node.get("maximum", 9), 2)]
    )


def _integer(node: Mapping, key: str) -> st.SearchStrategy:
    least = node.get("minimum", 0)
    return st.integers(least, min(node.get("maximum", 9), least + 3))


def _array(node: Mapping, key: str) -> st.SearchStrategy:
    least = node.get("minItems", 0)
    items, unique = values(node.get("items", {}), key), node.get("uniqueItems", False)
    return st.lists(items, min_size=least, max_size=node.get("maxItems", least + 2), unique=unique)


@st.composite
def _object(draw, node: Mapping, key: str) -> dict:
    found = {}
    if named := node.get("patternProperties"):
        (part,) = named.values()
        return draw(st.dictionaries(st.sampled_from(NAMES), values(part, key), max_size=2))
    for name, part in node.get("properties", {}).items():
        if name in node.get("required", ()) or draw(st.booleans()):
            found[name] = draw(values(part, name))
    return found


OF_TYPE = {
    "null": lambda node, key: st.none(),
    "boolean": lambda node, key: st.booleans(),
    "string": lambda node, key: st.sampled_from(TEXTS.get(key, NAMES)),
    "number": _number,
    "integer": _integer,
    "array": _array,
    "object": _object,
}


def places(value: object) -> list[tuple[object, object]]:
    """Every part of a configuration, as what holds it and its key there."""
    parts = list(
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    )
    return [(value, key) for key, _ in parts] + [place for _, part in parts for place in places(part)]


@st.composite
def configurations(draw) -> dict:
    """A configuration that the schema allows, or one in which one to two things are other."""
    whole = copy.deepcopy(draw(values(SCHEMA)))
    for _ in range(draw(st.sampled_from([0, 0, 1, 2]))):
        holder, key = draw(st.sampled_from(places(whole)))
        change = draw(st.sampled_from(["value", "gone", "key"]))
        if change == "value":
            holder[key] = draw(st.sampled_from(ODD))
        elif change == "gone":
            del holder[key]
        elif isinstance(holder, dict):
            holder[draw(st.sampled_from(["neew", f"{key}s", 7, None]))] = holder.pop(key)
        if not places(whole):
            break
    return whole
