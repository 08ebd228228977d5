import os

import pytest

from trc.files import require_file, sha256, write_text, writing


def test_text_is_written_as_utf8_into_folders_that_are_made(tmp_path):
    path = write_text(tmp_path / "a" / "b.txt", "λ ≤ 1\n")
    assert path.read_bytes() == b"\xce\xbb \xe2\x89\xa4 1\n"


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


def test_written_files_can_be_read_by_others(tmp_path):
    assert write_text(tmp_path / "a.txt", "").stat().st_mode & 0o777 == 0o644


def test_missing_file_is_named_with_the_remedy(tmp_path):
    for path in (tmp_path / "none.csv", tmp_path):  # a folder is no file
        with pytest.raises(FileNotFoundError, match=rf"^no table at {path}; make one\.$"):
            require_file(path, "table", "make one")


def test_sha256_is_that_of_the_standard(tmp_path):
    (tmp_path / "abc").write_bytes(b"abc")
    assert sha256(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
