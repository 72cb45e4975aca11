"""Read Mapbox vector tiles, as far as the tests need it."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

Point = tuple[int, int]


@dataclass
class Feature:
    """An outline in the coordinates of the tile, 0..4096 from its upper left corner."""

    id: int | None = None
    rings: list[list[Point]] = field(default_factory=list)
    values: dict[str, Any] = field(default_factory=dict)

    @property
    def box(self) -> tuple[int, int, int, int]:
        """Return the lowest x and y, and the highest x and y."""
        xs, ys = zip(*(point for ring in self.rings for point in ring), strict=True)
        return min(xs), min(ys), max(xs), max(ys)


def read_tile(tile: bytes) -> dict[str, list[Feature]]:
    """Return the features by layer."""
    return dict(_layer(content) for number, content in _fields(tile) if number == 3)


def _layer(content: bytes) -> tuple[str, list[Feature]]:
    parts = list(_fields(content))
    keys = [part.decode() for number, part in parts if number == 3]
    values = [next(_fields(part))[1] for number, part in parts if number == 4]
    name = next(part.decode() for number, part in parts if number == 1)
    return name, [_feature(part, keys, values) for number, part in parts if number == 2]


def _feature(content: bytes, keys: list[str], values: list[Any]) -> Feature:
    feature = Feature()
    for number, part in _fields(content):
        if number == 1:
            feature.id = part
        elif number == 2:
            tags = list(_varints(part))
            feature.values = {
                keys[k]: values[v] for k, v in zip(tags[::2], tags[1::2], strict=True)
            }
        elif number == 4:
            feature.rings = list(_rings(list(_varints(part))))
    return feature


def _rings(commands: list[int]) -> Iterator[list[Point]]:
    x = y = position = 0
    ring: list[Point] = []
    while position < len(commands):
        command, count = commands[position] & 7, commands[position] >> 3
        position += 1
        if command == 7:
            yield ring
            continue
        if command == 1:
            ring = []
        for _ in range(count):
            x, y = x + _signed(commands[position]), y + _signed(commands[position + 1])
            position += 2
            ring.append((x, y))


def _signed(number: int) -> int:
    return (number >> 1) ^ -(number & 1)


def _varints(content: bytes) -> Iterator[int]:
    number = shift = 0
    for byte in content:
        number |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            yield number
            number = shift = 0


def _fields(content: bytes) -> Iterator[tuple[int, Any]]:
    """Yield the number and the content (bytes or an integer) of each field of a protobuf message."""
    position = 0

    def varint() -> int:
        nonlocal position
        start = position
        while content[position] > 127:
            position += 1
        position += 1
        return next(_varints(content[start:position]))

    while position < len(content):
        key = varint()
        if key & 7 == 0:
            yield key >> 3, varint()
        else:
            assert key & 7 == 2, "only integers and bytes are supported"
            length = varint()
            yield key >> 3, content[position : position + length]
            position += length
