"""Syncs drop folders: lists the files, matches their names to raster sources, reads, records and moves them.

The outcome of a file is recorded under its target before the file is moved. So the next run can finish the work of a
killed run, and no file is lost, registered twice or overwritten.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import count
from os.path import realpath
from pathlib import Path

from sqlalchemy import Engine

from pipeline.catalogue import drop_files, drop_moves
from pipeline.catalogue.comparison import ChangedFile, Comparison, open_comparison, reject_long_uri
from pipeline.catalogue.drop_files import CandidateSource, DropScope
from pipeline.catalogue.drop_moves import FileMove
from pipeline.catalogue.file_row import FileRow
from pipeline.catalogue.sync_runs import RunReport, SyncRun
from pipeline.definitions.definition import short_hash
from pipeline.definitions.drop_file_names import interpret_name
from pipeline.definitions.drop_folder import KEEP, DropFolder
from pipeline.definitions.sources_toml import load_config
from pipeline.errors import (
    UNSEEN_CODES,
    CatalogueError,
    NotAllowed,
    NotFound,
    RasterError,
    Rejection,
)
from pipeline.ingest.register import (
    ProgressReporter,
    Reader,
    RunContext,
    RunOptions,
    Steps,
    count_listed,
)
from pipeline.raster import TimeRule
from pipeline.storage import (
    Location,
    StoredFile,
    encode_name,
    list_files,
    literal_location,
    rejection,
)
from pipeline.storage.allowed_roots import AllowedRoots
from pipeline.storage.move import fingerprint_at, move_file

RETRIED_CODES = frozenset({"unmatched", "not_the_supplier"})
"""Codes of rejections that end when a matching raster source is created; each run looks for one."""
FOLDER_NAME_LENGTH = 24
"""Characters reserved for the extra folder of a file whose name is taken."""


@dataclass(frozen=True)
class DropFolderFiles:
    """A drop folder and the locations of its files."""

    drop: DropFolder
    folder: Location
    done: Location | None
    """Where registered files are moved; None: they stay."""
    rejected: Location | None
    """Where rejected files are moved; None: they stay."""

    @property
    def id(self) -> str:
        """The id of the drop folder."""
        return self.drop.id

    @property
    def locations(self) -> list[Location]:
        """The locations to list; a rejected file may be corrected in the `rejected` folder."""
        return [self.folder, *([self.rejected] if self.rejected else [])]


def load_drop_folders(path: Path, *, empty: bool = False) -> list[DropFolderFiles]:
    """Return the drop folders of a sources.toml; raise CatalogueError that names what is wrong in it."""
    base = path.absolute().parent

    def locate(text: str) -> Location:
        return literal_location(text if "://" in text else base / text)

    return [
        DropFolderFiles(
            drop,
            locate(drop.folder),
            None if drop.done == KEEP else locate(drop.done),
            None if drop.rejected == KEEP else locate(drop.rejected),
        )
        for drop in load_config(path, empty=empty).drop
    ]


def sync_drop_folder(context: RunContext, files: DropFolderFiles, row: SyncRun) -> Steps:
    """Register dropped files in their raster sources. Raises CatalogueError, TransientError or RunInProgress."""
    with open_comparison(context.engine, files.drop, exclusive=True) as comparison:
        row.mark_killed_runs()
        run = open_drop_folder(context.engine, context.options, files)
        row.add_organisations(run.scope.organisation_ids or ())
        for move in drop_moves.list_pending_moves(context.engine, files.id):
            run.finish_move(move)
        run.list_and_compare(comparison, context.progress)
        comparison.update_rejections(None, complete=True)
        yield RunReport(unchanged=comparison.counts()["unchanged"])
        for unlisted in comparison.unlisted:
            yield run.record_rejection(unlisted, FileMove(unlisted.uri, unlisted.uri, ""))
        for batch in comparison.batches(context.options.batch_size):
            yield from run.register_batch(batch, context.reader, row)
        comparison.check_lock()


def open_drop_folder(
    engine: Engine, options: RunOptions, files: DropFolderFiles
) -> "DropFolderRun":
    """Return a run of a drop folder; raise CatalogueError if one of its folders or owners does not exist."""
    roots = AllowedRoots(options.roots)
    for location in filter(None, (files.folder, files.done, files.rejected)):
        if not location.in_bucket and not Path(location.base).is_dir():
            raise CatalogueError(
                f'"{files.id}" names the folder {location.base}, which does not exist'
            )
        try:
            roots.check(location.base if location.in_bucket else realpath(location.base))
        except NotAllowed as error:
            raise CatalogueError(f"{location.base}: {error}") from error
    return DropFolderRun(engine, options, files, drop_files.find_scope(engine, files.drop))


@dataclass(frozen=True)
class MatchedFile:
    """A dropped file and its raster source."""

    file: StoredFile
    source: CandidateSource
    time: datetime | None
    """The time in its name; None if the file must contain it."""


@dataclass(frozen=True)
class DropFolderRun:
    """One run of one drop folder."""

    engine: Engine
    options: RunOptions
    files: DropFolderFiles
    scope: DropScope

    def list_and_compare(self, comparison: Comparison, progress: ProgressReporter) -> None:
        """List the files and compare them with the catalogue."""
        targets = filter(None, (self.files.done, self.files.rejected))
        longest = max(
            (len(uri_prefix(target)) + FOLDER_NAME_LENGTH for target in targets), default=0
        )
        empty = {location.uri for location in self.files.locations if location.in_bucket}

        def movable_files() -> Iterator[StoredFile | Rejection]:
            for file in list_files(self.files.locations, self.options.roots):
                if isinstance(file, Rejection) and file.code == NotFound.code and file.uri in empty:
                    continue  # a prefix without objects is an empty folder
                yield reject_long_uri(file, longest + len(file.uri.rpartition("/")[2]))

        comparison.fill(count_listed(movable_files(), progress))
        comparison.compare(self.files.drop.settle_seconds, complete=False)

    def register_batch(self, batch: Sequence[ChangedFile], reader: Reader, row: SyncRun) -> Steps:
        """Register or reject the files of a batch, one by one."""
        matched = []
        for changed, match in self.match_files(batch):
            if isinstance(match, MatchedFile):
                matched.append(match)
            elif match is None:
                yield RunReport(
                    settling=int(changed.verdict == "settling"),
                    withheld=int(changed.verdict == "withheld"),
                    rejected=[changed.rejection] if changed.rejection else [],
                    repeated={changed.file.uri} if changed.rejection else set(),
                )
            elif changed.rejection is None or changed.rejection.code != match.code:
                yield self.reject(changed.file, match)
            elif not self._is_in_rejected(match.uri):
                yield RunReport(rejected=[changed.rejection], repeated={changed.file.uri})
        row.add_organisations({match.source.organisation_id for match in matched})
        for match, reading in zip(matched, self._read(matched, reader), strict=True):
            yield self.register_or_reject(match, reading)

    def match_files(
        self, batch: Sequence[ChangedFile]
    ) -> Iterator[tuple[ChangedFile, MatchedFile | Rejection | None]]:
        """Yield each file with its match, or with the rejection if no source matches, or with None if it is not read.

        Files in the `rejected` folder that no run moved there are left out.
        """
        zone = self.files.drop.time_zone
        aside = {file.file.uri for file in batch if self._is_in_rejected(file.file.uri)}
        foreign = aside - drop_files.find_rejected(self.engine, self.files.id, list(aside))
        names = [interpret_name(changed.file.path.stem, zone) for changed in batch]
        keys = (name.key for interpretations in names for name in interpretations)
        candidates = drop_files.find_candidates(self.engine, self.scope, keys)
        for changed, interpretations in zip(batch, names, strict=True):
            stays_rejected = changed.rejection and changed.rejection.code not in RETRIED_CODES
            if changed.verdict in ("settling", "withheld") or stays_rejected:
                if changed.file.uri not in aside:
                    yield changed, None
            elif changed.file.uri not in foreign:
                try:
                    self._require_own(changed.file)
                    source, time = drop_files.choose_source(interpretations, candidates, self.scope)
                    yield changed, MatchedFile(changed.file, source, time)
                except RasterError as error:
                    yield changed, rejection(changed.file, error)

    def _read(
        self, matched: Sequence[MatchedFile], reader: Reader
    ) -> Iterable[FileRow | Rejection]:
        """Read files. The time comes from the name; TIFFTAG_DATETIME counts only in a series."""
        zone = self.files.drop.time_zone
        shared = replace(self.options.reading, assigned=self.files.drop.assigned)
        options = {
            match.file.uri: replace(
                shared,
                time_rule=TimeRule(match.time, time_zone=zone, from_tag=match.source.temporal),
            )
            for match in matched
        }
        return list(reader([match.file for match in matched], options)) if matched else []

    def _require_own(self, file: StoredFile) -> None:
        """Raise NotAllowed if a link leads to the file or to a sidecar, because such files are not moved."""
        if not any(file.uri.startswith(uri_prefix(place)) for place in self.files.locations):
            raise NotAllowed("the file is a link out of the drop folder; put the file itself there")
        for name in file.sidecars if not self.files.folder.in_bucket else ():
            if file.path.with_name(name).is_symlink():
                raise NotAllowed(f"its sidecar {name} is a link; put the file itself there")

    def _is_in_rejected(self, uri: str) -> bool:
        rejected, inside = self.files.rejected, uri.startswith(uri_prefix(self.files.folder))
        return rejected is not None and not inside and uri.startswith(uri_prefix(rejected))

    def register_or_reject(self, match: MatchedFile, reading: FileRow | Rejection) -> RunReport:
        """Register or reject one file that was read, and move it."""
        if isinstance(reading, Rejection):
            return self.reject(match.file, reading, match.source)
        move, folder = self.plan_move(match.file, self.files.done), uri_prefix(self.files.folder)
        try:
            drop_files.register_dropped_file(
                self.engine, self.files.drop, folder, move, match.source.id, reading
            )
        except RasterError as error:
            return self.reject(match.file, rejection(match.file, error), match.source)
        self.finish_move(move)
        return RunReport(registered=1, bytes=reading.size, warnings=Counter(reading.warnings))

    def reject(
        self, file: StoredFile, reason: Rejection, source: CandidateSource | None = None
    ) -> RunReport:
        """Record a rejection, and move the file unless it could not be read or lies in `rejected`."""
        stays = reason.code in UNSEEN_CODES or self._is_in_rejected(file.uri)
        move = self.plan_move(file, None if stays else self.files.rejected)
        return self.record_rejection(reason, move, source)

    def record_rejection(
        self, reason: Rejection, move: FileMove, source: CandidateSource | None = None
    ) -> RunReport:
        """Record a rejection, and move the file."""
        owner = source.organisation_id if source else self.scope.owner
        drop_files.reject_dropped_file(self.engine, self.files.drop, reason, move, owner)
        self.finish_move(move)
        return RunReport(rejected=[replace(reason, uri=move.target)])

    def plan_move(self, file: StoredFile, location: Location | None) -> FileMove:
        """Return the move of a file to a free name in a location; without a location it stays."""
        sidecars = tuple(map(encode_name, file.sidecars))
        move = FileMove(file.uri, file.uri, file.fingerprint, sidecars)
        return move if location is None else self.find_free_target(move, uri_prefix(location))

    def find_free_target(self, move: FileMove, prefix: str) -> FileMove:
        """Return the move with a free target below a prefix; if the name is taken, it is in an extra folder."""
        name, extra = move.uri.rpartition("/")[2], short_hash(move.fingerprint)[:16]
        for attempt in count():
            folder = "" if attempt == 0 else f"{extra}/" if attempt == 1 else f"{extra}-{attempt}/"
            candidate = replace(move, target=f"{prefix}{folder}{name}")
            if candidate.target != move.target and self._is_free(candidate):
                return candidate
        raise AssertionError("unreachable")

    def _is_free(self, move: FileMove) -> bool:
        """Return whether the target does not exist, or seems to be the file itself."""
        if drop_moves.is_target_taken(self.engine, move.target):
            return False
        present = fingerprint_at(move.target)
        if present is not None:
            return present == move.own_fingerprint
        return all(fingerprint_at(target) is None for _, target in move.sidecar_moves())

    def finish_move(self, move: FileMove) -> None:
        """Move a file to its recorded target. Raises CatalogueError or TransientError if that fails."""
        if move.stays:
            return
        engine, name = self.engine, self.files.id
        while fingerprint_at(move.uri) == move.own_fingerprint:
            if move_with_sidecars(move):
                break
            retried = self.find_free_target(move, move.target.rpartition("/")[0] + "/")
            drop_moves.change_target(engine, name, move, retried.target)
            move = retried
        if size_part(fingerprint_at(move.target) or "") == size_part(move.fingerprint):
            drop_moves.end_move(engine, name, move, self._moved_fingerprint(move))
        else:  # the file disappeared or changed before it was moved
            drop_moves.cancel_move(engine, name, move)

    def _moved_fingerprint(self, move: FileMove) -> str:
        """Return the fingerprint of a moved file. A moved object may have another ETag."""
        location = literal_location(move.target)
        if not location.in_bucket:
            return move.fingerprint
        (moved,) = list_files([location], self.options.roots)
        return move.fingerprint if isinstance(moved, Rejection) else moved.fingerprint


def move_with_sidecars(move: FileMove) -> bool:
    """Move the sidecars, then the file; return False if a target is taken.

    The file is moved last, so that a move is complete when the file is no longer at its old place.
    """
    sidecars = [pair for pair in move.sidecar_moves() if fingerprint_at(pair[0]) is not None]
    return all(move_file(*pair) for pair in [*sidecars, (move.uri, move.target)])


def uri_prefix(location: Location) -> str:
    """Return the common beginning of the URIs of all files below a folder or prefix."""
    return location.real_uri.rstrip("/") + "/"


def size_part(fingerprint: str) -> str:
    """Return the part of a fingerprint that is the same for copies of a file."""
    return fingerprint.partition(".")[0]
