"""Warns about valid definitions that may be mistakes, without a database."""

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path, PurePath

from pipeline.definitions.definition import PLACEHOLDER
from pipeline.definitions.drop_folder import absolute_path
from pipeline.definitions.sources_toml import Config
from pipeline.storage import parse_location


def config_warnings(config: Config, folder: Path) -> Iterator[str]:
    """Yield warnings as text. Paths are relative to `folder`, the folder of the sources.toml."""
    users: dict[PurePath, list[str]] = defaultdict(list)
    for definition in config.source:
        if definition.group != "file" and "stem" in PLACEHOLDER.findall(definition.name):
            yield (
                f'"{definition.id}": its sources have several files; {{stem}} in name would be the name of the first '
                "file; use a name without {stem}"
            )
    entries = [(source.id, entry) for source in config.source for entry in source.files]
    for name, entry in [*entries, *((drop.id, drop.folder) for drop in config.drop)]:
        users[absolute_path(entry, folder)].append(name)
        location = parse_location(entry, folder)
        if not (location.in_bucket or location.on_web) and not Path(location.base).exists():
            yield f'"{name}": {location.base} does not exist'
    for path, ids in users.items():
        if len(ids) > 1:
            names = " and ".join(f'"{name}"' for name in ids)
            yield f"{names} have the same files: {path}"
