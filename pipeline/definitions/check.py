"""What is odd about definitions that are right, as far as one can see without a database."""

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path, PurePath

from pipeline.definitions.definition import PLACEHOLDER, Definition
from pipeline.definitions.drop_folder import absolute_path
from pipeline.definitions.sources_toml import Config
from pipeline.storage import Location, parse_location


def config_warnings(config: Config, folder: Path) -> Iterator[str]:
    """Sentences for people; paths are relative to the folder of the sources.toml."""
    users: dict[PurePath, list[str]] = defaultdict(list)
    for definition in config.source:
        yield from named_by_a_file(definition)
        for entry in definition.files:
            users[absolute_path(entry, folder)].append(definition.id)
            yield from absent(definition.id, parse_location(entry, folder))
    for drop in config.drop:
        users[absolute_path(drop.folder, folder)].append(drop.id)
        yield from absent(drop.id, parse_location(drop.folder, folder))
    for place, names in users.items():
        if len(names) > 1:
            which = " and ".join(f'"{name}"' for name in names)
            yield f"{which} take the same files: {place}"


def named_by_a_file(definition: Definition) -> Iterator[str]:
    """A sentence where sources of several files are called after one of them."""
    if definition.group != "file" and "stem" in PLACEHOLDER.findall(definition.name):
        yield (
            f'"{definition.id}": {{stem}} is the name of one file, and its sources have several: which one depends on '
            "what came first; give a name without it"
        )


def absent(name: str, place: Location) -> Iterator[str]:
    """A sentence where a place on this machine is not there."""
    if not place.in_bucket and not Path(place.base).exists():
        yield f'"{name}": there is no {place.base}'
