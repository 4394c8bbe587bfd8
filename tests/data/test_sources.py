"""Formats beyond plain files and tables: zstd, web archives, mail, reply structure; whole ones and broken ones."""

from __future__ import annotations

import gzip
import json
import mailbox
from email.message import EmailMessage
from io import BytesIO
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penchant.data.read import read
from penchant.data.threads import roots
from penchant.data.warc import page_text


def zstd(data: bytes) -> bytes:
    return pa.compress(data, codec="zstd", asbytes=True)


def test_zstd_frames_and_a_stream_cut_off(tmp_path: Path) -> None:
    lines = [json.dumps({"text": f"row {k} " + "xyz" * 50}).encode() + b"\n" for k in range(2000)]
    whole = zstd(b"".join(lines[:1000])) + zstd(b"".join(lines[1000:]))
    (tmp_path / "a.jsonl.zst").write_bytes(whole)
    (tmp_path / "b.txt.zst").write_bytes(zstd("wörds".encode()))
    reading = read(str(tmp_path))
    assert len(reading.rows) == 2001
    assert reading.rows[-1].text == "wörds"
    assert not reading.rejects
    (tmp_path / "a.jsonl.zst").write_bytes(whole[:-20])
    cut = read(str(tmp_path))
    assert [reject.cause for reject in cut.rejects] == ["unreadable"]


def archive(path: Path, wet: bool) -> None:
    warcio = pytest.importorskip("warcio")
    from warcio.statusandheaders import StatusAndHeaders
    from warcio.warcwriter import WARCWriter

    assert warcio
    page = "<html><head><title>T</title></head><body><nav>menu</nav>"
    page += "<p>Café&nbsp;one</p><script>x()</script><p>two<br>three"
    with open(path, "wb") as handle:
        writer = WARCWriter(handle, gzip=path.name.endswith(".gz"))
        for k, (status, media) in enumerate(
            [("200 OK", "text/html"), ("404 Not Found", "text/html"), ("200 OK", "image/png")]
        ):
            headers = StatusAndHeaders(status, [("Content-Type", f"{media}; charset=utf-8")], protocol="HTTP/1.1")
            if wet:
                writer.write_record(
                    writer.create_warc_record(
                        f"http://e.org/{k}", "conversion", BytesIO(b"plain text"), warc_content_type="text/plain"
                    )
                )
            else:
                record = writer.create_warc_record(
                    f"http://e.org/{k}", "response", BytesIO(page.encode()), http_headers=headers
                )
                writer.write_record(record)


@pytest.mark.parametrize("name", ["dump.warc.gz", "dump.warc"])
def test_warc_gives_the_text_of_pages_that_were_found(tmp_path: Path, name: str) -> None:
    archive(tmp_path / name, wet=False)
    [row] = read(str(tmp_path)).rows
    assert (row.source, row.text) == (f"{name}#1", "Café one\ntwo\nthree")
    assert row.columns["url"] == "http://e.org/0"


def test_wet_gives_every_conversion_whatever_the_text_column(tmp_path: Path) -> None:
    archive(tmp_path / "dump.warc.wet.gz", wet=True)
    assert [row.text for row in read(str(tmp_path), text_column="body").rows] == ["plain text"] * 3


def test_what_is_no_web_archive_is_one_reject(tmp_path: Path) -> None:
    pytest.importorskip("warcio")
    (tmp_path / "a.warc").write_bytes(b"not an archive\n" * 5)
    (tmp_path / "b.warc.gz").write_bytes(gzip.compress(b"neither\n"))
    reading = read(str(tmp_path))
    assert [(r.source, r.cause) for r in reading.rejects] == [("a.warc", "unreadable"), ("b.warc.gz", "unreadable")]


def test_page_text_of_a_page_with_open_ends() -> None:
    assert page_text("<head><style>p{}</style><body>a<div>b <b>c</b><form>d</form>e</nav>f") == "a\nb cef"


def test_mail_has_its_author_and_what_it_replies_to(tmp_path: Path) -> None:
    box = mailbox.mbox(tmp_path / "list.mbox")
    for k, reply in enumerate([None, "<0@x>", "<1@x>"]):
        mail = EmailMessage()
        mail["From"], mail["Subject"], mail["Message-ID"] = f"Jörg <J{k}@X.org>", "Grüße", f"<{k}@x>"
        if reply:
            mail["In-Reply-To"] = reply
        mail.set_content(f"Körper {k}\n")
        mail.add_alternative("<p>html</p>", subtype="html")
        box.add(mail)
    box.flush()
    rows = read(str(tmp_path)).rows
    assert [row.text.strip() for row in rows] == ["Körper 0", "Körper 1", "Körper 2"]
    assert rows[1].columns["author"] == "j1@x.org"
    assert rows[1].columns["subject"] == "Grüße"
    parents = {str(row.columns["id"]): row.columns["reply_to"] for row in rows}
    assert roots(parents, list(parents)) == ["<0@x>"] * 3


def test_lost_parents_and_rings() -> None:
    parents = {"a": "gone", "b": "gone", "c": "b", "x": "z", "y": "x", "z": "y", "w": "x", "self": "self", "top": None}
    ids = list(parents)
    assert dict(zip(ids, roots(parents, ids), strict=True)) == {
        **dict.fromkeys("abc", "gone"), **dict.fromkeys("wxyz", "x"), "self": "self", "top": "top",
    }  # fmt: skip


@given(st.lists(st.integers(-1, 30), min_size=1, max_size=30), st.randoms())
def test_roots_do_not_depend_on_the_order_and_join_replies(numbers: list[int], random) -> None:
    parents = {str(k): str(n) if n >= 0 else None for k, n in enumerate(numbers)}
    ids = list(parents)
    found = dict(zip(ids, roots(parents, ids), strict=True))
    random.shuffle(ids)
    assert dict(zip(ids, roots(parents, ids), strict=True)) == found
    for child, parent in parents.items():
        if parent in found:
            assert found[child] == found[parent]
