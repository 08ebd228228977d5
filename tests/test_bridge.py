"""Whoever comes with the first guides: what they type runs here, or is told what to type, and what they name is there.

The commands are those of ``book/guides.yml``, which the book's page shows.
"""

import importlib
import json
import re
import shlex
import shutil
from functools import partial
from pathlib import Path

import pytest
import torch

import trc
from trc import guide
from trc.artifact.guides import KINDS, NONE, find_option, read_guides
from trc.cli import main
from trc.cli.main import trc as trc_command
from trc.evaluation import compare

ROOT = Path(__file__).resolve().parent.parent
GUIDES = read_guides(ROOT)
DOCUMENTS = list(GUIDES.titles)

#: What is put behind a command so that it takes a moment; of an option that is given twice the last one counts.
FEWER = {
    "train": "--latent-dim 16 --hidden-dim 16 --num-heads 2 --num-blocks 1 --epochs 1",
    "evaluate": "--num-eval-samples 4",
    "compare": "--num-eval-samples 4",
    "pipeline": "--num-test 4",
}

#: Words of the system's, and two that are about another machine.
SYSTEM = ("cd", "conda", "pip", "watch", "open")


def small(words):
    """The arguments of a trc command, with a 250th of the samples and one epoch."""
    name, *rest = words
    if "--help" in rest:
        return words
    if name == "pipeline":
        rest = ["40", "1", *rest[2:]]
    for i, word in enumerate(rest):
        if word.startswith("--num_samples"):
            rest[i + 1] = str(int(rest[i + 1]) // 250)
    extra = FEWER.get(name, "")
    if "--latent_dim" in rest:
        extra = extra.partition("--num-heads")[1] + extra.partition("--num-heads")[2]
    return [name, *rest, *extra.split()]


@pytest.fixture
def here(tmp_path, monkeypatch):
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    # what takes most of the time is left out here, and is looked at elsewhere: pictures, and resampling
    monkeypatch.setattr("trc.cli.evaluate.compare_methods", partial(compare, resamples=10))
    for name in ("training_curves", "refinement_panels"):
        monkeypatch.setattr(f"trc.plots.{name}", lambda *_: None)
    monkeypatch.setattr("trc.plots.save_png", lambda _, path: Path(path).write_bytes(b""))
    return folder


@pytest.fixture
def run(capfd):
    """Run a trc command; what it printed, or the one line that refuses it."""

    def command(text):
        words = shlex.split(text)
        assert words.pop(0) == "trc"
        try:
            main(small(words))
        except SystemExit as exit:
            assert exit.code == 2, text
            told = capfd.readouterr().err
            (line,) = [line for line in told.splitlines() if ": error: " in line]
            assert "Traceback" not in told
            return "", line
        return capfd.readouterr().out, ""

    return command


@pytest.mark.parametrize("document", DOCUMENTS)
def test_document_typed_from_top_to_end(here, monkeypatch, run, document):
    """Each line runs as the page says, in the folder that the lines before it have left."""
    options = 0
    for line in GUIDES.lines(document):
        if line.plain.startswith("trc ") and line.how in ("renamed", "differs"):  # typed without a look at the page
            apart = here.with_name("apart")
            shutil.copytree(here, apart)
            with monkeypatch.context() as elsewhere:
                elsewhere.chdir(apart)
                told, refused = run(line.plain)
            shutil.rmtree(apart)
            if line.how == "renamed":
                assert "a checkpoint is a .safetensors file" in refused and "which is there" in refused, line
            elif not refused:
                assert "add --process-weight 0.1" in told, f"runs in silence as something else: {line.plain}"
        if not line.here or line.here == "trc demo":  # the demonstrations take a minute; tests/test_cli.py has them
            continue
        word = line.here.split()[0]
        if word in SYSTEM:
            files = [name for name in line.here.split() if "/" in name]
            assert all((here / name).is_file() for name in files), line
        elif word == "python":
            code = shlex.split(line.here)[2]
            exec(re.sub(r"epochs=\d+", "epochs=1", code), {})
        else:
            options += line.kind == "options"
            told, refused = run(line.here + (f" --output_dir outputs/{options}" if line.kind == "options" else ""))
            if "--device cuda" in line.here and not torch.cuda.is_available():
                assert 'device "cuda" is not available on this machine' in refused
            else:
                assert not refused, line
            if "--process_weight" in line.here:
                assert "loss process with process weight 0.1" in told
    written = {str(path.relative_to(here)) for path in here.rglob("*")}
    for output in GUIDES.entries["outputs"]:
        if document in output.guides.split() and output.here != NONE:
            wanted = output.here.strip("/")
            assert any(path == wanted or path.endswith(f"/{wanted}") for path in written), output
    assert not [path for path in written if path.endswith((".pt", ".pkl"))]
    if not list(here.rglob("evaluation_results.json")):  # which is written where one asks for it
        if not list(here.rglob("best_model.safetensors")):
            (data,) = here.rglob("*.npz")
            run(f"trc train --data {data}")
        checkpoint = next(here.rglob("best_model.safetensors"))
        run(f"trc evaluate --checkpoint {checkpoint} --output evaluation_results.json")
    for measure in GUIDES.entries["measures"]:
        file, _, key = measure.here.partition(" ")
        paths = list(here.rglob(file)) if document in measure.guides.split() else []
        assert paths or document not in measure.guides.split(), measure
        for path in paths:
            found = json.loads(path.read_text())
            for model in found if key.startswith("*.") else [None]:
                assert value_of(found if model is None else found[model], key.removeprefix("*.")) is not None, measure


def value_of(found, key):
    for part in key.split("."):
        found = found[part]
    return found


# Spellings


@pytest.mark.parametrize(
    ("name", "spellings"),
    {
        "van_der_pol": ("vanderpol", "VanDerPol", "Van der Pol", "van-der-pol", "Van der Pol Oscillator", "vdp"),
        "double_integrator": ("double-integrator", "double integrator", "DoubleIntegrator", "doubleintegrator"),
    }.items(),
)
def test_problem_is_understood_however_the_guides_spell_it(run, here, name, spellings):
    for spelling in spellings:
        assert trc.make_problem(spelling) == trc.make_problem(name)
        assert guide.create_dynamics_function(spelling, dt=0.1).args == (trc.make_problem(name, dt=0.1),)
    told, _ = run(f"trc generate --problem '{spellings[0]}' --num_samples 1000 --output data.npz")
    assert f"4 instances of {name}" in told
    told, _ = run(f"trc train --data data.npz --problem '{spellings[2]}' --output_dir out")
    assert f"4 instances of {name}" in told
    told, _ = run(f"trc evaluate --checkpoint out/best_model.safetensors --problem '{spellings[1]}'")
    assert f"4 instances of {name}" in told


# Pickles


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".pkl", ".pickle", ".PT"])
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (trc.load_model, "a checkpoint is a .safetensors file, got {0}{1}, .* train one with trc train, or load"),
        (
            trc.load_value_predictor,
            "a checkpoint is a .safetensors file, .* write {0}.safetensors with trc.save_model",
        ),
        (lambda path: trc.save_model(trc.TinyRecursiveControl.create_small(), path), "name it {0}.safetensors"),
        (trc.load_dataset, "a dataset is a .npz file, got {0}{1}, .* trc generate --output {0}.npz"),
        (guide.load_dataset, "a dataset is a .npz file, got {0}{1}, .* trc generate --output {0}.npz"),
        (trc.generate_dataset(trc.make_problem("vdp"), 2, seed=0).save, "a dataset is a .npz file, .* name it {0}.npz"),
    ],
)
def test_pickle_is_refused_and_told_what_is_read_and_how_to_get_it(here, suffix, call, message):
    for there in (False, True):  # whether or not there is such a file
        with pytest.raises(ValueError, match=message.format("folder/some", suffix)):
            call(f"folder/some{suffix}")
        if not there:
            (here / "folder").mkdir()
            torch.save({}, here / "folder" / f"some{suffix}")


def test_file_of_the_right_kind_beside_a_pickle_is_named(here, double_integrator):
    trc.generate_dataset(double_integrator, 2, seed=0).save("some.npz")
    trc.save_model(trc.TinyRecursiveControl.create_small(problem=double_integrator), "some.safetensors")
    for call, path in ((trc.load_dataset, "some.npz"), (trc.load_model, "some.safetensors")):
        with pytest.raises(ValueError, match=f"give {path}, which is there"):
            call("some.pkl")


def test_weights_from_a_pickle_come_in_as_the_message_says(here, double_integrator):
    create = partial(trc.TinyRecursiveControl.create_small, problem=double_integrator)
    model, other = create(seed=0), create(seed=1)
    torch.save(model.state_dict(), "mine.pt")
    other.load_state_dict(torch.load("mine.pt", weights_only=True))
    back = trc.load_model(trc.save_model(other, "mine.safetensors"))
    assert all(torch.equal(a, b) for a, b in zip(back.parameters(), model.parameters(), strict=True))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("evaluate --checkpoint a.pt", "a checkpoint is a .safetensors file, got a.pt"),
        ("compare --trc_checkpoint a.pth", "a checkpoint is a .safetensors file, got a.pth"),
        ("refine --checkpoint a.pickle", "a checkpoint is a .safetensors file, got a.pickle"),
        ("refine --checkpoint MODEL --baseline a.pt", "a checkpoint is a .safetensors file, got a.pt"),
        ("export --standalone --checkpoint a.pt", "a checkpoint is a .safetensors file, got a.pt"),
        ("train --data a.pkl", "a dataset is a .npz file, got a.pkl"),
        ("train --data_path a.pt", "a dataset is a .npz file, got a.pt"),
        ("evaluate --checkpoint MODEL --test_data a.pkl", "a dataset is a .npz file, got a.pkl"),
        ("compare --checkpoint MODEL --data a.pkl", "a dataset is a .npz file, got a.pkl"),
        ("refine --checkpoint MODEL --data a.pkl", "a dataset is a .npz file, got a.pkl"),
        ("generate --output a.pkl", "a dataset is a .npz file, got a.pkl, .*; name it a.npz"),
        ("evaluate --checkpoint MODEL --output a.pkl", "the results are a .json file, got a.pkl, .*; name it a.json"),
    ],
)
def test_pickle_is_told_by_every_command(here, run, double_integrator, arguments, message):
    trc.save_model(trc.TinyRecursiveControl.create_small(problem=double_integrator), "some.safetensors")
    _, refused = run("trc " + arguments.replace("MODEL", "some.safetensors"))
    assert re.search(message, refused), refused


# Names


def test_every_option_is_understood_as_it_is_typed():
    without = {entry.named for entry in GUIDES.entries["options"]}
    typed = list(GUIDES.typed_options())
    assert {name for name, _, option in typed if option is None} == without
    assert len(typed) > 30
    for command in trc_command.commands.values():  # and so is every other one
        for option in command.params:
            for name in getattr(option, "opts", ()):
                if name.startswith("--"):
                    assert find_option(command, name.replace("-", "_").replace("__", "--")) is option


@pytest.mark.parametrize("entry", [*GUIDES.entries["functions"], *GUIDES.entries["files"]], ids=lambda e: e.named)
def test_counterpart_of_a_name_is_there(entry):
    texts = f"{entry.here} {entry.why}"
    for name in re.findall(r"\btrc(?:\.\w+)+", texts):
        *parents, last = name.split(".")
        found = importlib.import_module("trc")
        for i, part in enumerate([*parents[1:], last], 1):
            if not hasattr(found, part):
                importlib.import_module(".".join([*parents, last][: i + 1]))
            found = getattr(found, part)
    for module in re.findall(r"from (trc[\w.]*) import", texts):
        importlib.import_module(module)
    if entry in GUIDES.entries["files"] and entry.here != NONE:
        assert all((ROOT / path).exists() for path in entry.here.split(", "))


def test_what_was_named_is_named_once_a_document():
    for kind in KINDS:
        named = [(document, entry.named) for entry in GUIDES.entries[kind] for document in entry.guides.split()]
        assert len(set(named)) == len(named)


def test_counts_of_the_page_add_up():
    counts = GUIDES.counts()
    assert counts["lines"] == counts["script"] + counts["options"] + counts["shell"] == len(GUIDES.all_lines)
    assert counts["script"] == sum(counts[how] for how in ("stands", "renamed", "differs"))  # each has a counterpart


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("scripts: []\n", "it must have exactly documents and the lists scripts, commands"),
        (None, "unknown guide 'other'; known are a"),
    ],
)
def test_list_that_is_not_as_it_must_be_is_refused(root, change, message):
    lists = "".join(f"{kind}: []\n" for kind in KINDS if kind != "files")
    text = change or f"documents: {{a: A}}\n{lists}files: [{{guides: other, named: x, here: y}}]\n"
    (root / "book" / "guides.yml").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_guides(root)
