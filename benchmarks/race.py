"""Two ways to do the same, timed in turn; what counts is the ratio within a repeat."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pandas as pd
from tqdm import tqdm

KEY = ["task", "problem", "batch", "rival"]

#: A turn lasts at least about this many seconds; short calls are repeated in it.
SHORTEST = 0.05


@dataclass(frozen=True)
class Race:
    """Two ways to do the same."""

    task: str
    problem: str
    batch: int  # instances that `ours` treats in a call
    ours: Callable[[], object]
    other: Callable[[], object] | None = None  # none where only our time is of interest
    rival: str = ""  # what `other` is


def run_races(races: Sequence[Race], repeats: int) -> pd.DataFrame:
    """One row a race, turn and side: seconds a call, and for each instance of it."""
    rows = []
    for race in tqdm(races, desc="races", unit="race"):
        key = {name: getattr(race, name) for name in KEY}
        sides = [("trc", race.ours, race.batch)]
        if race.other is not None:
            sides.append(("rival", race.other, race.batch))
        calls = {side: max(1, round(SHORTEST / min(timed(call), timed(call)))) for side, call, _ in sides}
        for repeat in range(repeats):
            for side, call, batch in sides:
                seconds = timed(call, calls[side])
                rows.append(key | {"repeat": repeat, "side": side, "seconds": seconds, "per_instance": seconds / batch})
    return pd.DataFrame(rows)


def timed(call: Callable[[], object], times: int = 1) -> float:
    """Seconds of one call, the mean of several in a row."""
    start = time.perf_counter()
    for _ in range(times):
        call()
    return (time.perf_counter() - start) / times


def summarise(timings: pd.DataFrame) -> pd.DataFrame:
    """Medians of both sides, and the ratio of the times per instance with its quartiles."""
    rows = []
    for key, race in timings.groupby(KEY, sort=False):
        sides = race.pivot(index="repeat", columns="side", values="per_instance")
        row = dict(zip(KEY, key, strict=True))
        row["trc_seconds"] = race[race["side"] == "trc"]["seconds"].median()
        row["trc_ms_per_instance"] = 1e3 * sides["trc"].median()
        if "rival" in sides:
            ratios = sides["rival"] / sides["trc"]
            row["rival_ms_per_instance"] = 1e3 * sides["rival"].median()
            row["ratio"], row["low"], row["high"] = ratios.quantile([0.5, 0.25, 0.75])
        rows.append(row)
    return pd.DataFrame(rows)
