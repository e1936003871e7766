"""Damage, drawn at random: to bytes, to JSON, to tables, to names."""

import copy
import gzip
import random
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

#: Texts that cells, keys and names may be, in some spelling that a spreadsheet, YAML or a file system allows.
TEXTS = (
    *(
        "",
        " ",
        "a b",
        "'",
        '"',
        '"open',
        'say "no"',
        "a\u00a0b",
        "ä",
        "e\u0301",
        "日本",
        "\ufeff",
        "NA",
        "nan",
        "null",
        "None",
    ),
    *(
        "true",
        "0",
        "-1",
        "1e9",
        "007",
        "=1+1",
        "../up",
        "/etc/passwd",
        "a/b",
        "a\\b",
        "~",
        "$HOME",
        "$(touch executed)",
    ),
    *(
        "`touch executed`",
        ";touch executed",
        "%s%n",
        "{}",
        "{shard}",
        "<script>alert(1)</script>",
        "#",
        "a,b",
        "x" * 300,
    ),
    *(
        "a\0b",
        "\x1b[31m",
        "-x",
        "--help",
        ".",
        "..",
        "CON",
        "a:b",
        "a|b",
        "*",
        "a\u2028b",
        "a\x85b",
        "a\x0bb",
        "\udcff",
    ),
)

#: Values that a key of JSON or YAML may have though it should not.
VALUES = (
    *(None, True, False, 0, -1, 1, 2**31, 2**63, 8589934592, 1e-3, 1e308, -0.5, float("nan"), float("inf")),
    *("", "1", "1e-3", "text", [], [1], [0], [-1], [1, 2, 3], ["a"], [[]], {}, {"a": 1}, {"": None}),
)


# Bytes


def cut(data: bytes, random: random.Random) -> bytes:
    return data[: random.randrange(len(data))] if data else data


def head_flipped(data: bytes, random: random.Random) -> bytes:
    """Some bits of the first 352 bytes."""
    return _flipped(data, random, min(len(data), 352))


def flipped(data: bytes, random: random.Random) -> bytes:
    """One to three bits anywhere."""
    return _flipped(data, random, len(data))


def half_zeros(data: bytes, random: random.Random) -> bytes:
    """As a loss of power leaves a file whose blocks were not written."""
    keep = random.randrange(1 + len(data))
    return data[:keep] + bytes(len(data) - keep)


def empty(data: bytes, random: random.Random) -> bytes:
    return b""


def longer(data: bytes, random: random.Random) -> bytes:
    return data + random.randbytes(random.randrange(1, 5000))


def other(data: bytes, random: random.Random) -> bytes:
    """Another thing under this name."""
    page = b"<html><body>404 Not Found</body></html>"
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
    return random.choice(
        [page, pointer, b"\0" * 400, random.randbytes(1000), b"[" * 100_000, gzip.compress(data)]
    )


def _flipped(data: bytes, random: random.Random, size: int) -> bytes:
    damaged = bytearray(data)
    for _ in range(random.randint(1, 3) if size else 0):
        damaged[random.randrange(size)] ^= 1 << random.randrange(8)
    return bytes(damaged)


BYTES: tuple[Callable[[bytes, random.Random], bytes], ...] = (
    *(cut, cut, head_flipped, head_flipped, flipped, flipped, half_zeros, empty, longer, other),
)


def nifti_header(data: bytes, random: random.Random) -> bytes:
    """A field of a NIfTI header set to something absurd, in a .gz inside of it."""
    packed = data[:2] == b"\x1f\x8b"
    header = bytearray(gzip.decompress(data) if packed else data)
    sizes = [0, -1, 1, 7, 100, 2000, 32767]
    fields = {
        "dim": lambda: struct.pack_into("<h", header, 40 + 2 * random.randrange(8), random.choice(sizes)),
        "grid": lambda: struct.pack_into(
            "<3h", header, 42, *random.choice([(32767,) * 3, (1000,) * 3, (2000, 2000, 1)])
        ),
        "datatype": lambda: struct.pack_into(
            "<h", header, 70, random.choice([0, 1, 2, 8, 32, 64, 128, 768, 1536, 2304])
        ),
        "bitpix": lambda: struct.pack_into("<h", header, 72, random.choice([0, 1, 8, 64])),
        "pixdim": lambda: _pack_float(header, 76 + 4 * random.randrange(8), random),
        "vox_offset": lambda: _pack_float(header, 108, random),
        "slope": lambda: _pack_float(header, 112 + 4 * random.randrange(2), random),
        "units": lambda: struct.pack_into("B", header, 123, random.choice([0, 1, 2, 3, 255])),
        "codes": lambda: struct.pack_into(
            "<h", header, 252 + 2 * random.randrange(2), random.choice([0, 1, 2, 9, -1])
        ),
        "quaternion": lambda: _pack_float(header, 256 + 4 * random.randrange(6), random),
        "affine": lambda: _pack_float(header, 280 + 4 * random.randrange(12), random),
        "magic": lambda: struct.pack_into(
            "4s", header, 344, random.choice([b"ni1\0", b"n+2\0", b"\0\0\0\0"])
        ),
        "size": lambda: struct.pack_into("<i", header, 0, random.choice([0, 540, 349, 1543569408])),
    }
    fields[random.choice(list(fields))]()
    return gzip.compress(bytes(header)) if packed else bytes(header)


def _pack_float(header: bytearray, offset: int, random: random.Random) -> None:
    struct.pack_into(
        "<f", header, offset, random.choice([0, -1, 1e30, -1e30, 1e-30, float("nan"), float("inf"), 3, 1000])
    )


def text_header(data: bytes, random: random.Random) -> bytes:
    """A value of a MetaImage's or NRRD's header, which are lines of text, set to something absurd."""
    head, mark, voxels = data.partition(b"\n\n") if data.startswith(b"NRRD") else (data, b"", b"")
    lines = head.split(b"\n")
    texts = [place for place, line in enumerate(lines[:25]) if b"=" in line[:30] or b": " in line[:30]]
    if not texts:
        return cut(data, random)
    place = random.choice(texts)
    sign = b"=" if b"=" in lines[place][:30] else b":"
    key = lines[place].partition(sign)[0]
    absurd = [
        b"",
        b"0",
        b"-1",
        b"1",
        b"0 0 0",
        b"4 4 4",
        b"32767 32767 32767",
        b"2000 2000 2000",
        b"1e30 1 1",
        b"nan nan nan",
    ]
    absurd += [
        b"%s%s%s%n",
        b"/etc/passwd",
        b"../up.raw",
        b"LIST",
        b"text",
        b"gzip",
        b"raw",
        b"MET_DOUBLE",
        b"double",
        b"x" * 3000,
    ]
    lines[place] = key + sign + b" " + random.choice(absurd)
    return b"\n".join(lines) + mark + voxels


def checksum_fails(path: Path) -> bool:
    """Whether a file carries a checksum of its own, as gzip's and PNG's, that is not that of its content."""
    data = path.read_bytes()
    try:
        if data[:2] == b"\x1f\x8b":
            gzip.decompress(data)
        elif data[:8] == b"\x89PNG\r\n\x1a\n":
            return not _png_is_whole(data)
        elif b"CompressedData = True" in data[:1000]:
            zlib.decompress(data.partition(b"ElementDataFile = LOCAL\n")[2])
        elif data[:4] == b"NRRD" and b"encoding: gz" in data[:2000]:
            gzip.decompress(data.partition(b"\n\n")[2])
    except (OSError, EOFError, zlib.error):
        return True
    return False


def _png_is_whole(data: bytes) -> bool:
    place = 8
    while place + 12 <= len(data):
        (size,) = struct.unpack_from(">I", data, place)
        if place + 12 + size > len(data):
            return False
        (said,) = struct.unpack_from(">I", data, place + 8 + size)
        if zlib.crc32(data[place + 4 : place + 8 + size]) != said:
            return False
        if data[place + 4 : place + 8] == b"IEND":
            return True
        place += 12 + size
    return False


# JSON and mappings


def places(content: object, here: tuple = ()) -> list[tuple]:
    """The path of everything in nested mappings and lists, itself last."""
    items = (
        content.items()
        if isinstance(content, dict)
        else enumerate(content)
        if isinstance(content, list)
        else ()
    )
    return [place for key, value in items for place in places(value, (*here, key))] + ([here] if here else [])


def at(content: object, place: tuple) -> object:
    for key in place:
        content = content[key]
    return content


def changed(content: object, random: random.Random) -> tuple[object, str]:
    """A copy in which one thing is another, gone, doubled or added; and what, in words."""
    content = copy.deepcopy(content)
    place = random.choice(places(content))
    parent, key, name = at(content, place[:-1]), place[-1], ".".join(map(str, place))
    what = random.choice(["value", "value", "value", "gone", "added", "inside"])
    if what == "gone":
        del parent[key]
    elif what == "added" and isinstance(parent, dict):
        key = random.choice([*TEXTS[:20], f"{key}s", str(key).upper()])
        parent[key] = random.choice(VALUES)
        name = f"{name}: {key!r}"
    elif what == "inside" and isinstance(parent[key], list) and parent[key]:
        parent[key].append(random.choice([parent[key][-1], *VALUES]))
    else:
        parent[key] = random.choice([*VALUES, *TEXTS])
        what = f"{one_short(parent[key])} at"
    return content, f"{what} {name}"


def one_short(value: object) -> str:
    text = repr(value)
    return text if len(text) < 40 else text[:39] + "…"


def json_text(text: str, random: random.Random) -> str:
    """JSON that is no JSON any more, or something else than was asked for."""
    return random.choice(
        ["", "{}", "[]", "null", "1", '"text"', text[: len(text) // 2], text + "}", "[" * 100_000, "{" * 50]
    )


# Tables


def table(text: str, random: random.Random, sign: str = "\t") -> tuple[bytes, str]:
    """A table with something wrong, as bytes, and what in words."""
    lines = text.rstrip("\n").split("\n")
    rows = [line.split(sign) for line in lines]
    row, column = random.randrange(len(rows)), random.randrange(len(rows[0]))
    what = random.choice(
        [
            "cell",
            "cell",
            "cell",
            "cell",
            "twice",
            "column",
            "short",
            "long",
            "blank",
            "cut",
            "shuffled",
            "ends",
            "encoding",
            "bytes",
        ]
    )
    if what == "cell":
        rows[row][column] = random.choice([random.choice(TEXTS), rows[row][column] + random.choice(TEXTS)])
        what = f"cell {one_short(rows[row][column])} in column {rows[0][column] if row else column}"
    elif what == "twice":
        rows.insert(row, list(rows[row]))
    elif what == "column":
        rows = [cells[:column] + cells[column + 1 :] for cells in rows]
    elif what == "short":
        rows[row] = rows[row][:column]
    elif what == "long":
        rows[row] += [random.choice(TEXTS)] * random.randint(1, 3)
    elif what == "blank":
        rows.insert(row, [random.choice(["", " ", "\t\t"])])
    elif what == "shuffled":
        random.shuffle(rows)
    joined = "\n".join(sign.join(cells) for cells in rows) + "\n"
    data = joined.encode("utf-8", "surrogateescape")
    if what == "cut":
        data = cut(data, random)
    elif what == "ends":
        data = data.replace(b"\n", random.choice([b"\r\n", b"\r", b"\n\n", b"\x0b", "\u2028".encode()]))
    elif what == "encoding":
        what = random.choice(["utf-16", "utf-8-sig", "latin-1", "utf-32"])
        data = (joined + "ü\n" * (what == "latin-1")).encode(what, "replace")
    elif what == "bytes":
        data = flipped(data, random)
    return data, what
