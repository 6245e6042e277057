"""Stores behind URLs: memory:// for all that fsspec reads, a small server for gs://."""

import contextlib
import json
import pickle
import re
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

import fsspec
import numpy as np
import pytest

from jaxcell import config
from jaxcell.data.pipeline import Batches
from jaxcell.data.prepare import prepare
from jaxcell.data.store import Store
from jaxcell.data.verification import verify
from tests.data.conftest import cells, counts


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    path = tmp_path_factory.mktemp("local") / "store"
    how = dict(labels=["batch"], hold_out="batch=b", shards=3, progress=False)
    return prepare(path, cells(counts(90)), **how)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("JAXCELL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def url(made, cache):
    files = fsspec.filesystem("memory")
    files.put(str(made.path), "/bucket/store", recursive=True)
    yield "memory://bucket/store"
    files.rm("/bucket", recursive=True)


def same(a, b):
    for split in ("train", "valid"):
        asked = np.random.default_rng(0).permutation(a.sizes[split])
        one, other = a.read(split, asked), b.read(split, asked)
        for name in vars(one):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
        np.testing.assert_array_equal(a.index(split, "labels"), b.index(split, "labels"))
    np.testing.assert_array_equal(a.measured, b.measured)
    np.testing.assert_array_equal(a.stats["sum"], b.stats["sum"])
    assert a.table().splitlines()[:-1] == b.table().splitlines()[:-1]


def test_a_store_behind_a_url_is_the_same(made, url, cache):
    store = Store.open(url)
    assert store.path == url
    # Nothing but what says what the store is has been copied.
    copied = sorted(p.name for p in cache.rglob("*") if p.is_file())
    assert copied == ["datasets.json", "labels.json", "vocabulary.json"]
    same(store, made)
    store.verify()
    assert url in store.table()
    c = config.defaults()
    c.data.transforms, c.model.vocabulary = (), len(store.vocabulary)
    here = [Batches(s, c, "train", 16, stop=2)[1]["panel_counts"] for s in (made, store)]
    np.testing.assert_array_equal(*here)


def test_each_file_is_copied_once_when_it_is_needed(url, cache, monkeypatch):
    kind, asked = type(fsspec.filesystem("memory")), []
    real = kind.get_file
    monkeypatch.setattr(
        kind, "get_file", lambda s, name, *a, **k: (asked.append(name), real(s, name, *a, **k))[1]
    )
    Store.open(url).read("train", [0])
    assert sum("array_record" in name for name in asked) == 1
    again = pickle.loads(pickle.dumps(Store.open(url)))
    again.read("train", np.arange(again.sizes["train"]))
    assert len(asked) == len(set(asked))
    assert sum("array_record" in name for name in asked) == 3


def test_what_changed_there_is_copied_anew_and_what_broke_is_found(made, url, cache):
    files = fsspec.filesystem("memory")
    before = Store.open(url)
    before.read("train", [0])
    summary = json.loads((made.path / "store.json").read_text())
    files.pipe_file(
        "/bucket/store/store.json", json.dumps(summary | {"content_hash": "x"}).encode()
    )
    files.pipe_file("/bucket/store/labels.json", b'{"batch": ["a"')
    with pytest.raises(ValueError, match=r"memory://bucket/store/labels.json is damaged: 14 bytes"):
        Store.open(url)
    assert not [p for p in cache.rglob(".*") if p.is_file()]
    files.pipe_file(
        "/bucket/store/store.json", json.dumps(summary | {"schema_version": 9}).encode()
    )
    with pytest.raises(ValueError, match="store schema 9, this jaxcell reads 2"):
        Store.open(url)


def test_what_cannot_be_read_is_said(url, cache, monkeypatch):
    with pytest.raises(FileNotFoundError, match=r"memory://absent is not a store .*store.json"):
        Store.open("memory://absent/")
    with pytest.raises(ValueError, match=r"nowhere://x: Protocol not known.*gs:// and s3://"):
        Store.open("nowhere://x")
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(ImportError, match=re.escape("pip install 'jaxcell[cloud]'")):
        Store.open("s3://bucket/store")
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(ImportError, match=re.escape("pip install 'jaxcell[cloud]'")):
        Store.open(url)


@pytest.fixture
def bucket(made, monkeypatch):
    """What Google's client asks of a bucket, from the folder of a store; yields the requests."""
    asked = []

    class Objects(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_):
            pass

        def do_GET(self):
            name = unquote(self.path.partition("?")[0].rpartition("/o/")[2])
            content = (made.path / name.removeprefix("store/")).read_bytes()
            first, _, last = self.headers["Range"].removeprefix("bytes=").partition("-")
            first = int(first) if first else max(len(content) - int(last), 0)
            asked.append((name, first))
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {first}-{len(content) - 1}/{len(content)}")
            self.send_header("x-goog-generation", "1")
            self.send_header("Content-Length", str(len(content) - first))
            self.end_headers()
            # The client reads what it needs, and hangs up.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                self.wfile.write(content[first:])

    with ThreadingHTTPServer(("127.0.0.1", 0), Objects) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv(
            "CLOUD_STORAGE_EMULATOR_ENDPOINT", f"http://127.0.0.1:{server.server_port}"
        )
        yield asked
        server.shutdown()


def test_cells_under_gs_are_read_where_they_are(made, url, cache, bucket, monkeypatch):
    # The small files by fsspec, which finds them in memory; the records by ArrayRecord's client.
    memory = type(fsspec.filesystem("memory"))
    monkeypatch.setattr("fsspec.core.url_to_fs", lambda url: (memory(), url.replace("gs://", "/")))
    store = Store.open("gs://bucket/store")
    one = store.read("train", [7, 55, 0, 31])
    other = made.read("train", [7, 55, 0, 31])
    np.testing.assert_array_equal(one.counts, other.counts)
    np.testing.assert_array_equal(one.dataset, other.dataset)
    assert {name for name, _ in bucket} == {
        f"store/train-0000{i}-of-00003.array_record" for i in range(3)
    }
    assert len(bucket) == 3 + 4  # each file's index, each cell
    same(store, made)
    assert not list(cache.rglob("*.array_record"))


def test_verify_reads_what_lies_there_and_not_the_copies(made, url):
    assert verify(url, progress=False) == []  # all is copied now
    files = fsspec.filesystem("memory")
    first, second, third = sorted(p.name for p in made.path.glob("train-*"))
    content = bytearray(files.cat_file(f"/bucket/store/{first}"))
    content[len(content) // 2] ^= 4
    files.pipe_file(f"/bucket/store/{first}", bytes(content))
    files.pipe_file(f"/bucket/store/{second}", bytes(content[:-3]))
    files.rm(f"/bucket/store/{third}")
    assert verify(url, progress=False) == [
        f"{first} changed since prepare: its sha256 is another",
        f"{second} is truncated: {len(content) - 3} bytes, {len(content)} were written",
        f"{third} is missing",
    ]


def test_what_a_library_raises_names_the_url(url, monkeypatch):
    class NoCredentialsError(Exception):
        pass

    def refuse(self, *given):
        raise NoCredentialsError("Unable to locate credentials")

    monkeypatch.setattr(fsspec.filesystem("memory").__class__, "cat_file", refuse)
    message = f"{url} cannot be read: NoCredentialsError: Unable to locate credentials"
    with pytest.raises(OSError, match=message):
        Store.open(url)


def test_threads_copy_the_same_files_at_once(made, cache, monkeypatch):
    """Training and validation open their stores in one process."""
    at_work = threading.Barrier(4)
    local = fsspec.filesystem("file").__class__
    get = local.get_file

    def get_together(self, *given, **more):
        at_work.wait(timeout=10)
        get(self, *given, **more)
        at_work.wait(timeout=10)

    monkeypatch.setattr(local, "get_file", get_together)
    opened = []
    threads = [
        threading.Thread(target=lambda: opened.append(Store.open(f"file://{made.path}")))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [store.content_hash for store in opened] == [made.content_hash] * 4
    assert not [p for p in cache.rglob(".*") if p.is_file()]
