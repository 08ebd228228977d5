"""Datasets: what they hold, that their files come back or are refused by name, and their parts."""

import io
import json
import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

import trc
from trc.artifact.results import read_table
from trc.datasets import ARRAYS, CHUNK

ROOT = Path(__file__).resolve().parent.parent


def small(problem="double_integrator", count=20, **options):
    return trc.generate_dataset(trc.make_problem(problem), count, **{"seed": 3} | options)


def test_dataset_holds_the_teachers_solutions_of_the_sampled_instances(problem, draw):
    data = trc.generate_dataset(problem, 20, seed=3)
    initial, target = draw(problem, 20, seed=3)
    solution = trc.lqr(problem, initial, target)
    solved = initial, target, solution.controls, solution.states, solution.cost
    for name, expected in zip(ARRAYS, solved, strict=True):
        assert torch.equal(getattr(data, name), expected), name


def test_saved_dataset_comes_back_bit_for_bit_and_its_origin_makes_it_again(tmp_path, problem):
    data = small(problem.name, scale=1.5)
    assert data.origin["versions"] == {"torch": torch.__version__.partition("+")[0], "numpy": np.__version__}
    back = trc.load_dataset(data.save(tmp_path / "deep" / "data.npz"))
    assert back.origin == data.origin
    assert back.problem == problem
    for array in ARRAYS:
        assert getattr(back, array).dtype == torch.float64
        assert torch.equal(getattr(back, array), getattr(data, array)), array
    options = {name: data.origin[name] for name in ("num_samples", "seed", "expert", "scale")}
    assert torch.equal(trc.generate_dataset(data.problem, **options).control_sequences, data.control_sequences)


def test_same_seed_gives_the_same_file_on_any_number_of_threads(tmp_path):
    files = set()
    for threads in (1, 2):
        torch.set_num_threads(threads)
        files.add(small(count=CHUNK + 100).save(tmp_path / f"{threads}.npz").read_bytes())
    assert len(files) == 1
    assert small(count=CHUNK + 100, seed=4).save(tmp_path / "other.npz").read_bytes() not in files


@pytest.mark.slow
def test_same_seed_gives_the_same_file_on_any_number_of_processes(tmp_path, monkeypatch):
    monkeypatch.setattr("trc.datasets.START_OF_PROCESSES", 0)
    one, two = (small(count=2 * CHUNK + 100, jobs=jobs).save(tmp_path / f"{jobs}.npz") for jobs in (1, 2))
    assert one.read_bytes() == two.read_bytes()


class Trap:
    """Leaves a mark when it is unpickled."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


def put(path, **changes):
    """Write a dataset's arrays, some of them changed."""
    data = small(count=12)
    arrays = {name: getattr(data, name).numpy() for name in ARRAYS} | {"origin": np.array(json.dumps(data.origin))}
    np.savez(path, **arrays | changes)


def cut(path, share):
    """Write the first share of a dataset's bytes."""
    put(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])


COSTS = np.ones(12)


def promise(path, name, shape):
    """Write the data with an array whose header names a shape that it has not."""
    put(path)
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": shape})
    with zipfile.ZipFile(path) as file:
        parts = {part: file.read(part) for part in file.namelist()}
    with zipfile.ZipFile(path, "w") as file:
        for part, content in parts.items():
            file.writestr(part, header.getvalue() + bytes(64) if part == f"{name}.npy" else content)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        *((lambda path, trap, share=share: cut(path, share), "") for share in (0, 0.1, 0.5, 0.99)),
        (lambda path, trap: np.savez(path, weights=np.zeros(3)), "it lacks control_sequences, costs, "),
        (lambda path, trap: path.write_text("initial_states, target_states\n"), "not a whole .npz"),
        (lambda path, trap: path.write_bytes(pickle.dumps(trap)), "not a whole .npz"),
        (lambda path, trap: put(path, costs=np.array([trap] * 12, dtype=object)), "allow_pickle=False"),
        (lambda path, trap: put(path, costs=COSTS[:-1]), r"costs must have shape \[12\], got \[11\]"),
        (lambda path, trap: put(path, costs=COSTS.astype(str)), "costs must hold real numbers"),
        (lambda path, trap: put(path, costs=COSTS.astype(int)), "costs must hold real numbers"),
        (lambda path, trap: put(path, costs=COSTS * np.nan), "costs must be finite"),
        (lambda path, trap: put(path, initial_states=np.zeros((12, 3))), r"initial_states must have shape \[12, 2\]"),
        (lambda path, trap: put(path, control_sequences=np.zeros((12, 15, 2))), "2 states, 2 controls and 15 steps"),
        (lambda path, trap: promise(path, "costs", (10**13, 2)), "Unable to allocate"),
        (lambda path, trap: promise(path, "costs", (10**30, 2)), "too large"),
        (lambda path, trap: put(path, origin=np.array("[1]")), "must name its problem and seed"),
        (lambda path, trap: put(path, origin=np.array("{}")), "must name its problem and seed"),
    ],
)
def test_truncated_or_foreign_file_is_refused_by_name_and_no_pickle_is_run(tmp_path, write, message):
    path, mark = tmp_path / "data.npz", tmp_path / "mark"
    write(path, Trap(mark))
    refusal = rf"^{path} is not a readable trc dataset \(.*{message}.*\); generate it again"
    with pytest.raises(ValueError, match=refusal):
        trc.load_dataset(path)
    assert not mark.exists()


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (trc.make_problem("van_der_pol", horizon=50, dt=0.1), "another 'van_der_pol': dt, horizon differ"),
        (trc.make_problem("van_der_pol", mu=2.0, Q=[[1, 0], [0, 1]]), "another 'van_der_pol': Q, mu differ"),
        (trc.make_problem("double_integrator"), "for 'van_der_pol', not for 'double_integrator'; generate another"),
    ],
)
def test_dataset_of_another_problem_is_refused_by_what_differs(van_der_pol, other, message):
    data = trc.generate_dataset(van_der_pol, 2, seed=0)
    data.check_problem(van_der_pol)
    with pytest.raises(ValueError, match=message):
        data.check_problem(other)


def test_failed_save_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = small().save(tmp_path / "data.npz")
    before = path.read_bytes()

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        small(seed=4).save(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", trc.EVALUATION_SETS)
def test_evaluation_sets_are_fixed_and_as_wide_as_they_say(name, double_integrator):
    size, scale = trc.EVALUATION_SETS[name]
    data = trc.evaluation_set(double_integrator, name)
    assert len(data) == size
    widest = data.initial_states.abs().max()
    assert 0.95 * 2 * scale < widest <= 2 * scale


def test_committed_optima_are_those_of_the_library(paper_problem):
    """A sample of the committed J*, solved again."""
    rows = read_table("teachers", "optima.csv", ROOT)
    rows = rows[(rows["problem"] == paper_problem.name) & (rows["set"] == "wide")].head(12)
    data = trc.evaluation_set(paper_problem, "wide")
    found = trc.optimum(paper_problem, data.initial_states[:12], data.target_states[:12])
    torch.testing.assert_close(found.cost, torch.tensor(rows["optimal_cost"].to_numpy()), rtol=1e-8, atol=0)


# Parts


@pytest.mark.parametrize(("count", "shares"), [(100, (0.8, 0.1)), (10, (0.5,)), (3, (0.9, 0.05)), (2, (0.01,))])
def test_parts_have_no_instance_in_common_and_leave_none_out(double_integrator, count, shares):
    data = trc.generate_dataset(double_integrator, count, seed=1)
    parts = data.split(*shares, seed=0)
    assert len(parts) == len(shares) + 1
    assert all(len(part) > 0 for part in parts)
    rows = torch.cat([part.initial_states for part in parts])
    assert len(rows) == len(rows.unique(dim=0)) == count
    assert torch.equal(rows.unique(dim=0), data.initial_states.unique(dim=0))
    for part in parts:
        torch.testing.assert_close(part.state_trajectories[:, 0], part.initial_states)


def test_parts_follow_from_the_seed_and_say_so(double_integrator):
    data = trc.generate_dataset(double_integrator, 50, seed=1)
    first, again, other = (data.split(0.5, seed=seed)[0] for seed in (0, 0, 1))
    assert torch.equal(first.costs, again.costs)
    assert not torch.equal(first.costs, other.costs)
    assert first.origin["split"] == [{"shares": [0.5], "seed": 0, "part": 0}]
    assert [one["part"] for one in first.split(0.5, seed=3)[1].origin["split"]] == [0, 1]


@pytest.mark.parametrize(
    ("shares", "message"),
    [
        *(((share,), "share must be a positive number") for share in (0.0, -0.1, float("nan"), "0.5")),
        *((shares, "shares of a split must lie between 0 and 1") for shares in ((), (1.0,), (0.5, 0.5), (0.6, 0.6))),
        ((0.4, 0.3), "2 instances can't be split into 3 parts"),
    ],
)
def test_shares_that_leave_nothing_are_refused(double_integrator, shares, message):
    with pytest.raises(ValueError, match=message):
        trc.generate_dataset(double_integrator, 2, seed=1).split(*shares, seed=0)
