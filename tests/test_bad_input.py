"""Bad input is one clear sentence, and what the README shows runs."""

import json
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from nbformat.v4 import new_code_cell, new_notebook

import trc
from trc import results, runner, tables
from trc.datasets import ARRAYS
from trc.figures.__main__ import main as figures_main
from trc.statistics import bootstrap

ROOT = Path(__file__).resolve().parent.parent
SENTENCE = r"\.$"  # our messages are sentences; those of Python and PyTorch from deep inside are not
DI, VDP = trc.make_problem("double_integrator"), trc.make_problem("van_der_pol")
M = trc.TinyRecursiveControl
T = {"latent_dim": 8, "hidden_dim": 8, "num_blocks": 1, "num_heads": 1, "seed": 0}
data = trc.generate_dataset(DI, 12, seed=0)


def model(problem=DI, **k):
    return M.create("small", problem=problem, **T | k)


def test_model_dtype():
    with pytest.raises(ValueError, match=r"current_state is torch.float32 but target_state torch.float64"):
        model()(data.initial_states.float(), data.target_states)


def test_model_time_nan():
    with pytest.raises(ValueError, match=SENTENCE):
        model(feedback="none")(torch.zeros(2, 2), torch.zeros(2, 2), time_remaining=float("nan"))


def test_model_dynamics_nan():
    with pytest.raises(ValueError, match=SENTENCE):
        model()(torch.zeros(2, 2), torch.zeros(2, 2), dynamics_fn=lambda x, u: x * float("nan"))


def test_model_iterations_float():
    with pytest.raises(ValueError, match=SENTENCE):
        model()(torch.zeros(2, 2), torch.zeros(2, 2), iterations=2.5)


def test_create_infinite_bounds():
    with pytest.raises(ValueError, match=SENTENCE):
        model(None, control_high=(float("inf"),))


def test_create_state_dim_float():
    with pytest.raises(ValueError, match=SENTENCE):
        model(None, state_dim=2.5)


def test_train_on_another_simulator():
    a, b = trc.make_problem("van_der_pol", mu=1.0, horizon=5), trc.make_problem("van_der_pol", mu=3.0, horizon=5)
    with pytest.raises(ValueError, match="made for another 'van_der_pol'"):
        trc.train(model(a), trc.generate_dataset(b, 8, seed=0), b, epochs=1)


def test_train_validation_nan():
    calls = []

    def loss(attempt, config):
        calls.append(0)
        return attempt.output["controls"].square().mean() * (float("nan") if len(calls) == 2 else 1)

    from trc import training

    training.LOSSES["odd"] = loss
    try:
        with pytest.raises(ValueError, match="loss"):
            trc.train(model(), data, epochs=1, loss="odd")
    finally:
        del training.LOSSES["odd"]


@pytest.mark.parametrize(
    "o", [{"epochs": 1.5}, {"epochs": "a"}, {"batch_size": 2.5}, {"seed": None}, {"learning_rate": "a"}], ids=str
)
def test_train_types(o):
    with pytest.raises(ValueError, match=SENTENCE):
        trc.train(model(), data, **{"epochs": 1} | o)


def test_train_failing_leaves_model_alone():
    m = model(None)
    with pytest.raises(ValueError, match=SENTENCE):
        trc.train(m, trc.generate_dataset(DI, 1, seed=0), epochs=1)
    assert m.problem is None and not m.needs_simulator


def test_evaluate_on_another_problem():
    with pytest.raises(ValueError, match=SENTENCE):
        trc.evaluate(model(), VDP, data.initial_states, data.target_states)


def test_instance_metrics_other_horizon():
    with pytest.raises(ValueError, match=SENTENCE):
        trc.instance_metrics(DI, data.initial_states, data.target_states, torch.zeros(12, 7, 1))


def test_aggregate_shape():
    with pytest.raises(ValueError, match=SENTENCE):
        trc.aggregate({"cost": torch.ones(4)}, torch.ones(3))


def test_load_model_conflicting_problem(tmp_path):
    p = trc.save_model(model(), tmp_path / "m")
    with pytest.raises(ValueError, match=SENTENCE):
        trc.load_model(p, problem=VDP)


@pytest.mark.parametrize("x", [torch.full((2, 2), 1e3)])
def test_lqr_overflow(x):
    with pytest.raises(ValueError, match=SENTENCE):
        trc.lqr(VDP, x, torch.zeros(2, 2))


@pytest.mark.parametrize(
    "kw",
    [
        {"mu": float("nan")},
        {"mu": None},
        {"dt": "x"},
        {"Q": "abc"},
        {"control_low": 4},
        {"success_threshold": -1},
        {"success_threshold": "x"},
        {"initial_range": 3},
    ],
    ids=str,
)
def test_make_problem(kw):
    with pytest.raises(ValueError, match=SENTENCE):
        trc.make_problem("van_der_pol", **kw)


@pytest.mark.parametrize("s", [float("nan"), -1.0])
def test_scale(s):
    with pytest.raises(ValueError, match=SENTENCE):
        DI.sample(3, generator=torch.Generator(), scale=s)


def test_num_samples_float():
    with pytest.raises(ValueError, match=SENTENCE):
        trc.generate_dataset(DI, 2.5, seed=0)


def test_rollout_no_steps():
    with pytest.raises(ValueError, match=SENTENCE):
        trc.rollout(DI, torch.zeros(2, 2), torch.zeros(2, 0, 1))


def test_rollout_nan_controls_message():
    with pytest.raises(ValueError, match=r"controls .*finite"):
        trc.rollout(DI, torch.zeros(2, 2), torch.full((2, 3, 1), float("nan")))


def test_rollout_list_controls():
    with pytest.raises(ValueError, match=SENTENCE):
        trc.rollout(DI, torch.zeros(2, 2), [[[0.0]]] * 2)


def test_rollout_int_message():
    with pytest.raises(ValueError, match="int64"):
        trc.rollout(DI, torch.zeros(2, 2).long(), torch.zeros(2, 3, 1))


@pytest.mark.parametrize("mu", [[1.0, 1.0], np.ones(2), torch.ones(2).double()], ids=["list", "numpy", "double"])
def test_rollout_parameter_kind(mu):
    with pytest.raises(ValueError, match=SENTENCE):
        trc.rollout(VDP, torch.zeros(2, 2), torch.zeros(2, 3, 1), {"mu": mu})


def saved(tmp_path, **k):
    a = {n: getattr(data, n).numpy() for n in ARRAYS} | {"recipe": np.array(json.dumps(data.recipe))} | k
    np.savez(tmp_path / "x.npz", **a)
    return tmp_path / "x.npz"


@pytest.mark.parametrize(
    "k",
    [
        {"costs": np.zeros(11)},
        {"costs": np.array(3.0)},
        {"costs": np.array(["a"] * 12)},
        {"initial_states": np.zeros((12, 3))},
        {"recipe": np.array("[1]")},
        {"recipe": np.array("{}")},
        {"costs": np.full(12, np.nan)},
    ],
    ids=["short", "0-d", "str", "n=3", "recipe list", "recipe {}", "nan"],
)
def test_dataset_load(tmp_path, k):
    p = saved(tmp_path, **k)
    with pytest.raises(ValueError, match=str(p)):
        trc.load_dataset(p).check_problem(DI)


def test_dataset_load_npy(tmp_path):
    with open(tmp_path / "x.npz", "wb") as f:
        np.save(f, np.zeros(3))
    with pytest.raises(ValueError, match=r"x\.npz"):
        trc.load_dataset(tmp_path / "x.npz")


def test_foreign_checkpoint_message(tmp_path):
    import safetensors.torch as st

    st.save_file({"a": torch.zeros(1)}, tmp_path / "m")
    with pytest.raises(ValueError, match=SENTENCE) as e:
        trc.load_model(tmp_path / "m")
    assert "('trc')" not in str(e.value)


@pytest.mark.parametrize("o", [{"resamples": 0}, {"confidence": 95}], ids=str)
def test_bootstrap(o):
    with pytest.raises(ValueError, match=SENTENCE):
        bootstrap(torch.ones(2, 3), generator=torch.Generator(), **o)


@pytest.mark.parametrize(("v", "t"), [(99.96, "100"), (999.6, "1\N{NO-BREAK SPACE}000")])
def test_number(v, t):
    assert tables.number(v) == t


def test_number_nan():
    tables.number(float("nan"))


def test_percent_minus_zero():
    assert "0.00" == tables.percent(-1e-9).split("\N{NO-BREAK SPACE}")[0]


@pytest.fixture
def root(tmp_path, monkeypatch):
    (tmp_path / "book").mkdir()
    (tmp_path / "book" / "claims.yml").touch()
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "figures").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def nb(root, *cells):
    n = new_notebook(
        cells=[new_code_cell(c) for c in cells],
        metadata={"kernelspec": {"name": "python3", "language": "python", "display_name": "Python 3"}},
    )
    n.cells[0].metadata["tags"] = ["parameters"]
    nbformat.write(n, root / "notebooks" / "t.ipynb")
    return root / "notebooks" / "t.ipynb"


def test_runner_dead_kernel(root):
    assert runner.main([str(nb(root, "preset='smoke'", "import os; os._exit(1)"))]) == 2


def test_runner_multiline_message(root, capsys):
    runner.main([str(nb(root, "preset='smoke'", "raise ValueError('a\\nb')"))])
    assert capsys.readouterr().err.splitlines()[-1].startswith("trc.runner")


def test_runner_bad_yaml_one_line(root, capsys):
    assert runner.main([str(nb(root, "preset='smoke'\nx=1", "1")), "-p", "x", ": : ["]) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("v", ["010", "1_000", "null", "true", "1e3", "1:30"])
def test_runner_text_stays_text(root, monkeypatch, v):
    seen = {}
    monkeypatch.setattr(runner, "run", lambda p, q: seen.update(runner.check_parameters(Path(p), q)) or root / "x")
    assert runner.main([str(nb(root, "preset='smoke'\nseeds=''", "1")), "-p", "seeds", v]) == 0
    assert seen["seeds"] == v


def test_runner_no_language(root):
    p = nb(root, "preset='smoke'", "1")
    n = nbformat.read(p, 4)
    n.metadata.clear()
    nbformat.write(n, p)
    assert runner.main([str(p)]) == 0


def test_runner_list_parameter(root):
    with pytest.raises(ValueError, match="scalar"):
        runner.notebook_parameters(nb(root, "preset='smoke'\nx=[1]", "1"))


def test_runner_outside_project(root, monkeypatch, tmp_path_factory):
    p = nb(root, "preset='smoke'\nresults_dir=''", "1")
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    assert runner.main([str(p)]) == 0


@pytest.mark.parametrize(
    "t",
    [
        "",
        "3",
        "- 3",
        ": : [",
        "- {name: fig1_a, function: methods, experiment: null, tables: [], notebook: null, page: p, tier: h}",
        "- {name: ../evil, function: architecture, experiment: null, tables: [], notebook: null, page: p, tier: h}",
    ],
)
def test_figures_index(root, t, capsys):
    (root / "figures" / "index.yml").write_text(t)
    assert figures_main([]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_figure_without_columns(root):
    results.Record(root / "results" / "comparison").write({"training": pd.DataFrame({"a": [1]})}, parameters={})
    e = [x for x in yaml.safe_load((ROOT / "figures" / "index.yml").read_text()) if x["function"] == "learning"]
    (root / "figures" / "index.yml").write_text(yaml.safe_dump(e))
    assert figures_main([]) == 2


def test_readme_python_runs():
    import re

    for b in re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S):
        exec(b, {})


def test_readme_pictures_exist():
    import re

    for b in re.findall(r"\]\((figures/[^)]*)\)", (ROOT / "README.md").read_text()):
        assert (ROOT / b).is_file()


def test_readme_papermill_parameters_exist():
    import re

    names = set(re.findall(r"-p (\w+) ", (ROOT / "README.md").read_text()))
    assert names <= set(runner.notebook_parameters(ROOT / "notebooks/comparison.ipynb"))


TEACHERS = [trc.lqr, trc.ilqr, trc.optimum, trc.minimum_energy]


@pytest.mark.parametrize("teacher", TEACHERS)
@pytest.mark.parametrize(
    ("initial", "target", "message"),
    [
        (torch.zeros(0, 2), torch.zeros(0, 2), "must not be empty"),
        (torch.zeros(2, 3), torch.zeros(2, 3), "must have shape"),
        (torch.zeros(2, 2), torch.zeros(3, 2), "must have the same shape"),
        (torch.zeros(2, 2), torch.zeros(2, 2).double(), "convert one of them"),
        (torch.zeros(2, 2), torch.full((2, 2), torch.nan), "must be finite"),
        (torch.zeros(2, 2, dtype=torch.int64), torch.zeros(2, 2), "floating-point"),
        (torch.zeros(2, 2), torch.full((2, 2), 1e25), "costs in torch.float32 must be finite"),
    ],
)
def test_teachers_refuse_bad_states(teacher, initial, target, message):
    with pytest.raises(ValueError, match=message):
        teacher(DI, initial, target)


@pytest.mark.parametrize("teacher", TEACHERS)
def test_teachers_want_a_problem(teacher):
    with pytest.raises(ValueError, match="problem must be a Problem"):
        teacher("double_integrator", torch.zeros(2, 2), torch.zeros(2, 2))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: trc.costate(DI, torch.zeros(2, 2), torch.zeros(2, 15, 1), torch.zeros(2, 2).double()), "convert one"),
        (lambda: trc.costate("v", torch.zeros(2, 2), torch.zeros(2, 15, 1), torch.zeros(2, 2)), "must be a Problem"),
        (lambda: trc.rollout(VDP, torch.zeros(2, 2), torch.zeros(2, 3, 1), [1.0]), "parameters must be a Mapping"),
        (lambda: trc.rollout(VDP, torch.zeros(2, 2), torch.zeros(2, 3, 1), {"mu": "1.0"}), "'mu' must be a finite"),
        (lambda: trc.rollout(VDP, torch.zeros(2, 2), torch.zeros(2, 3, 1), {1: 1.0}), "no parameter '1'"),
        (
            lambda: trc.rollout(VDP, torch.zeros(2, 2), torch.zeros(2, 3, 1), {"mu": torch.tensor(torch.nan)}),
            "'mu' must be finite",
        ),
        (lambda: trc.generate_dataset("v", 3, seed=0), "must be a Problem"),
        (lambda: trc.generate_dataset(DI, 3, seed=2**64), "seed must be below"),
        (lambda: trc.generate_dataset(DI, 3, seed=0, jobs=1.5), "jobs must be a whole number"),
        (lambda: trc.generate_dataset(DI, 3, seed=0, scale="2"), "scale must be a positive number"),
        (lambda: trc.generate_dataset(DI, 3, seed=0).split("0.5", seed=0), "share must be a positive number"),
        (lambda: trc.train("m", data), "model must be a ControlNetwork"),
        (
            lambda: (
                trc.make_problem("van_der_pol", mu=1e4, horizon=400)
                and trc.lqr(trc.make_problem("van_der_pol", mu=1e4, horizon=400), torch.zeros(1, 2), torch.zeros(1, 2))
            ),
            "Riccati",
        ),
        (lambda: trc.make_problem("double_integrator", Q=np.eye(2) * 1j), "Q must be a square matrix"),
        (lambda: trc.make_problem("double_integrator", Q=[[10**400, 0], [0, 1]]), "Q must be"),
        (lambda: trc.make_problem("double_integrator", Q=[]), "Q must be a square matrix"),
        (lambda: trc.make_problem("double_integrator", control_low=torch.tensor(-1.0)), "control_low needs 1 entry"),
        (lambda: trc.make_problem("double_integrator", dt=True), "dt must be a positive number"),
    ],
)
def test_what_is_not_expected_is_said_in_a_sentence(call, message):
    with pytest.raises(ValueError, match=message) as error:
        call()
    assert str(error.value).endswith(".")


def test_weights_are_definite_relative_to_their_size():
    v = torch.tensor([[0.3], [0.7]], dtype=torch.float64) * 1e3
    for i in range(50):
        rotated = v + i
        trc.make_problem("double_integrator", Q=rotated @ rotated.T)  # of rank one, whatever the rounding
    with pytest.raises(ValueError, match="Q must be positive semidefinite"):
        trc.make_problem("double_integrator", Q=[[-1e-13, 0], [0, 1e-13]])


def test_numbers_of_numpy_are_numbers():
    problem = trc.make_problem("double_integrator", horizon=np.int64(5), control_low=(x for x in (-1.0,)))
    assert (problem.horizon, problem.control_low) == (5, (-1.0,))


def test_dataset_of_other_kinds_of_arrays_is_refused(tmp_path):
    good = trc.generate_dataset(DI, 3, seed=0)
    path = good.save(tmp_path / "data.npz")
    arrays = dict(np.load(path))
    for dtype in (bool, complex, np.int64):
        np.savez(path, **arrays | {"costs": arrays["costs"].astype(dtype)})
        with pytest.raises(ValueError, match="costs must hold real numbers"):
            trc.load_dataset(path)
    np.savez(path, **arrays | {"recipe": np.array("{}")})
    with pytest.raises(ValueError, match="recipe of a dataset must name its problem and seed"):
        trc.load_dataset(path)
