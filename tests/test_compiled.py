"""Steps that are recorded and compiled give torch's numbers, or say why not; what is compiled is kept with care."""

import contextlib
import os
import stat
import subprocess
import sys
import threading
import warnings

import llvmlite
import llvmlite.binding as llvm
import pytest
import torch
import user_steps
from made_up import with_step
from plain import step_by_step
from torch.utils.checkpoint import checkpoint

import trc
from trc.compiled import Refused, Scan, build, scanned
from trc.compiled.record import Recording
from trc.simulation import accelerate
from trc.simulation.accelerate import run

both_types = pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 2e-4), (torch.float64, 1e-10)])


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    """Where compiled code is kept, for the length of a test."""
    monkeypatch.setenv(build.FOLDER, str(tmp_path / "kept"))
    return tmp_path / "kept"


def inputs(dtype, count=5):
    generator = torch.Generator().manual_seed(1)
    x, u = (torch.randn(count, *size, generator=generator).to(dtype) for size in ((2,), (6, 1)))
    return x, u.requires_grad_(), torch.rand(count, generator=generator).to(dtype).requires_grad_()


# Recording


@both_types
@pytest.mark.parametrize("name", user_steps.COMPILED)
def test_steps_as_users_write_them_are_compiled_and_give_the_same_numbers_and_gradients(name, dtype, tolerance):
    problem = with_step(user_steps.COMPILED[name])
    x, u, mu = inputs(dtype)
    found = []
    for simulate in (trc.rollout, step_by_step):
        states = simulate(problem, x, u, {"mu": mu})
        found.append((states, *torch.autograd.grad(states.sin().sum(), (u, mu), materialize_grads=True)))
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)
    for operation in ("states", "adjoint", "by_parameters"):
        assert problem.cache["kernel", operation, dtype] is not None


@pytest.mark.parametrize("name", user_steps.REFUSED)
def test_steps_that_can_not_be_compiled_run_as_they_are_and_say_why(name):
    step, reason = user_steps.REFUSED[name]
    problem = with_step(step)
    x, u, _ = inputs(torch.float64)
    with pytest.warns(UserWarning, match=rf"the kernel of states for van_der_pol is not used: .*({reason})") as told:
        for _ in range(2):
            trc.rollout(problem, x, u.detach())
    assert len([one for one in told if "states" in str(one.message)]) == 1


def test_constants_are_computed_zeros_and_ones_left_out_and_nothing_is_made_twice():
    recording = Recording(torch.float64)
    x = recording.inputs(1, 2)
    with recording:
        y = (0 * x + 1 * x + (torch.tensor(2.0) * 3 - 6)) / 1
        z = x.sin() + x.sin() ** 2
    assert torch.equal(y.places, x.places)
    assert sum(how[0] == "sin" for how in recording.made) == 2  # one an entry
    assert not any(how[0] == "div" for how in recording.made)
    assert z.shape == (1, 2)


def test_what_is_not_a_number_stays_so():
    problem = with_step(lambda s, x, u, p: x.clamp(-1, 1) * u.sign().abs())
    x, u = torch.full((4, 2), torch.nan, dtype=torch.float64), torch.ones(4, 3, 1, dtype=torch.float64)
    assert (
        trc.simulation.kernels.states(problem, torch.float64)(problem, x, u.transpose(0, 1), {"mu": 1.0})[0]
        .isnan()[1:]
        .all()
    )


def test_numbers_leave_a_recording_only_by_its_end():
    recording = Recording(torch.float64)
    x = recording.inputs(1, 2)
    with pytest.raises(Refused, match="it leaves its recording"):
        x.cos()


# Lanes


@pytest.mark.parametrize("count", [1, 3, 4, 5, 64, 5000])
def test_instance_has_the_same_bytes_alone_and_in_any_batch(count):
    problem = trc.make_problem("van_der_pol", horizon=10)
    x, _ = problem.sample(count, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    u = torch.randn(count, 10, 1, dtype=torch.float64)
    whole = trc.rollout(problem, x, u)
    for i in {0, count // 2, count - 1}:
        assert torch.equal(trc.rollout(problem, x[i : i + 1], u[i : i + 1])[0], whole[i])


def test_threads_share_the_instances_and_change_no_byte():
    problem, generator = trc.make_problem("van_der_pol"), torch.Generator().manual_seed(0)
    x, target = problem.sample(300, generator=generator)
    alone = trc.ilqr(problem, x, target)
    torch.set_num_threads(2)
    try:
        shared = trc.ilqr(problem, x, target)
        assert torch.equal(trc.rollout(problem, x, shared.controls), trc.rollout(problem, x, alone.controls))
    finally:
        torch.set_num_threads(1)
    assert torch.equal(shared.controls, alone.controls)
    assert torch.equal(shared.iterations, alone.iterations)


def test_scan_begins_goes_backwards_and_ends():
    """Powers of x, from the last time to the first, and their sum, doubled at the end."""
    scan = Scan(
        begin=lambda x, power, total: {"power": torch.ones_like(x)},
        step=lambda x, power, total, weight: {"power": power * x, "total": total + weight * power, "seen": power},
        end=lambda x, power, total: {"total": 2 * total},
        fixed={"x": (1,)},
        carried={"power": (1,), "total": (1,)},
        streams=({"weight": (1,)},),
        outputs={"seen": (1,)},
        backwards=True,
    )
    x, weight = torch.tensor([[2.0], [3.0]]), torch.tensor([4.0, 5.0, 6.0]).view(3, 1, 1).expand(3, 2, 1)
    total, seen = torch.zeros(2, 1), torch.empty(3, 2, 1)
    program = scanned(scan, torch.float32, given=["x", "total", "weight"], wanted=["total", "seen"])
    program.run(2, 3, {"x": x, "total": total, "weight": weight}, {"total": total, "seen": seen})
    assert seen.squeeze(-1).T.tolist() == [[4.0, 2.0, 1.0], [9.0, 3.0, 1.0]]
    assert total.tolist() == [[2 * (6 + 10 + 16)], [2 * (6 + 15 + 36)]]


@pytest.mark.parametrize("device", ["meta", "cpu"])
def test_device_of_new_tensors_does_not_matter(device):
    problem, x, u = trc.make_problem("van_der_pol"), torch.full((3, 2), 0.5), torch.zeros(3, 8, 1)
    target = torch.zeros(3, 2)
    with torch.device(device):
        found = trc.rollout(problem, x, u), trc.ilqr(problem, x, target).controls
    assert problem.cache["kernel", "states", torch.float32]
    assert problem.cache["kernel", "solve", torch.float64]
    again = trc.make_problem("van_der_pol")
    assert all(map(torch.equal, found, (trc.rollout(again, x, u), trc.ilqr(again, x, target).controls)))


def test_problem_that_overflows_on_the_trial_but_not_on_what_is_asked_says_so():
    problem, x = with_step(lambda problem, x, u, p: 0.9 * x + 0.1 * u + 1e4 * x**9), torch.full((2, 2), 0.05)
    with pytest.warns(UserWarning, match="is not used: every instance of its trial overflows, which shows nothing"):
        found = trc.ilqr(problem, x, torch.zeros(2, 2))
    assert found.converged.all()
    with warnings.catch_warnings():  # it is said once
        warnings.simplefilter("error")
        trc.ilqr(problem, x, torch.zeros(2, 2))


def test_zero_keeps_its_sign():
    problem = with_step(lambda problem, x, u, p: torch.atan2(-x[..., 1:], -x[..., :1]).expand_as(x) * 1.0)
    states = trc.rollout(problem, torch.zeros(1, 2), torch.zeros(1, 1, 1))
    assert problem.cache["kernel", "states", torch.float32]
    torch.testing.assert_close(states[0, 1].abs(), torch.full((2,), torch.pi))


def test_sample_of_another_type_is_caught_before_any_memory_is():
    class Careless(type(trc.make_problem("van_der_pol"))):
        def sample(self, num_samples, *, generator, scale=1.0, dtype=torch.float32):
            return torch.rand(num_samples, 2, generator=generator), torch.zeros(num_samples, 2)

        def step(self, x, u, parameters):
            y = torch.empty_like(x)
            y[..., 0], y[..., 1] = x[..., 0] + 0.1 * x[..., 1], x[..., 1] + 0.1 * u[..., 0]
            return y

    with pytest.warns(UserWarning, match="were asked for, got .* of torch.float32; look at the problem's sample"):
        assert trc.ilqr(Careless(horizon=4), torch.ones(5, 2), torch.zeros(5, 2)).converged.all()


@pytest.mark.parametrize("odd", [torch._neg_view, lambda x: torch._efficientzerotensor(x.shape)])
def test_tensors_without_numbers_of_their_own_go_the_plain_way(odd):
    problem, u = trc.make_problem("van_der_pol"), torch.ones(3, 4, 1)
    x = odd(torch.ones(3, 2))
    assert torch.equal(trc.rollout(problem, x, u), trc.rollout(problem, x + torch.zeros(3, 2), u))


def test_hooks_of_the_caller_see_nothing_of_a_trial():
    problem, u = trc.make_problem("van_der_pol"), torch.ones(3, 4, 1)
    x = torch.ones(3, 2, requires_grad=True)
    ask = lambda x: (trc.costate(problem, x, u, torch.zeros(3, 2)).gradient[:, 0] * x).sum()  # noqa: E731
    checkpoint(ask, x, use_reentrant=False).backward()
    assert x.grad.isfinite().all()


def test_switch_holds_while_another_thread_tries_a_kernel():
    trying, go_on = threading.Event(), threading.Event()

    def step(problem, x, u, parameters):
        trying.set()
        go_on.wait(10)
        return 0.9 * x + 0.1 * u

    first = threading.Thread(target=trc.rollout, args=(with_step(step), torch.ones(2, 2), torch.ones(2, 3, 1)))
    first.start()
    trying.wait(10)
    switch = accelerate.__globals__["_on"]
    with trc.accelerate(False):
        go_on.set()
        first.join()
        assert switch == [False]
    assert switch == [True]


# What is kept


def compile_again():
    problem = trc.make_problem("van_der_pol", horizon=4)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        trc.rollout(problem, torch.ones(3, 2), torch.ones(3, 4, 1))
    return problem.cache["kernel", "states", torch.float32] is not None


def test_code_is_kept_for_the_user_alone_and_found_again(own_folder, monkeypatch):
    assert compile_again()
    assert stat.S_IMODE(own_folder.stat().st_mode) == 0o700
    assert len(list(own_folder.iterdir())) == 2  # for few instances and for many
    monkeypatch.setattr(build, "_translate", None)  # would fail if it were called
    assert compile_again()


def test_damaged_code_is_made_anew(own_folder):
    compile_again()
    kept, _ = own_folder.glob("*.o")
    whole = kept.read_bytes()
    for damaged in (b"", whole[:40], whole[:-1] + bytes([whole[-1] ^ 1])):
        kept.write_bytes(damaged)
        assert compile_again()
        assert kept.read_bytes() == whole


@pytest.mark.parametrize("mode", [0o755, 0o500])
def test_folder_that_others_may_enter_or_that_can_not_be_written_keeps_nothing(own_folder, mode):
    own_folder.mkdir()
    own_folder.chmod(mode)
    assert compile_again()
    if mode == 0o755 or os.getuid():  # root writes anywhere
        assert not list(own_folder.iterdir())
    own_folder.chmod(0o700)


def test_file_in_place_of_the_folder_keeps_nothing(own_folder):
    own_folder.write_text("")
    assert compile_again()


def test_switch_passes_compiled_code_by():
    problem = trc.make_problem("van_der_pol", horizon=3)
    with trc.accelerate(False):
        trc.rollout(problem, torch.ones(2, 2), torch.ones(2, 3, 1))
    assert ("kernel", "states", torch.float32) not in problem.cache
    assert "states" in accelerate.__globals__["KERNELS"]


def test_full_disk_keeps_nothing_and_leaves_nothing(own_folder, monkeypatch):
    class Full:
        def __getattr__(self, name):
            raise OSError(28, "No space left on device")

    @contextlib.contextmanager
    def full(path):
        yield Full()

    monkeypatch.setattr(build, "writing", full)
    assert compile_again()
    assert not list(own_folder.iterdir())


@pytest.mark.parametrize("other", ["processor", "compiler"])
def test_code_for_another_processor_or_of_another_compiler_is_not_taken(own_folder, monkeypatch, other):
    compile_again()
    before, machine, name = set(own_folder.iterdir()), build._machine, llvm.get_host_cpu_name()

    def this_machine():
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(llvm, "get_host_cpu_name", lambda: name)
            return machine()

    if other == "processor":
        monkeypatch.setattr(build, "_machine", this_machine)
        monkeypatch.setattr(llvm, "get_host_cpu_name", lambda: "another")
    else:
        monkeypatch.setattr(llvmlite, "__version__", "0")
    assert compile_again()
    assert len(set(own_folder.iterdir()) - before) == 2


@pytest.mark.slow
def test_processes_that_compile_at_once_don_t_mind_each_other(own_folder):
    ask = "import torch, trc; p = trc.make_problem('van_der_pol', horizon=4); "
    ask += "print(trc.rollout(p, torch.ones(3, 2), torch.ones(3, 4, 1)).sum().item())"
    both = [subprocess.Popen([sys.executable, "-W", "error", "-c", ask], stdout=subprocess.PIPE) for _ in range(2)]
    found = {process.communicate()[0] for process in both}
    assert len(found) == 1
    assert [process.returncode for process in both] == [0, 0]
    assert len(list(own_folder.iterdir())) == 2


def test_instance_that_becomes_nan_leaves_the_others_as_they_are():
    class Fragile(type(trc.make_problem("van_der_pol"))):
        def step(self, x, u, parameters):
            return super().step(x, u, parameters) + 1e-30 * torch.sqrt(3 - x[..., :1])  # no number beyond 3

    problem, x = Fragile(), torch.full((9, 2), 0.5)
    x[4, 0] = 4.0
    u = torch.zeros(9, problem.horizon, 1)
    with pytest.raises(ValueError, match=r"at step 1 of .* the first state is not finite, in the end in 1 of 9"):
        trc.rollout(problem, x, u)
    assert problem.cache["kernel", "states", torch.float32]
    (states,) = run("states", None, problem, x, u.transpose(0, 1), parameters=problem.parameters)
    alone = trc.rollout(trc.make_problem("van_der_pol"), x, u).transpose(0, 1)
    well = torch.arange(9) != 4
    assert torch.equal(states[:, well], alone[:, well])
