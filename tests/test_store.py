"""Bytes on disk: processes, kills, damage."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from promptopt.store import Store, cache_folder

WRITER = """
import sys
from pathlib import Path
from promptopt.store import Store
store = Store(Path(sys.argv[1]))
for i in range(int(sys.argv[3])):
    store.write({f"{sys.argv[2]} {i}".encode(): b"value " * 50})
    print(i, flush=True)
"""


def writer(path: Path, name: str, entries: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), name, str(entries)], stdout=subprocess.PIPE, text=True
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "new" / "things.sqlite"


def test_what_was_written_is_read_again_by_another(path: Path) -> None:
    Store(path).write({b"a": b"1", b"b": b"", b"c": b"\x00\xff"})
    Store(path).write({b"a": b"2"})
    assert Store(path).read([b"a", b"b", b"c", b"d"]) == {b"a": b"2", b"b": b"", b"c": b"\x00\xff"}
    assert len(Store(path)) == 3


def test_looking_at_what_is_not_there_makes_nothing(path: Path) -> None:
    Store(path).clear()
    assert len(Store(path)) == 0
    assert not path.parent.exists()


def test_clearing_gives_the_room_back(path: Path) -> None:
    store = Store(path)
    store.write({bytes([i]): b"x" * 10_000 for i in range(100)})
    Store(path).clear()
    assert store.read([b"\x01"]) == {}
    assert len(store) == 0
    assert path.stat().st_size < 50_000


def test_a_killed_process_loses_nothing_that_it_had_written(path: Path) -> None:
    process = writer(path, "killed", 1_000_000)
    assert process.stdout
    for _ in range(200):
        last = int(process.stdout.readline())
    process.kill()
    process.communicate()
    keys = [f"killed {i}".encode() for i in range(last + 1)]
    assert Store(path).read(keys) == dict.fromkeys(keys, b"value " * 50)


def test_several_processes_write_at_once(path: Path) -> None:
    processes = [writer(path, name, 200) for name in "ab"]
    for process in processes:
        process.communicate()
        assert process.returncode == 0
    assert len(Store(path)) == 400


def test_several_threads_use_one_store(path: Path) -> None:
    store = Store(path)

    def use(name: int) -> None:
        for i in range(50):
            store.write({f"{name} {i}".encode(): b"x"})
            assert store.read([f"{name} {i}".encode()])

    threads = [threading.Thread(target=use, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(store) == 200


def test_a_damaged_file_is_made_anew(path: Path) -> None:
    Store(path).write({b"a": b"1"})
    path.write_bytes(b"no database" * 1_000)
    store = Store(path)
    assert store.read([b"a"]) == {}
    store.write({b"a": b"2"})
    assert Store(path).read([b"a"]) == {b"a": b"2"}


def test_a_damaged_entry_is_not_handed_out(path: Path) -> None:
    Store(path).write({b"a": b"the whole truth", b"b": b"1"})
    path.write_bytes(path.read_bytes().replace(b"truth", b"trash"))
    assert Store(path).read([b"a", b"b"]) == {b"b": b"1"}


def test_a_place_that_cannot_be_written_costs_a_warning_only(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    store = Store(tmp_path / "file" / "things.sqlite")
    with pytest.warns(UserWarning, match="nothing is cached"):
        store.write({b"a": b"1"})
    with pytest.warns(UserWarning, match="nothing is cached"):
        assert store.read([b"a"]) == {}


def test_where_caches_lie(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PROMPTOPT_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.delenv("PROMPTOPT_CACHE")
    assert cache_folder().name == "promptopt"
