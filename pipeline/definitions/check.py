"""Warnings about valid definitions, as far as they are possible without a database."""

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path, PurePath

from pipeline.definitions.definition import PLACEHOLDER
from pipeline.definitions.drop_folder import absolute_path
from pipeline.definitions.sources_toml import Config
from pipeline.storage import Location, parse_location


def config_warnings(config: Config, folder: Path) -> Iterator[str]:
    """Yield sentences for people. Paths are relative to `folder`, which holds the sources.toml."""
    users: dict[PurePath, list[str]] = defaultdict(list)
    for definition in config.source:
        if definition.group != "file" and "stem" in PLACEHOLDER.findall(definition.name):
            yield (
                f'"{definition.id}": {{stem}} in name is the name of one file, but its sources have several files, '
                "and the first one would name them; use a name without {stem}"
            )
        for entry in definition.files:
            users[absolute_path(entry, folder)].append(definition.id)
            yield from _warn_if_absent(definition.id, parse_location(entry, folder))
    for drop in config.drop:
        users[absolute_path(drop.folder, folder)].append(drop.id)
        yield from _warn_if_absent(drop.id, parse_location(drop.folder, folder))
    for path, ids in users.items():
        if len(ids) > 1:
            names = " and ".join(f'"{name}"' for name in ids)
            yield f"{names} take the same files: {path}"


def _warn_if_absent(name: str, location: Location) -> Iterator[str]:
    if not location.in_bucket and not Path(location.base).exists():
        yield f'"{name}": {location.base} does not exist'
