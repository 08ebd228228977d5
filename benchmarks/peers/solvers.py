"""The solvers that engineers run, each as its makers recommend, behind one call."""

import ctypes
import subprocess
import tempfile
from collections.abc import Callable
from functools import partial
from importlib.metadata import distribution
from pathlib import Path

import casadi
import numpy as np
from ipopt import DYNAMICS
from numpy import ndarray
from scipy import sparse

import trc

#: From initial and target state [n], and states [T+1, n] and controls [T, m] to begin with, to controls [T, m].
Solve = Callable[[ndarray, ndarray, ndarray, ndarray], ndarray]

#: What C compilers are told.
OPTIMISED = ["-O3", "-march=native"]

MODEL = Path(__file__).with_name("crocoddyl_model.cpp")


class Stages:
    """The program in the order of time, x_0, u_0, x_1, …, which solvers with a sense of stages ask for."""

    def __init__(self, problem: trc.Problem) -> None:
        n, m, T = problem.state_dim, problem.control_dim, problem.horizon
        x = [casadi.SX.sym(f"x{t}", n) for t in range(T + 1)]
        u = [casadi.SX.sym(f"u{t}", m) for t in range(T)]
        initial, target = casadi.SX.sym("initial", n), casadi.SX.sym("target", n)
        Q, R, Q_final = (casadi.DM(np.array(getattr(problem.cost, name))) for name in ("Q", "R", "Q_final"))
        cost = casadi.bilin(Q_final, x[T] - target)
        unknowns, defects, bounds = [], [], []
        for t in range(T):
            cost += casadi.bilin(Q, x[t] - target) + casadi.bilin(R, u[t])
            unknowns += [x[t], u[t]]
            bounds += [(-np.inf, np.inf)] * n + list(zip(problem.control_low, problem.control_high, strict=True))
            defects.append(x[t + 1] - DYNAMICS[problem.name](x[t], u[t], problem.parameters, problem.dt))
            if t == 0:
                defects.append(x[0] - initial)
        unknowns, bounds = casadi.vertcat(*unknowns, x[T]), [*bounds, *[(-np.inf, np.inf)] * n]
        parameters, equations = casadi.vertcat(initial, target), casadi.vertcat(*defects)
        self.n, self.m, self.T = n, m, T
        self.program = {"x": unknowns, "f": cost, "g": equations, "p": parameters}
        self.low, self.high = np.array(bounds).T
        self.equality = [True] * equations.numel()

    def pack(self, states: ndarray, controls: ndarray) -> ndarray:
        """A trajectory as one vector."""
        return np.concatenate([np.concatenate((states[:-1], controls), 1).ravel(), states[-1]])

    def controls(self, found: ndarray) -> ndarray:
        """The controls of one vector."""
        return found[: -self.n].reshape(self.T, self.n + self.m)[:, self.n :]


def by_casadi(problem: trc.Problem, plugin: str, **settings: object) -> Solve:
    """A nonlinear program of CasADi's."""
    stages = Stages(problem)
    solver = casadi.nlpsol("solver", plugin, stages.program, {"print_time": False, **settings})

    def solve(initial: ndarray, target: ndarray, states: ndarray, controls: ndarray) -> ndarray:
        given = {"p": np.concatenate((initial, target)), "x0": stages.pack(states, controls)}
        found = solver(**given, lbx=stages.low, ubx=stages.high, lbg=0, ubg=0)
        return stages.controls(np.array(found["x"])[:, 0])

    return solve


#: Functions and derivatives as C code, compiled once.
GENERATED = {"jit": True, "compiler": "shell", "jit_options": {"flags": OPTIMISED, "verbose": False}}

IPOPT = {"expand": True, "ipopt.print_level": 0, "ipopt.sb": "yes", "ipopt.tol": 1e-8}
IPOPT |= {"ipopt.bound_relax_factor": 0.0}

FATROP = {"expand": True, "structure_detection": "auto", "fatrop.print_level": 0, "fatrop.tol": 1e-8}

SQP = {"expand": True, "qpsol": "hpipm", "print_header": False, "print_iteration": False, "print_status": False}
SQP |= {"tol_pr": 1e-8, "tol_du": 1e-8, "qpsol_options": {"hpipm.iter_max": 100, "error_on_fail": False}}


def ipopt(problem: trc.Problem, generated: bool) -> Solve:
    """IPOPT with exact second derivatives."""
    return by_casadi(problem, "ipopt", **IPOPT, **(GENERATED if generated else {}))


def fatrop(problem: trc.Problem) -> Solve:
    """Fatrop: an interior-point method that knows of stages (Vanroye et al., 2023)."""
    equality = {"equality": Stages(problem).equality}
    return by_casadi(problem, "fatrop", **FATROP, **equality, **GENERATED)


def sqp(problem: trc.Problem) -> Solve:
    """CasADi's sequential quadratic programming; its quadratic programs by HPIPM (Frison and Diehl, 2020)."""
    return by_casadi(problem, "sqpmethod", **SQP, **GENERATED)


def crocoddyl(problem: trc.Problem, fddp: bool) -> Solve:
    """Crocoddyl's box-constrained DDP, or FDDP, with a compiled model (Mastalli et al., 2020; 2022)."""
    prefix = Path(str(distribution("libcrocoddyl").locate_file("cmeel.prefix")))
    include = [f"-I{prefix / 'include'}", f"-I{prefix / 'include' / 'eigen3'}"]
    library = ["-L", str(prefix / "lib"), "-lcrocoddyl", f"-Wl,--disable-new-dtags,-rpath,{prefix / 'lib'}"]
    target = Path(tempfile.mkdtemp()) / "model.so"
    how = [
        "g++",
        "-O3",
        "-DNDEBUG",
        "-std=c++17",
        "-shared",
        "-fPIC",
        *include,
        str(MODEL),
        "-o",
        str(target),
        *library,
    ]
    subprocess.run(how, check=True)
    loaded, numbers = ctypes.CDLL(str(target)), ctypes.POINTER(ctypes.c_double)
    loaded.make.restype = ctypes.c_void_p
    loaded.make.argtypes = [numbers, ctypes.c_int, ctypes.c_double, ctypes.c_int]
    loaded.solve.argtypes = [ctypes.c_void_p, numbers, numbers, numbers, ctypes.c_int]
    at = lambda array: array.ctypes.data_as(numbers)  # noqa: E731
    spring = float(problem.name == "van_der_pol")
    dynamics = [problem.parameters.get("mu", 0.0), spring, problem.dt, *problem.control_low, *problem.control_high]
    weights = (np.ravel(getattr(problem.cost, name)) for name in ("Q", "R", "Q_final"))
    given = np.concatenate((dynamics, *weights))
    solver = loaded.make(at(given), problem.horizon, 1e-9, int(not fddp))

    def solve(initial: ndarray, target: ndarray, states: ndarray, controls: ndarray) -> ndarray:
        found = controls.copy()
        loaded.solve(solver, at(initial), at(target), at(found), 500)
        return found

    return solve


class Quadratic:
    """A linear problem as matrices; gradient of the cost and right side of the equations are linear in its states."""

    def __init__(self, problem: trc.Problem) -> None:
        self.stages = Stages(problem)
        x, f, g, p = (self.stages.program[name] for name in "xfgp")
        H, slope = casadi.hessian(f, x)
        zero = casadi.substitute([slope, g], [x], [casadi.SX.zeros(x.shape)])
        found = casadi.Function(
            "matrices", [], [H, casadi.jacobian(g, x), *(casadi.jacobian(one, p) for one in zero)]
        )()
        self.H, self.A = (sparse.csc_matrix(found[f"o{i}"].sparse()) for i in (0, 1))
        self._linear, right = (np.array(found[f"o{i}"]) for i in (2, 3))
        self._right = -right

    def vectors(self, initial: ndarray, target: ndarray) -> tuple[ndarray, ndarray]:
        """Gradient of the cost, and right side of the equations."""
        p = np.concatenate((initial, target))
        return self._linear @ p, self._right @ p


def piqp(problem: trc.Problem) -> Solve:
    """PIQP, a proximal interior-point method (Schwan et al., 2023); only numbers that change are handed in again."""
    import piqp

    program, solver = Quadratic(problem), piqp.SparseSolver()
    stages, (size, equations) = program.stages, program.A.T.shape
    solver.settings.eps_abs = solver.settings.eps_rel = 1e-9
    unknown, right = np.zeros(size), np.zeros(equations)
    solver.setup(program.H, unknown, program.A, right, None, None, None, stages.low, stages.high)

    def solve(initial: ndarray, target: ndarray, states: ndarray, controls: ndarray) -> ndarray:
        linear, right = program.vectors(initial, target)
        solver.update(c=linear, b=right)
        solver.solve()
        return stages.controls(np.array(solver.result.x))

    return solve


def osqp(problem: trc.Problem) -> Solve:
    """OSQP, an operator-splitting method (Stellato et al., 2020), polished; warm from the start."""
    import osqp

    program, solver = Quadratic(problem), osqp.OSQP()
    stages, (size, equations) = program.stages, program.A.T.shape
    whole = sparse.vstack((program.A, sparse.eye(size))).tocsc()
    edges = np.zeros(equations)
    low, high = np.concatenate((edges, stages.low)), np.concatenate((edges, stages.high))
    effort = {"eps_abs": 1e-7, "eps_rel": 1e-7, "max_iter": 100_000, "polishing": True}
    solver.setup(sparse.triu(program.H).tocsc(), np.zeros(size), whole, low, high, verbose=False, **effort)

    def solve(initial: ndarray, target: ndarray, states: ndarray, controls: ndarray) -> ndarray:
        linear, right = program.vectors(initial, target)
        solver.update(q=linear, l=np.concatenate((right, stages.low)), u=np.concatenate((right, stages.high)))
        solver.warm_start(x=stages.pack(states, controls))
        return stages.controls(np.array(solver.solve().x))

    return solve


#: The solvers of each problem by the name that the table shows.
SOLVERS: dict[str, dict[str, Callable[[trc.Problem], Solve]]] = {
    "van_der_pol": {
        "crocoddyl BoxDDP": partial(crocoddyl, fddp=False),
        "crocoddyl BoxFDDP": partial(crocoddyl, fddp=True),
        "fatrop": fatrop,
        "SQP, HPIPM": sqp,
        "IPOPT, generated code": partial(ipopt, generated=True),
        "IPOPT": partial(ipopt, generated=False),
    },
    "double_integrator": {
        "crocoddyl BoxDDP": partial(crocoddyl, fddp=False),
        "crocoddyl BoxFDDP": partial(crocoddyl, fddp=True),
        "PIQP": piqp,
        "OSQP": osqp,
        "fatrop": fatrop,
        "SQP, HPIPM": sqp,
        "IPOPT, generated code": partial(ipopt, generated=True),
        "IPOPT": partial(ipopt, generated=False),
    },
}
