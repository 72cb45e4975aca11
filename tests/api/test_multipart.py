"""The form of an upload: its file arrives unchanged, wherever the network splits it."""

from collections.abc import Iterator

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pipeline.api.multipart import UploadForm
from pipeline.api.problems import Problem

KIND = "multipart/form-data; boundary=b"
HEAD = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
TRAPS = [b"\r", b"\n", b"\r\n", b"--", b"--b", b"\r\n-", b"\r\n--", b"\r\n--c", b"b", b"\0"]
CONTENTS = st.lists(st.sampled_from(TRAPS) | st.binary(max_size=5), max_size=30).map(b"".join)
CUTS = st.lists(st.integers(1, 12), max_size=200)


def parse_file(body: bytes, cuts: list[int]) -> bytes:
    """Parse a form in pieces of these sizes, and the rest at once; return its file."""
    received = bytearray()
    form = UploadForm(KIND, lambda _: None, received.extend)
    for size in cuts:
        form.write(body[:size])
        body = body[size:]
    form.write(body)
    form.finish()
    return bytes(received)


@given(CONTENTS, CUTS)
def test_the_received_file_equals_the_sent_one(content: bytes, cuts: list[int]) -> None:
    assume(b"\r\n--b" not in b"\r\n" + content + b"\r\n-")
    assert parse_file(HEAD + content + b"\r\n--b--\r\n", cuts) == content


@given(st.data())
def test_a_damaged_form_is_accepted_or_400(data: st.DataObject) -> None:
    body = bytearray(HEAD + b"content" + b"\r\n--b--\r\n")
    for _ in range(data.draw(st.integers(1, 3))):
        position = data.draw(st.integers(0, len(body) - 1))
        body[position : position + data.draw(st.integers(0, 5))] = data.draw(st.sampled_from(TRAPS))
    status = 200
    try:
        parse_file(bytes(body), [])
    except Problem as problem:
        status = problem.status
    assert status in (200, 400)


def test_a_truncated_form_is_rejected() -> None:
    body = HEAD + b"content" + b"\r\n--b--"
    assert parse_file(body, []) == b"content"
    for length in range(len(body)):
        with pytest.raises(Problem):
            parse_file(body[:length], [])


FIELD = b'--b\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n'
PARTS = "The form is not valid: Maximum segment count exceeded."
LONG = "The form is not valid: Maximum segment header length exceeded."
MANY = "The form is not valid: Maximum segment header count exceeded."
BARE = "The form is not valid: Missing Content-Disposition segment header."
FIELDS = "The fields besides the file may have at most 65536 bytes together."


@pytest.mark.parametrize(
    ("piece", "count", "sentence"),
    [
        (FIELD % (b"a", b""), 300_000, PARTS),
        (FIELD % (b"", b""), 300_000, PARTS),
        (b"--b\r\n\r\n\r\n", 300_000, BARE),
        (HEAD.replace(b'"file"', b'"other"') + b"x\r\n", 300_000, PARTS),
        (b"--b\r\n" + b"X: " + b"x" * 9000, 1, LONG),
        (b"--b\r\n" + b"x" * 9000, 1, LONG),
        (b"--b\r\n" + b"X: x\r\n" * 5000, 1, MANY),
        (FIELD % (b"a" * 4000, b""), 50, FIELDS),
        (FIELD % (b"a", b"b" * 7000), 50, FIELDS),
    ],
    ids=["empty", "nameless", "bare", "files", "header", "name of a header", "headers", "names", "values"],
)  # fmt: skip
def test_a_form_beyond_a_limit_is_rejected_at_once(piece: bytes, count: int, sentence: str) -> None:
    form = UploadForm(KIND, lambda _: None, lambda _: None)
    pieces = iter([piece] * count)
    with pytest.raises(Problem) as refused:
        write_all(form, pieces)
    assert (refused.value.status, refused.value.detail) == (400, sentence)
    assert len(list(pieces)) >= count - 101


def write_all(form: UploadForm, pieces: Iterator[bytes]) -> None:
    for piece in pieces:
        form.write(piece)


def test_a_form_within_the_limits_is_accepted() -> None:
    form = UploadForm(KIND, lambda _: None, lambda _: None)
    form.write(FIELD % (b"name", b"x" * 60_000))
    form.write((FIELD % (b"", b"")) * 90)
    form.write(HEAD + b"content\r\n--b--\r\n")
    form.finish()
    assert form.fields == {"name": "x" * 60_000}
