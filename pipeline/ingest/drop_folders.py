"""From drop folders to raster sources: list, match names, read, record, move; the one order in which that is done.

What becomes of a file is recorded under the place that it is moved to next, so that a killed run leaves nothing
that the next one does not finish: nothing is lost, nothing comes twice, nothing is overwritten.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import count
from os.path import realpath
from pathlib import Path

from sqlalchemy import Engine

from pipeline.catalogue.comparison import ChangedFile, Comparison, open_comparison, reject_long_uri
from pipeline.catalogue.drop_files import (
    CandidateSource,
    DropScope,
    choose,
    find_scope,
    match,
    record,
    refuse,
    refused_before,
)
from pipeline.catalogue.drop_moves import FileMove, end_move, pending, relocate, taken, void
from pipeline.catalogue.sync_runs import RunReport, SyncRun
from pipeline.definitions.definition import short_hash
from pipeline.definitions.drop_folder import KEEP, DropFolder
from pipeline.definitions.file_names import interpret_name
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
from pipeline.raster import OptionsByFile, RasterFile, TimeRule
from pipeline.storage import Location, StoredFile, list_files, literal_location, rejection
from pipeline.storage.allowed_roots import AllowedRoots
from pipeline.storage.move import fingerprint_at, move_file

RETRIED_CODES = frozenset({"unmatched", "not_the_supplier"})
"""Codes of refusals that end when a raster source comes which the file is meant for: that is looked up every time."""

FOLDER_NAME_LENGTH = 24
"""Characters of the name of a folder of its own, which a file gets where another one has its name."""


@dataclass(frozen=True)
class DropFolderFiles:
    """A drop folder, and where its files are."""

    drop: DropFolder
    folder: Location
    done: Location | None
    """Where registered files go; None: nowhere."""
    refused: Location | None

    @property
    def id(self) -> str:
        """The name of the drop folder."""
        return self.drop.id


def load_drop_folders(path: Path, *, empty: bool = False) -> list[DropFolderFiles]:
    """The drop folders of a sources.toml; raises CatalogueError that says what is wrong in it."""
    folder = path.absolute().parent
    return [
        DropFolderFiles(
            drop,
            located(drop.folder, folder),
            None if drop.done == KEEP else located(drop.done, folder),
            None if drop.refused == KEEP else located(drop.refused, folder),
        )
        for drop in load_config(path, empty=empty).drop
    ]


def located(text: str, folder: Path) -> Location:
    """The folder or prefix of a drop folder, relative to a folder."""
    return literal_location(text if "://" in text else folder / text)


def sync_drop_folder(context: RunContext, work: DropFolderFiles, row: SyncRun) -> Steps:
    """Bring what was dropped into its raster sources; raises CatalogueError, TransientError or RunInProgress."""
    with open_comparison(context.engine, work.drop, exclusive=True) as comparison:
        row.mark_killed_runs()
        run = open_drop_folder(context.engine, context.options, work)
        for move in pending(context.engine, work.id):
            run.finish(move)
        run.fill(comparison, context.progress)
        comparison.update_rejections(None, complete=True)
        report = RunReport(unchanged=comparison.counts()["unchanged"])
        for rejection in comparison.unlisted:
            run.refuse(rejection, FileMove(rejection.uri, rejection.uri, ""), None, report)
        yield report
        for batch in comparison.batches(context.options.batch_size):
            report = RunReport()
            try:
                run.take_in(batch, context.reader, report)
            finally:
                yield report
        comparison.check_lock()


def open_drop_folder(engine: Engine, options: RunOptions, work: DropFolderFiles) -> "DropFolderRun":
    """A drop folder, ready to be run; raises CatalogueError where something that it names is not there."""
    reception = DropFolderRun(engine, options, work, find_scope(engine, work.drop))
    reception.check_places()
    return reception


@dataclass(frozen=True)
class MatchedFile:
    """A dropped file, and the raster source that it is meant for."""

    file: StoredFile
    destination: CandidateSource
    time: datetime | None
    """What its name says; None where the file itself must say it."""


@dataclass(frozen=True)
class DropFolderRun:
    """One run of one drop folder."""

    engine: Engine
    options: RunOptions
    work: DropFolderFiles
    scope: DropScope

    def check_places(self) -> None:
        """Raises CatalogueError for a folder that is not there, or that may not be used."""
        roots = AllowedRoots(self.options.roots)
        for place in (self.work.folder, self.work.done, self.work.refused):
            if place is None:
                continue
            if not place.in_bucket and not Path(place.base).is_dir():
                raise CatalogueError(
                    f'there is no folder {place.base}, which "{self.work.id}" names'
                )
            try:
                roots.check(place.base if place.in_bucket else realpath(place.base))
            except NotAllowed as error:
                raise CatalogueError(f"{place.base}: {error}") from error

    @property
    def places(self) -> list[Location]:
        """Where files are looked for; what was refused may be mended where it lies."""
        return [self.work.folder, *([self.work.refused] if self.work.refused else [])]

    def fill(self, listing: Comparison, watcher: ProgressReporter) -> None:
        """List the files and compare them with what is known."""
        files = filter(self._is_no_empty_prefix, list_files(self.places, self.options.roots))
        places = (place for place in (self.work.done, self.work.refused) if place)
        longest = max((len(below(place)) + FOLDER_NAME_LENGTH for place in places), default=0)

        def movable(file: StoredFile | Rejection) -> StoredFile | Rejection:
            return reject_long_uri(file, longest + len(file.uri.rpartition("/")[2]))

        listing.fill(count_listed(map(movable, files), watcher))
        listing.compare(self.work.drop.settle_seconds, complete=False)

    def _is_no_empty_prefix(self, item: StoredFile | Rejection) -> bool:
        """A prefix below which nothing lies is an empty folder, and nothing to complain of."""
        empty = isinstance(item, Rejection) and item.code == NotFound.code
        return not (empty and item.uri in {place.uri for place in self.places if place.in_bucket})

    def take_in(self, batch: Sequence[ChangedFile], reader: Reader, report: RunReport) -> None:
        """Bring one batch in."""
        to_read, others = self.sorted_out(batch)
        for one in others:
            report.settling += one.verdict == "settling"
            report.withheld += one.verdict == "withheld"
            report.rejected += [one.rejection] if one.rejection else []
        parcels = []
        for one, meant in self.addressed(to_read):
            if isinstance(meant, MatchedFile):
                parcels.append(meant)
            elif one.rejection is None or one.rejection.code != meant.code:
                self.turn_away(one.file, meant, None, report)
            elif not self.is_aside(meant.uri):
                report.rejected.append(one.rejection)
        rules = {parcel.file.uri: self.time_rule(parcel) for parcel in parcels}
        files = [parcel.file for parcel in parcels]
        assigned = replace(self.options.reading, assigned=self.work.drop.assigned)
        options = OptionsByFile(assigned, rules)
        outcomes = list(reader(files, options)) if files else []
        for parcel, outcome in zip(parcels, outcomes, strict=True):
            self.settle(parcel, outcome, report)

    def time_rule(self, parcel: MatchedFile) -> TimeRule:
        """The name dates a file; TIFFTAG_DATETIME only where its source is a series."""
        zone = self.work.drop.time_zone
        return TimeRule(parcel.time, time_zone=zone, from_tag=parcel.destination.temporal)

    def sorted_out(
        self, batch: Sequence[ChangedFile]
    ) -> tuple[list[ChangedFile], list[ChangedFile]]:
        """The files that may have to be read, and the others, without whatever else lies among the refused files."""
        aside = {one.file.uri for one in batch if self.is_aside(one.file.uri)}
        known = refused_before(self.engine, self.work.id, sorted(aside)) if aside else set()
        to_read, others = [], []
        for one in batch:
            refused = one.rejection is not None and one.rejection.code not in RETRIED_CODES
            if one.verdict in ("settling", "withheld") or refused:
                others.append(one)
            else:
                to_read.append(one)
        return (
            [one for one in to_read if one.file.uri not in aside - known],
            [one for one in others if one.file.uri not in aside],
        )

    def addressed(
        self, found: Sequence[ChangedFile]
    ) -> Iterator[tuple[ChangedFile, MatchedFile | Rejection]]:
        """The files, and what their names say: the source that each is meant for, or why there is none."""
        named = [
            (one, interpret_name(one.file.path.stem, self.work.drop.time_zone)) for one in found
        ]
        keys = (meaning.key for _, several in named for meaning in several)
        known = match(self.engine, self.scope, keys)
        for one, several in named:
            try:
                self.require_inside(one.file)
                yield one, MatchedFile(one.file, *choose(several, known, self.scope))
            except RasterError as error:
                yield one, rejection(one.file, error)

    def require_inside(self, file: StoredFile) -> None:
        """Raises NotAllowed for what only a link leads to, or has a sidecar that is one: it is not ours to move."""
        if not any(file.uri.startswith(below(place)) for place in self.places):
            raise NotAllowed("a link leads out of the drop folder; put the file itself there")
        for name in file.sidecars if not self.work.folder.in_bucket else ():
            if file.path.with_name(name).is_symlink():
                raise NotAllowed(f"its sidecar {name} is a link; put the file itself there")

    def is_aside(self, uri: str) -> bool:
        """Whether a file lies among the refused ones."""
        refused = self.work.refused
        inside = uri.startswith(below(self.work.folder))
        return refused is not None and not inside and uri.startswith(below(refused))

    def settle(
        self, parcel: MatchedFile, outcome: RasterFile | Rejection, report: RunReport
    ) -> None:
        """Register or refuse one file that was read, and move it."""
        file, destination = parcel.file, parcel.destination
        if isinstance(outcome, Rejection):
            self.turn_away(file, outcome, destination, report)
            return
        move = self.move_of(file, self.work.done)
        try:
            record(
                self.engine, self.work.drop, below(self.work.folder), move, destination.id, outcome
            )  # fmt: skip
        except RasterError as error:
            self.turn_away(file, rejection(file, error), destination, report)
            return
        self.finish(move)
        report.registered += 1
        report.bytes += outcome.size

    def turn_away(
        self,
        file: StoredFile,
        rejection: Rejection,
        destination: CandidateSource | None,
        report: RunReport,
    ) -> None:
        """Refuse a file, and move it unless it could not be looked at."""
        stays = rejection.code in UNSEEN_CODES or self.is_aside(file.uri)
        move = self.move_of(file, None if stays else self.work.refused)
        self.refuse(rejection, move, destination, report)

    def refuse(
        self,
        rejection: Rejection,
        move: FileMove,
        destination: CandidateSource | None,
        report: RunReport,
    ) -> None:
        """Keep a refusal, and move the file."""
        owner = destination.organisation_id if destination else self.scope.owner
        refuse(self.engine, self.work.drop, rejection, move, owner)
        self.finish(move)
        report.rejected.append(replace(rejection, uri=move.target))

    def move_of(self, file: StoredFile, place: Location | None) -> FileMove:
        """The way of a file to where nothing else is."""
        here = FileMove(file.uri, file.uri, file.fingerprint, file.sidecars)
        return here if place is None else self.free(here, below(place))

    def free(self, move: FileMove, above: str) -> FileMove:
        """The same file on its way to a free name; in a folder of its own where there is another of its name."""
        name, own = move.uri.rpartition("/")[2], short_hash(move.fingerprint)[:16]
        for number in count():
            folder = "" if number == 0 else f"{own}/" if number == 1 else f"{own}-{number}/"
            found = replace(move, target=f"{above}{folder}{name}")
            if found.target != move.target and self.is_free(found):
                return found
        raise AssertionError("unreachable")

    def is_free(self, move: FileMove) -> bool:
        """Whether nothing is at the target, or what seems to be the file itself."""
        if taken(self.engine, [move.target]):
            return False
        there = fingerprint_at(move.target)
        if there is not None:
            return there == own_part(move.fingerprint)
        return all(fingerprint_at(target) is None for _, target in move.beside())

    def finish(self, move: FileMove) -> None:
        """Move a file to where it is recorded; raises CatalogueError or TransientError where that fails."""
        engine, name = self.engine, self.work.id
        if move.stays:
            return
        while fingerprint_at(move.uri) == own_part(move.fingerprint):
            if all_moved(move):
                break
            other = self.free(move, move.target.rpartition("/")[0] + "/")
            relocate(engine, name, move, other.target)
            move = other
        if size_part(fingerprint_at(move.target) or "") == size_part(move.fingerprint):
            end_move(engine, name, move, self.fingerprint_of(move))
        else:
            void(engine, name, move)  # it went away, or became another, before it was moved

    def fingerprint_of(self, move: FileMove) -> str:
        """The fingerprint of a file that was moved: that of an object may be another one."""
        place = literal_location(move.target)
        if not place.in_bucket:
            return move.fingerprint
        (found,) = list_files([place], self.options.roots)
        return move.fingerprint if isinstance(found, Rejection) else found.fingerprint


def all_moved(move: FileMove) -> bool:
    """Move the sidecars, then the file: where the file still is, not all is done. False where a name is taken."""
    beside = [pair for pair in move.beside() if fingerprint_at(pair[0]) is not None]
    return all(move_file(*pair) for pair in [*beside, (move.uri, move.target)])


def below(place: Location) -> str:
    """What the URIs of all files below a folder or prefix begin with."""
    return place.real_uri.rstrip("/") + "/"


def own_part(fingerprint: str) -> str:
    """The part of a fingerprint that is the file's own."""
    return fingerprint.partition("+")[0]


def size_part(fingerprint: str) -> str:
    """The part of a fingerprint that copies have in common."""
    return fingerprint.partition(".")[0]
