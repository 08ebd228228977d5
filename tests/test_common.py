"""Files that appear whole or not at all, work in several processes, and what is registered by name."""

import ast
import math
import multiprocessing
import os
import re
import shlex
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest
import torch

import trc
from trc.common import interrupts, parallel
from trc.common.files import lock_folder, require_file, sha256, write_text, writing
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


def tensors_of(view, count):
    return view * count, torch.arange(count), (torch.ones(2, dtype=torch.bfloat16), view.requires_grad_())


def test_tensors_are_sent_as_they_are_and_a_part_takes_no_more_than_itself():
    part = torch.rand(100_000, 2, dtype=torch.float64)[::10_000]
    packed = parallel._packed((tensors_of, (part, 3)))
    assert len(packed) < 1000
    back = parallel.ForkingPickler.loads(parallel._work(packed))
    for found, wanted in zip((*back[:2], *back[2]), (part * 3, torch.arange(3), torch.ones(2), part), strict=True):
        assert found.equal(wanted.to(found.dtype)) and found.is_shared() is False
    back[0][0] = 1  # what came is one's own


@pytest.mark.parametrize(
    ("script", "function", "why"),
    [
        ("import trc\ngo()\n", pow, f"what script.py does would have to stand below `{parallel.GUARD}`"),
        ("log = get(__name__)\ngo()\n", pow, "what script.py does would have to stand below"),
        (None, "of main", "what is done is defined in a notebook or at a prompt, not in a file"),
        (None, lambda one, two: one**two, "what is done is not defined at the top of a file"),
        (
            'if __name__ == "__main__":\n    go()\n',
            lambda one, two: one**two,
            "what is done is not defined at the top of a file",
        ),
    ],
)
def test_where_no_other_process_can_be_started_one_does_it_all_and_says_why(
    tmp_path, monkeypatch, script, function, why
):
    main = ModuleType("__main__")
    if script is not None:
        main.__file__ = str(write_text(tmp_path / "script.py", script))
    if function == "of main":
        exec("def function(one, two): return one**two", vars(main))
        function = main.function
    monkeypatch.setitem(sys.modules, "__main__", main)
    with pytest.warns(UserWarning, match=f"one process does all the work: {re.escape(why)}"):
        assert list(parallel_map(function, [(2, k) for k in range(3)], jobs=2)) == [1, 2, 4]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), ImportError("no sem_open")])
def test_system_without_room_for_processes_is_no_obstacle(monkeypatch, error):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(parallel, "ProcessPoolExecutor", fail)
    with pytest.warns(UserWarning, match="one process does all the work: the system starts no others"):
        assert list(parallel_map(pow, [(2, 3), (2, 4)], jobs=2)) == [8, 16]


def test_script_that_its_processes_run_again_ends_in_them_in_silence(monkeypatch, capfd):
    monkeypatch.setattr(multiprocessing.current_process(), "_inheriting", True, raising=False)
    with pytest.raises(SystemExit, match="1"):
        list(parallel_map(pow, [(2, 3), (2, 4)], jobs=2))
    assert capfd.readouterr() == ("", "")


@pytest.mark.slow
def test_processes_give_the_same_and_end_with_whoever_asked():
    work = [(2.0, float(k)) for k in range(5)]
    assert list(parallel_map(math.pow, work, jobs=2)) == [1, 2, 4, 8, 16]
    with pytest.raises(
        RuntimeError, match=r"^a process ended before its work was done; .* With jobs=1 there are no oth"
    ):
        list(parallel_map(os._exit, [(3,), (3,)], jobs=2))
    with pytest.raises(ValueError, match="math domain error"):
        list(parallel_map(math.sqrt, [(-1,), (-1,)], jobs=2))
    begin = time.perf_counter()
    started = parallel_map(time.sleep, [(0,), (600,), (600,)], jobs=2)
    next(started)
    started.close()
    assert time.perf_counter() - begin < 60 and not multiprocessing.active_children()


# Interrupts


@pytest.mark.parametrize(
    ("words", "command"),
    [
        (["python", "-m", "trc", "train"], "trc"),
        (["python", "-X", "utf8", "-Bum", "trc.artifact.claims"], "trc.artifact.claims"),
        (["python", "-mtrc"], "trc"),
        (["python", "-m", "pytest", "-m", "trc"], ""),
        (["python", "-m", "trcx"], ""),
        (["/usr/bin/trc", "train"], "trc"),
        (["script.py", "-m", "trc"], ""),
        (["-c"], ""),
    ],
)
def test_command_is_known_while_it_loads(monkeypatch, words, command):
    monkeypatch.setattr(sys, "orig_argv", words)
    monkeypatch.setattr(sys, "argv", ["-m"] if words[0] == "python" else words)
    assert interrupts._command() == command


@pytest.fixture
def foreground():
    """Interrupts as they are at a terminal; what a shell runs in the background ignores them."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("foreground")
def test_interrupt_in_any_other_program_is_left_alone():
    assert interrupts.COMMAND == "" and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    with pytest.raises(KeyboardInterrupt), interrupts.heard():
        signal.raise_signal(signal.SIGINT)
    interrupts.end()  # and nothing ends
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="looks where a process is in its start")
@pytest.mark.parametrize("command", ["trc", "trc.artifact.claims"])
@pytest.mark.usefixtures("foreground")
def test_command_that_is_interrupted_while_it_loads_says_one_line(command):
    how = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "start_new_session": True}
    process = subprocess.Popen([sys.executable, "-m", command, "--help"], cwd=Path(__file__).parents[1], **how)
    while "libtorch" not in Path(f"/proc/{process.pid}/maps").read_text() and process.poll() is None:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)
    said, _ = process.communicate(timeout=60)
    assert (said, process.returncode) == (f"{command}: interrupted; give the command again\n", interrupts.STATUS)


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


def test_path_that_is_none_is_refused():
    for path in (3, None, b"x", "~nobody-of-this-name/x"):
        with pytest.raises(
            ValueError, match=r"^a path must be text or a pathlib\.Path that leads somewhere, got .*\.$"
        ):
            write_text(path, "")


def test_folder_is_held_by_one_at_a_time_where_the_system_has_locks(tmp_path, monkeypatch):
    let_go = lock_folder(tmp_path)
    with pytest.raises(BlockingIOError):
        lock_folder(tmp_path)
    let_go()
    lock_folder(tmp_path)()
    monkeypatch.setitem(sys.modules, "fcntl", None)  # as on Windows
    lock_folder(tmp_path)()


def test_library_is_imported_without_what_windows_lacks():
    lacking = {"fcntl", "grp", "pwd", "resource", "termios"}
    for path in (Path(__file__).parents[1] / "trc").rglob("*.py"):
        at_once = [node for node in ast.parse(path.read_text("utf-8")).body if isinstance(node, ast.Import)]
        assert not lacking & {alias.name for node in at_once for alias in node.names}, path
