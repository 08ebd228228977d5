import pandas as pd
import pytest

from trc.artifact import rows
from trc.common import text as tables


def plain(text):
    """With ordinary spaces and minus signs."""
    return text.replace("\N{NO-BREAK SPACE}", " ").replace("\N{MINUS SIGN}", "-")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.12345, "0.123"),
        (-2.5, "-2.50"),
        (99.96, "100"),
        (123.4, "123"),
        (999.6, "1 000"),
        (12345.6, "12 346"),
        (1e-4, "0.000100"),
        (1.234e-5, "1.23 × 10⁻⁵"),
        (-4.56e7, "-4.56 × 10⁷"),
        (float("nan"), "nan"),
    ],
)
def test_number_has_three_significant_digits(value, text):
    assert plain(tables.number(value)) == text


def test_shares_intervals_and_counts_by_hand():
    assert tables.share(0.0000123).split() == ["0.0012", "%"] and tables.share(0.312).split() == ["31", "%"]
    assert tables.share(3e-10).split() == "3.0 × 10⁻⁸ %".split()
    assert plain(tables.count(2_604_062)) == "2 604 062"
    assert plain(tables.count(-1234.56, 1)) == "-1 234.6"
    assert plain(tables.percent(-1e-9)) == "0.00 %"
    assert plain(tables.percent(0.00364)) == "0.36 %"
    assert plain(tables.percent(-0.5, 0)) == "-50 %"
    assert plain(tables.interval(0.1, 0.25)) == "0.100 … 0.250"
    assert plain(tables.interval(0.1, 0.25, tables.percent)) == "10.00 … 25.00"


def test_numbers_never_break_at_a_space_or_hyphen():
    assert not set(" -") & set(tables.number(-12345.6) + tables.number(-1e-9) + tables.percent(-0.1))


FRAME = pd.DataFrame({"method": ["a", "a", "b"], "seed": [0, 1, 0], "value": [1.0, 2.0, 3.0]})


def test_one_value_is_singled_out():
    assert rows.value_of(FRAME, method="a", seed=1) == 2.0
    assert rows.value_of(FRAME, "seed", value=3.0) == 0.0
    assert list(rows.select(FRAME, method="a")["value"]) == [1.0, 2.0]


@pytest.mark.parametrize(("where", "count"), [({"method": "a"}, 2), ({"method": "c"}, 0)])
def test_none_or_several_values_are_refused(where, count):
    with pytest.raises(ValueError, match=f"fits {count} rows of the table, expected exactly one"):
        rows.value_of(FRAME, **where)


def test_table_as_markdown_and_latex_aligns_its_first_columns_left():
    content = (["method", "gap"], [["net", tables.percent(0.05)], ["lqr", tables.times(2.5)]])
    assert plain(tables.markdown(*content)) == "| method | gap |\n| --- | ---: |\n| net | 5.00 % |\n| lqr | 2.50 × |"
    rows = [r"method & gap \\", r"\midrule", r"net & 5.00~\% \\", r"lqr & 2.50~$\times$ \\"]
    whole = [r"\begin{tabular}{ll}", r"\toprule", *rows, r"\bottomrule", r"\end{tabular}"]
    assert tables.latex(*content, left=2).splitlines() == whole
