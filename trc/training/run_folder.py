"""A run on disk: its checkpoints, its statistics, and all that it needs to go on where it was interrupted."""

import contextlib
import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from ..common.checks import all_finite, check_count, check_real
from ..common.files import DAMAGED, as_path, lock_folder, readable, write_text
from ..common.provenance import package_versions
from ..model.checkpoints import read_tensors, read_training_record, save_model, write_tensors
from .average import Average
from .config import History

#: Optimizer states that are kept, tensors of the parameters' shapes and their count of steps.
_STATES = ("step", "exp_avg", "exp_avg_sq")

#: The file that a run goes on from; what one that can't be read should have been, and what to do about it.
STATE = "training_state.safetensors"
_UNREADABLE = "state of a training", "remove it and the models beside it to begin anew"


class RunFolder:
    """``best_model``, ``last_model``, ``training_stats.json`` and ``training_curves.png`` of one run.

    ``training_state.safetensors`` is the one file that a run goes on from; the others are written from the same
    numbers and may be deleted at any time. The time that the training took stands in ``training_stats.json`` alone,
    so that all else has the same bytes every time. The setup is all that the run follows from, as plain JSON values.
    Within ``with`` the folder is this run's alone.
    """

    def __init__(self, path: str | Path, setup: dict[str, Any]) -> None:
        self.path = as_path(path)
        self.setup = json.loads(json.dumps(setup))
        self.best = self.path / "best_model.safetensors"
        self.last = self.path / "last_model.safetensors"
        self.state = self.path / STATE
        self.stats = self.path / "training_stats.json"
        self.curves = self.path / "training_curves.png"
        self._history = History()  # so far
        self._seconds = 0.0  # that its epochs have taken, in all starts of the run

    def __enter__(self) -> Self:
        """Make the folder and lock it; the system unlocks it with the end of the process, however that ends."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OSError(f"can't make the run's folder {self.path} ({error.strerror}); choose another.") from None
        try:
            self._unlock = lock_folder(self.path)
        except BlockingIOError:
            raise ValueError(f"another training is at work in {self.path}; choose another folder, or wait.") from None
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Let other runs write into the folder again; what was interrupted has the curves of its epochs so far."""
        try:
            if kind is not None and self._history.train_loss:
                with contextlib.suppress(Exception):  # what is told is why it ended; matplotlib may be half imported
                    self._draw(self._history)
        finally:
            self._unlock()

    def restore(
        self, modules: nn.ModuleDict, optimizer: torch.optim.Optimizer, average: Average, fresh: dict[str, Tensor]
    ) -> tuple[History, dict[str, Tensor]]:
        """History and best weights so far; modules, optimizer and average are put where the run was interrupted.

        A folder that holds another run, or a state that can't be read, is a ``ValueError``.
        """
        self._clock = time.perf_counter()
        if not self.state.is_file():
            if self.best.is_file():
                raise ValueError(f"{self.path} holds a model but no state to go on from; choose another folder.")
            return History(), fresh
        header, tensors = _read_state(self.state)
        self._check_same_run(header["setup"])
        with readable(self.state, *_UNREADABLE):
            parts: dict[str, dict[str, Tensor]] = {"weights": {}, "average": {}, "best": {}, "optimizer": {}}
            for name, tensor in tensors.items():
                part, _, rest = name.partition("/")
                parts[part][rest] = tensor
            history = History.from_record(header["history"])
            states: dict[int, dict[str, Tensor]] = {}
            for name, tensor in parts["optimizer"].items():
                index, _, key = name.partition("/")
                states.setdefault(int(index), {})[key] = tensor
            shapes = [parameter.shape for parameter in optimizer.param_groups[0]["params"]]
            for index, state in states.items():
                wanted = dict.fromkeys(_STATES, shapes[index]) | {"step": torch.Size()}
                if {key: tensor.shape for key, tensor in state.items()} != wanted:
                    raise ValueError("its optimizer's state has another form")
            optimizer.load_state_dict({"state": states, "param_groups": optimizer.state_dict()["param_groups"]})
        for kept, path in ((parts["best"], self.best), (parts["average"], self.last), (parts["weights"], None)):
            with readable(self.state, *_UNREADABLE):
                modules.load_state_dict(kept)
            if path is not None:  # an interrupt may have come between the state and its copies
                self._save(modules, path, history)
        average.restore(parts["average"], header["updates"])
        self._history, self._seconds = history, _seconds_in(self.stats)
        return history, parts["best"]

    def keep(
        self,
        modules: nn.ModuleDict,
        optimizer: torch.optim.Optimizer,
        average: Average,
        best: dict[str, Tensor],
        history: History,
    ) -> None:
        """Write everything after an epoch."""
        self._history = history
        tensors = {f"weights/{name}": tensor for name, tensor in modules.state_dict().items()}
        tensors |= {f"average/{name}": tensor for name, tensor in average.tensors.items()}
        tensors |= {f"best/{name}": tensor for name, tensor in best.items()}
        for index, state in optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer/{index}/{key}": state[key] for key in _STATES}
        for name, tensor in tensors.items():  # one that stands under two names must be two to be saved
            tensors[name] = tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        write_tensors(self.state, self._record(history) | {"updates": average.updates}, tensors)
        with average.instead():
            self._save(modules, self.last, history)
            if history.without_progress() == 0:
                self._save(modules, self.best, history)
        now = time.perf_counter()
        self._seconds, self._clock = self._seconds + now - self._clock, now
        self._write_stats(history, finished=False)

    def finish(self, modules: nn.ModuleDict, history: History) -> None:
        """Write the best weights, which the modules have now, and that the run is complete; draw its curves."""
        self._save(modules, self.best, history)
        self._write_stats(history, finished=True)
        self._draw(history)

    def _draw(self, history: History) -> None:
        from ..plots import save_png, training_curves  # matplotlib takes a second to import; few runs need it

        done = len(history.learning_rate)  # an interrupt may have come before the last epoch's was noted too
        save_png(training_curves(history.train_loss[:done], history.validation_loss[:done]), self.curves)

    def _record(self, history: History) -> dict[str, Any]:
        return {"setup": self.setup, "history": asdict(history)}

    def _save(self, modules: nn.ModuleDict, path: Path, history: History) -> None:
        predictor = modules["value_predictor"] if "value_predictor" in modules else None
        save_model(modules["model"], path, training=self._record(history), value_predictor=predictor)

    def _write_stats(self, history: History, finished: bool) -> None:
        about = {"finished": finished, "seconds": round(self._seconds, 3)}
        about |= {"versions": package_versions("torch", "numpy")}
        stats = history.summary() | self._record(history) | about
        write_text(self.stats, json.dumps(stats, indent=2, sort_keys=True) + "\n")

    def _check_same_run(self, theirs: dict[str, Any]) -> None:
        if theirs == self.setup:
            return
        differing = [
            f"{name} ({_short(theirs.get(key, {}).get(name))} there, {_short(mine.get(name))} here)"
            for key, mine in self.setup.items()
            if isinstance(mine, dict)
            for name in mine
            if theirs.get(key, {}).get(name) != mine[name]
        ]
        raise ValueError(
            f"{self.path} holds another run: it differs in {'; '.join(differing[:3]) or 'its model or data'}; "
            "choose another folder, or remove this one."
        )


def epochs_done(path: str | Path) -> int:
    """Epochs that the run in a folder has done; 0 where there is none."""
    state = as_path(path) / STATE
    return len(_read_state(state)[0]["history"]["train_loss"]) if state.is_file() else 0


def training_summary(checkpoint: str | Path) -> dict[str, float]:
    """What a checkpoint of a run says of its training; nothing for one that was saved otherwise."""
    history = read_training_record(checkpoint).get("history")
    with readable(checkpoint, "trc checkpoint", "make it again"):
        return History.from_record(history).summary() if history else {}


def teacher_of(checkpoint: str | Path) -> str | None:
    """The expert whose answers a checkpoint of a run was trained on; None for one that does not say."""
    setup = read_training_record(checkpoint).get("setup")
    with readable(checkpoint, "trc checkpoint", "make it again"):
        return setup["data"].get("expert") if setup else None


def _read_state(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    with readable(path, *_UNREADABLE):
        header, tensors = read_tensors(path)
        if not {"setup", "history", "updates"} <= set(header):
            raise ValueError("it has no setup, history and count of updates")
        check_count(header["updates"], "the count of updates", minimum=0)
        History.from_record(header["history"])
        if not all(isinstance(part, dict) for part in header["setup"].values()):
            raise ValueError("its setup has another form")
        if not all(map(all_finite, tensors.values())):
            raise ValueError("it has numbers that are not finite")
        return header, tensors


def _seconds_in(stats: Path) -> float:
    """The time that a run's statistics say; 0 where somebody removed or changed them."""
    try:
        return check_real(json.loads(stats.read_text("utf-8"))["seconds"], "seconds", minimum=0)
    except DAMAGED:
        return 0.0


def _short(value: Any) -> str:
    return f"{value!r:.40}"
