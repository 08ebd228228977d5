"""Files that appear whole or not at all, work in several processes, and what is registered by name."""

import os
import shlex
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import trc
from trc.common.files import require_file, sha256, write_text, writing
from trc.common.parallel import parallel_map, single_thread
from trc.common.registry import Registry


def test_text_is_written_as_utf8_into_folders_that_are_made_and_can_be_read_by_others(tmp_path):
    path = write_text(tmp_path / "a" / "b.txt", "λ ≤ 1\n")
    assert path.read_bytes() == b"\xce\xbb \xe2\x89\xa4 1\n"
    assert path.stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("place", ["while writing", "while renaming"])
def test_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, place):
    path = write_text(tmp_path / "a.txt", "old")

    def fail(*_):
        raise OSError("disk full")

    if place == "while renaming":
        monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk full"), writing(path) as file:
        file.write(b"new")
        if place == "while writing":
            fail()
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_nothing_appears_at_the_path_before_it_is_complete(tmp_path):
    path = tmp_path / "a.txt"
    with writing(path) as file:
        file.write(b"half")
        file.flush()
        assert not path.exists()
    assert path.read_bytes() == b"half"


def test_missing_file_is_named_with_the_remedy(tmp_path):
    for path in (tmp_path / "none.csv", tmp_path):  # a folder is no file
        with pytest.raises(FileNotFoundError, match=rf"^no table at {path}; make one\.$"):
            require_file(path, "table", "make one")


def test_sha256_is_that_of_the_standard(tmp_path):
    path = write_text(tmp_path / "abc", "abc")
    assert sha256(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


# Processes


def test_order_and_threads_of_the_caller_are_kept():
    torch.set_num_threads(2)
    assert list(parallel_map(pow, [(2, k) for k in range(5)])) == [1, 2, 4, 8, 16]
    with pytest.raises(KeyError), single_thread():
        assert torch.get_num_threads() == 1
        raise KeyError
    assert torch.get_num_threads() == 2
    with pytest.raises(ValueError, match="jobs must be a whole number, 1 or more, got 0"):
        list(parallel_map(pow, [(2, 3)], jobs=0))


# Registries


def test_registry_finds_by_name_and_refuses_a_second_thing_of_the_name():
    known: Registry = Registry("expert")

    @known.register("one")
    def one():
        """Registered."""

    def another():
        """Written elsewhere."""

    known.add("one", one)  # the same again, as when a notebook's cell is run twice
    assert known.find("one") is one and list(known) == ["one"]
    with pytest.raises(ValueError, match=r"there is an expert 'one' already \(test_common\); choose another name\."):
        known.register("one")(another)
    with pytest.raises(ValueError, match=r"unknown expert 'two'; known are one\."):
        known.find("two")
    known.add("three", 3, written=one)
    with pytest.raises(ValueError, match="there is an expert 'three' already"):
        known.add("three", 4, written=another)


# Files and streams, as users have them


@pytest.mark.parametrize(("umask", "mode"), [(0o077, 0o600), (0o002, 0o664)])
def test_new_file_follows_the_umask_and_one_that_is_replaced_keeps_its_rights(tmp_path, umask, mode):
    before = os.umask(umask)
    try:
        written = write_text(tmp_path / "new", "one")
    finally:
        os.umask(before)
    assert stat.S_IMODE(written.stat().st_mode) == mode
    written.chmod(0o640)
    write_text(written, "other")
    assert (stat.S_IMODE(written.stat().st_mode), written.read_text("utf-8")) == (0o640, "other")


def test_link_is_written_through(tmp_path):
    (tmp_path / "far").mkdir()
    link, target = tmp_path / "link", tmp_path / "far" / "file"
    link.symlink_to(target)
    write_text(link, "one")
    write_text(link, "other")
    assert link.is_symlink() and target.read_text("utf-8") == "other"
    assert {path.name for path in tmp_path.iterdir()} == {"far", "link"}


def test_home_is_understood_wherever_a_path_is_given(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    problem = trc.make_problem("double_integrator")
    data = trc.generate_dataset(problem, 40, seed=1)
    assert trc.load_dataset(data.save("~/data.npz")).costs.equal(data.costs)
    model = trc.TinyRecursiveControl.create_small(problem=problem, seed=0)
    trc.load_model(trc.save_model(model, "~/model.safetensors"))
    trc.train(model, data, problem, epochs=1, output_dir="~/run")
    assert {path.name for path in tmp_path.iterdir()} >= {"data.npz", "model.safetensors", "run"}
    assert not list((tmp_path / "here").iterdir())


SAY = "from trc.common.streams import usable_streams; usable_streams(); print('→ said' * 40_000, flush=True); "
SAY += "open('done', 'w').close()"


@pytest.mark.parametrize("ends", ["| head -c 1 > /dev/null", ">&-", "2>&- >/dev/null", "> /dev/null"])
@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_work_is_done_whoever_listens(tmp_path, ends, encoding):
    command = f"set -o pipefail; {shlex.quote(sys.executable)} -c {shlex.quote(SAY)} {ends}"
    environment = os.environ | {"PYTHONIOENCODING": encoding, "PYTHONPATH": str(Path(__file__).parents[1])}
    subprocess.run(["bash", "-c", command], cwd=tmp_path, env=environment, check=True)
    assert (tmp_path / "done").exists()
