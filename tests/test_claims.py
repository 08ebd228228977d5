"""The claims of the book hold, and a broken one is noticed and named."""

import shutil
from pathlib import Path

import pandas as pd
import pytest
import yaml

import trc
from trc.artifact.claims import Number, read_claims, read_promises
from trc.artifact.claims.__main__ import main, readme_table, with_table
from trc.artifact.results import Record

ROOT = Path(__file__).resolve().parent.parent
CLAIMS, CHECKPOINTS = read_claims(ROOT)
PROMISES = read_promises(ROOT)

FRAME = pd.DataFrame({"method": ["a", "a", "b"], "metric": ["gap", "success", "gap"], "value": [0.25, 1.0, 0.5]})
CLAIM = {
    "id": "a-is-better",
    "page": "book/tiny",
    "text": "a costs {a}, b {b} more.",
    "numbers": {
        "a": {"table": "tiny/runs", "row": "a gap", "show": "percent 1"},
        "b": {"table": "tiny/runs", "row": "b gap"},
    },
    "holds": "a < b",
}
PROMISE = {
    "id": "a-is-small",
    "source": "A document",
    "says": "a costs 20 %.",
    "verdict": "fails",
    "text": "{a}.",
    "numbers": {"a": {"table": "tiny/runs", "row": "a 'gap'", "show": "percent 0"}},
    "holds": "a < 0.2",
}


@pytest.fixture
def root(root):
    """A project with one claim and no checkpoint."""
    Record(root / "results" / "tiny").write({"runs": FRAME}, parameters={})
    claim(root)
    promise(root)
    return root


def claim(root, **changes):
    text = yaml.safe_dump({"claims": [CLAIM | changes], "checkpoints": []})
    (root / "book" / "claims.yml").write_text(text)


def with_a(**number):
    """The numbers of the claim, `a` another one."""
    return {"numbers": CLAIM["numbers"] | {"a": number}}


def promise(root, **changes):
    rows = [PROMISE | changes] if changes else []
    (root / "book" / "promises.yml").write_text(yaml.safe_dump({"promises": rows}))


# The book's own


@pytest.mark.parametrize("claim", CLAIMS + PROMISES, ids=lambda claim: claim.id)
def test_claim_or_verdict_is_borne_out(claim):
    wrong = claim.wrong(ROOT)
    assert not wrong, f"{claim.page} says: {claim.text} But {wrong}."


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.id)
def test_claim_is_said_on_its_page(claim):
    page = (ROOT / f"{claim.page}.md").read_text()
    assert f"{{claim}}`{claim.id}`" in page, f"{claim.page} does not say {claim.id}"
    assert f"file: {claim.page}\n" in (ROOT / "_toc.yml").read_text()


@pytest.mark.parametrize("checkpoint", CHECKPOINTS, ids=lambda checkpoint: checkpoint.id)
def test_committed_checkpoint_gives_the_committed_numbers(checkpoint):
    wrong = checkpoint.wrong(ROOT)
    assert not wrong, f"{checkpoint.page} rests on a model that does not give its numbers: {wrong}"


def test_every_committed_checkpoint_is_checked():
    files = {path.relative_to(ROOT).as_posix() for path in (ROOT / "results" / "checkpoints").iterdir()}
    assert files == {checkpoint.file for checkpoint in CHECKPOINTS}


def test_readme_has_the_table_of_the_claims():
    readme = (ROOT / "README.md").read_text()
    table = readme_table(CLAIMS, ROOT)
    assert with_table(readme, table) == readme, "the results have changed since: run `make figures`"


# Any


def test_claim_puts_its_numbers_in(root):
    ((found,), _) = read_claims(root)
    assert found.values(root) == {"a": 0.25, "b": 0.5}
    assert found.sentence(root) == "a costs 25.0\N{NO-BREAK SPACE}%, b 0.500 more."


def test_claims_hold_with_status_0_and_edited_results_break_them(root, capsys):
    assert main([]) == 0
    assert capsys.readouterr().out == "holds   claim       a-is-better\neverything holds\n"
    (root / "results" / "tiny" / "runs.csv").write_text("method,metric,value\na,gap,0.1\nb,gap,0.5\n")
    assert main([]) == 1
    assert "is not the file that its manifest records" in capsys.readouterr().out


def test_broken_claim_ends_with_status_1_and_names_its_page(root, capsys):
    claim(root, holds="a > b")
    assert main([]) == 1
    out = capsys.readouterr().out
    wrong = "a > b is false for {'a': 0.25, 'b': 0.5}: it does not hold (book/tiny)"
    assert out == f"BROKEN  claim       a-is-better: {wrong}\n1 broken\n"


@pytest.mark.parametrize("row", ["a", "c gap", "a gap 0.25 more", ""])
def test_number_must_be_the_only_one(root, row):
    with pytest.raises(ValueError, match=r"fits \d rows of results/tiny/runs.csv"):
        Number(table="tiny/runs", row=row).value(root)


def test_several_rows_become_one_number_and_times_that_no_manifest_records_can_be_read(root):
    assert Number(table="tiny/runs", row="a", take="max").value(root) == 1.0
    assert Number(table="tiny/runs", row="a", take="mean").value(root) == 0.625
    assert Number(table="tiny/runs", row="* gap", take="min").value(root) == 0.25
    assert Number(table="tiny/runs", row="a", take="median").value(root) == 0.625
    (root / "results" / "tiny" / "timings.csv").write_text("what,seconds\n'a b',2\n")
    assert Number(table="tiny/timings", row="*", column="seconds").value(root) == 2
    with pytest.raises(ValueError, match="column 'beauty', fits 1 rows"):
        Number(table="tiny/runs", row="a gap", column="beauty").value(root)


@pytest.mark.parametrize(
    ("write", "change", "message"),
    [
        (claim, {"holds": "a < c"}, "can't be evaluated"),
        (claim, {"holds": "a <"}, "can't be evaluated"),
        (claim, {"holds": "a.foo < 1"}, "can't be evaluated"),
        (claim, {"holds": "not a > 0"}, "is no comparison; write < or >"),
        (claim, {"holds": "a - 1"}, "is no comparison"),
        (claim, {"holds": "[a, b]"}, "is no comparison"),
        (claim, with_a(table="tiny/runs", row="a gap", column="method"), "no numbers"),
        (promise, {"verdict": "holds"}, "a < 0.2 is false for {'a': 0.25}: it does not hold (book/promises)"),
        (promise, {"holds": "a < 0.3"}, "a < 0.3 is true for {'a': 0.25}: it holds (book/promises)"),
        (promise, {"fails": "a > 0.3"}, "a < 0.2 is false for {'a': 0.25}: it can't tell (book/promises)"),
        (promise, with_a(table="tiny/runs", row="'a gap'"), "fits 0 rows"),
    ],
)
def test_claim_or_verdict_that_cannot_be_evaluated_or_is_not_borne_out_is_broken(root, capsys, write, change, message):
    write(root, **change)
    assert main([]) == 1
    assert message in capsys.readouterr().out


@pytest.mark.parametrize(
    ("write", "change", "message"),
    [
        (claim, {"colour": "red"}, "a-is-better: unknown key colour; known are id, page, "),
        (claim, {"text": "it costs {c}"}, "a-is-better: the text names c, which is none of its numbers"),
        (claim, {"text": "it costs {}"}, "the text names a number without a name"),
        (claim, {"text": ""}, "a claim needs its text"),
        (claim, {"says": "much"}, "one that was announced its source and what that says"),
        (claim, {"holds": True}, "a-is-better: holds must be of type str, got True"),
        (claim, {"holds": ""}, "a-is-better: a verdict needs an expression in holds"),
        (claim, {"numbers": 5}, "a-is-better: numbers must be of type dict, got 5"),
        (claim, {"numbers": {"a": 5}}, "number a: each key must be given by its name, got 5"),
        (claim, with_a(row="a"), "a-is-better: number a: the key table is missing; known are table, row"),
        (claim, with_a(table=5, row="a"), "a-is-better: number a: table must be of type str, got 5"),
        (claim, with_a(table="t", row="a", show="roman 3"), "unknown way to show a number 'roman'; known are number, "),
        (claim, with_a(table="t", row="a", show="percent"), "percent 2"),
        (claim, with_a(table="t", row="a", take="sum"), "unknown way to take several rows 'sum'"),
        (promise, {"verdict": "maybe"}, "a-is-small: unknown verdict 'maybe'; known are holds, fails, undecided, open"),
        (promise, {"verdict": "open"}, "a verdict needs an expression in holds, and one that is open the reason in"),
        (promise, {"verdict": "open", "holds": ""}, "the reason in why"),
        (promise, {"source": "", "says": ""}, "a-is-small: what was announced needs its source and a verdict"),
        (promise, {"says": ""}, "a-is-small: a claim needs its text, and one that was announced its source"),
    ],
)
def test_bad_claim_or_promise_ends_with_status_2_and_one_line(root, capsys, write, change, message):
    write(root, **change)
    assert main([]) == 2
    error = capsys.readouterr().err
    assert error.startswith("trc.artifact.claims: ") and error.count("\n") == 1
    assert message in error


NO_LISTS = ["", "3", "claims: []", "{claims: 3, checkpoints: []}", "{claims: [3], checkpoints: []}", ": : ["]


@pytest.mark.parametrize("text", NO_LISTS)
def test_file_that_is_no_list_of_claims_is_refused(root, text):
    (root / "book" / "claims.yml").write_text(text)
    with pytest.raises(ValueError, match=r"claims.yml is not a list of claims \("):
        read_claims(root)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"row": "a b c"}, "m.safetensors: row must name problem, set, method and seed"),
        ({"tolerance": {"gap": "1e-5"}}, "m.safetensors: tolerance of gap must be a"),
        ({"tolerance": {"beauty": 1.0}}, "m.safetensors: unknown metric 'beauty'"),
        ({"tolerance": 5}, "m.safetensors: tolerance must be of type dict"),
        ({"iterations": "ten"}, "m.safetensors: iterations must be"),
    ],
)
def test_bad_checkpoint_is_refused(root, change, message):
    good = {"file": "results/checkpoints/m.safetensors", "page": "p", "table": "a/b", "row": "a b c 0"}
    entry = good | {"tolerance": {"gap": 0.1}} | change
    (root / "book" / "claims.yml").write_text(yaml.safe_dump({"claims": [], "checkpoints": [entry]}))
    with pytest.raises(ValueError, match=message):
        read_claims(root)


def test_readme_is_not_written_with_a_false_claim(root, capsys):
    (root / "README.md").write_text("before")
    claim(root, holds="a > b", readme=True)
    assert main(["--readme"]) == 2
    assert "the claim a-is-better does not hold: a > b is false" in capsys.readouterr().err
    assert (root / "README.md").read_text() == "before"


def test_missing_list_says_what_to_do(root):
    (root / "book" / "claims.yml").unlink()
    with pytest.raises(FileNotFoundError, match=r"no list of claims at .*restore it with git"):
        read_claims(root)


def test_readme_without_the_marks_is_refused():
    with pytest.raises(ValueError, match=r"README\.md lacks the lines"):
        with_table("# Title\n", "| a |")


def test_other_model_under_a_checkpoints_name_is_noticed(root):
    checkpoint = CHECKPOINTS[0]
    for experiment in ("comparison", "teachers"):
        shutil.copytree(ROOT / "results" / experiment, root / "results" / experiment)
    problem = checkpoint.row.split()[0]
    other = trc.TinyRecursiveControl.create_small(problem=trc.make_problem(problem), seed=1)
    trc.save_model(other, root / checkpoint.file)
    assert "is not a model of" in checkpoint.wrong(root)
    (root / checkpoint.file).unlink()
    assert "restore it with git" in checkpoint.wrong(root)
    trc.save_model(other, root / checkpoint.file, training={"recipe": {"problem": problem, "seed": 0}})
    assert "gap is" in checkpoint.wrong(root)


# What was announced


def test_verdict_is_checked_and_its_finding_written(root, capsys):
    promise(root, why="It is more.")
    (found,) = read_promises(root)
    assert found.sentence(root) == "25\N{NO-BREAK SPACE}%. It is more."
    assert main([]) == 0
    assert "holds   verdict     a-is-small\n" in capsys.readouterr().out
