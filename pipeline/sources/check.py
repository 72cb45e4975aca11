"""What is odd about definitions that are right, as far as one can see without a database."""

import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path, PurePath

from pipeline.sources.config import Config
from pipeline.sources.drop import is_object, whole

WILDCARD = re.compile(r"[*?\[{]")


def warnings(config: Config, folder: Path) -> Iterator[str]:
    """Sentences for people; paths are relative to the folder of the sources.toml."""
    users: dict[PurePath, list[str]] = defaultdict(list)
    for definition in config.source:
        for entry in definition.files:
            users[whole(entry, folder)].append(definition.id)
            yield from absent(definition.id, fixed(entry), folder)
    for drop in config.drop:
        users[whole(drop.folder, folder)].append(drop.id)
        yield from absent(drop.id, drop.folder, folder)
    for place, names in users.items():
        if len(names) > 1:
            which = " and ".join(f'"{name}"' for name in names)
            yield f"{which} take the same files: {place}"


def absent(name: str, place: str, folder: Path) -> Iterator[str]:
    """A sentence where a place on this machine is not there."""
    if is_object(place):
        return
    path = Path(whole(place, folder))
    if not path.exists():
        yield f'"{name}": there is no {path}'


def fixed(entry: str) -> str:
    """What a glob names before its first wildcard, as far as it is a folder."""
    found = WILDCARD.search(entry)
    if not found:
        return entry
    return entry[: found.start()].rpartition("/")[0] + "/" if "/" in entry[: found.start()] else "."
