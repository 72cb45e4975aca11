"""Moving files and objects: a move never overwrites another file, and completes after an interruption."""

import os
from collections.abc import Callable, Iterator
from hashlib import blake2b
from pathlib import Path
from tempfile import TemporaryDirectory

import obstore
import pytest

from pipeline.errors import CatalogueError
from pipeline.storage import file_uri
from pipeline.storage.move import fingerprint_at, move_file
from tests.support.s3 import Bucket, Server, new_bucket

SHARED_MEMORY = Path("/dev/shm")


@pytest.fixture(params=["same file system", "another file system"])
def target_folder(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """The folder to move to."""
    if request.param == "same file system":
        yield tmp_path / "elsewhere"
        return
    if not SHARED_MEMORY.is_dir() or SHARED_MEMORY.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("this machine has no second file system")
    with TemporaryDirectory(dir=SHARED_MEMORY) as folder:
        yield Path(folder) / "elsewhere"


@pytest.fixture
def make_file(tmp_path: Path, target_folder: Path) -> Callable[[bytes], tuple[Path, Path]]:
    """A function that writes a file and returns its path and its target."""
    target_folder.mkdir()

    def write(read_object: bytes) -> tuple[Path, Path]:
        source = tmp_path / "a #1.tif"
        source.write_bytes(read_object)
        os.utime(source, ns=(1, 1_700_000_000_123_456_789))
        return source, target_folder / "b 100%.tif"

    return write


def test_a_file_keeps_its_content_and_its_fingerprint(
    make_file: Callable[..., tuple[Path, Path]],
) -> None:
    source, target = make_file(b"content")
    before = fingerprint_at(file_uri(source))
    assert move_file(file_uri(source), file_uri(target))
    assert (source.exists(), target.read_bytes()) == (False, b"content")
    assert fingerprint_at(file_uri(target)) == before
    assert [path.name for path in target.parent.iterdir()] == [target.name]


def test_a_link_to_the_file_itself_counts_as_another_file(
    make_file: Callable[..., tuple[Path, Path]],
) -> None:
    source, target = make_file(b"content")
    target.symlink_to(source)
    assert not move_file(file_uri(source), file_uri(target))
    assert source.read_bytes() == b"content"


def test_the_target_of_a_link_is_not_copied(
    make_file: Callable[..., tuple[Path, Path]], tmp_path: Path
) -> None:
    source, target = make_file(b"")
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    source.unlink()
    source.symlink_to(secret)
    moved = move_file(file_uri(source), file_uri(target))
    assert moved == target.is_symlink()  # on one file system the link itself moves
    assert not [path for path in target.parent.iterdir() if not path.is_symlink()]


def test_the_folder_of_the_target_is_made(
    make_file: Callable[..., tuple[Path, Path]],
) -> None:
    source, target = make_file(b"content")
    inside = target.parent / "new" / "a.tif"
    assert move_file(file_uri(source), file_uri(inside))
    assert inside.read_bytes() == b"content"


@pytest.mark.parametrize("other", [b"another", b"differs", b""])
def test_another_file_is_never_overwritten(
    make_file: Callable[..., tuple[Path, Path]], other: bytes
) -> None:
    source, target = make_file(b"content")
    target.write_bytes(other)
    assert not move_file(file_uri(source), file_uri(target))
    assert (source.read_bytes(), target.read_bytes()) == (b"content", other)
    assert len(list(target.parent.iterdir())) == 1


def test_the_same_content_at_the_target_counts_as_moved(
    make_file: Callable[..., tuple[Path, Path]],
) -> None:
    source, target = make_file(b"content")
    target.write_bytes(b"content")
    assert move_file(file_uri(source), file_uri(target))
    assert (source.exists(), target.read_bytes()) == (False, b"content")


def test_a_file_that_has_both_names_loses_the_first(tmp_path: Path) -> None:
    source, target = tmp_path / "a.tif", tmp_path / "b.tif"
    source.write_bytes(b"content")
    os.link(source, target)
    assert move_file(file_uri(source), file_uri(target))
    assert (source.exists(), target.read_bytes()) == (False, b"content")


def test_an_interrupted_copy_is_completed_and_leaves_no_file(
    make_file: Callable[..., tuple[Path, Path]],
) -> None:
    source, target = make_file(b"content")
    digest = blake2b(os.fsencode(source), digest_size=8).hexdigest()
    (target.parent / f".{digest}.part").write_bytes(b"cont")
    assert move_file(file_uri(source), file_uri(target))
    left = [path.name for path in target.parent.iterdir()]
    same = source.parent.stat().st_dev == target.parent.stat().st_dev  # then nothing is copied
    assert left == [target.name] or (same and len(left) == 2)
    assert target.read_bytes() == b"content"


def test_moving_a_missing_file_gives_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(CatalogueError, match=r"cannot be moved to .*No such file"):
        move_file(file_uri(tmp_path / "nothing.tif"), file_uri(tmp_path / "b.tif"))
    assert fingerprint_at(file_uri(tmp_path / "nothing.tif")) is None


# Objects ---------------------------------------------------------------------------------------------------------


def read_object(bucket: Bucket, key: str) -> bytes:
    return bytes(obstore.get(bucket.store, key).bytes())


def object_uri(bucket: Bucket, key: str) -> str:
    return f"s3://{bucket.name}/{key}"


def test_an_object_is_moved(bucket: Bucket) -> None:
    bucket.put("in/a b.tif", b"content")
    assert move_file(object_uri(bucket, "in/a%20b.tif"), object_uri(bucket, "done/a%20b.tif"))
    assert bucket.keys() == ["done/a b.tif"]
    assert read_object(bucket, "done/a b.tif") == b"content"


def test_another_object_at_the_target_is_not_overwritten(bucket: Bucket) -> None:
    bucket.put("in/a.tif", b"content")
    bucket.put("done/a.tif", b"differs")
    bucket.put("done/b.tif", b"content")
    assert not move_file(object_uri(bucket, "in/a.tif"), object_uri(bucket, "done/a.tif"))
    assert read_object(bucket, "done/a.tif") == b"differs"
    assert move_file(object_uri(bucket, "in/a.tif"), object_uri(bucket, "done/b.tif"))
    assert bucket.keys() == ["done/a.tif", "done/b.tif"]


def test_an_object_sent_in_parts_equals_its_copy(bucket: Bucket) -> None:
    whole = os.urandom(11 * 2**20)
    obstore.put(bucket.store, "in/a.tif", whole, use_multipart=True, chunk_size=5 * 2**20)
    bucket.put("done/a.tif", whole[:-1] + bytes([whole[-1] ^ 1]))
    assert not move_file(object_uri(bucket, "in/a.tif"), object_uri(bucket, "done/a.tif"))
    obstore.put(bucket.store, "done/a.tif", whole, use_multipart=False)
    assert move_file(object_uri(bucket, "in/a.tif"), object_uri(bucket, "done/a.tif"))
    assert bucket.keys() == ["done/a.tif"]


def test_an_object_moves_to_another_bucket_through_this_machine(
    bucket: Bucket, s3_server: Server
) -> None:
    other_bucket, whole = new_bucket(s3_server), os.urandom(9 * 2**20)
    bucket.put("a.tif", whole)
    assert move_file(object_uri(bucket, "a.tif"), object_uri(other_bucket, "b/a.tif"))
    assert bucket.keys() == []
    assert read_object(other_bucket, "b/a.tif") == whole


def test_moving_a_missing_object_gives_one_sentence(bucket: Bucket) -> None:
    assert fingerprint_at(object_uri(bucket, "nothing.tif")) is None
    with pytest.raises(CatalogueError, match="cannot be moved to"):
        move_file(object_uri(bucket, "nothing.tif"), object_uri(bucket, "b.tif"))
