import pytest
import torch

from trc.evaluation.statistics import Interval, bootstrap, interquartile_mean, ratio_of_means


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_interquartile_mean_of_eight_values_by_hand():
    values = torch.tensor([[100.0, 1, 4, 2], [3, -50, 7, 60]])  # in order: -50 1 | 2 3 4 7 | 60 100
    assert interquartile_mean(values).item() == 4


def test_interquartile_mean_ignores_order_and_extremes_and_moves_with_the_values():
    values = normal(5, 40)
    shuffled = values.flatten()[torch.randperm(200, generator=generator())].view(5, 40)
    assert interquartile_mean(shuffled) == interquartile_mean(values)
    spoilt = values.where(values < values.quantile(0.9), 1e9)
    assert interquartile_mean(spoilt) == interquartile_mean(values)
    torch.testing.assert_close(interquartile_mean(3 * values + 2), 3 * interquartile_mean(values) + 2)
    assert torch.equal(interquartile_mean(torch.stack((values, spoilt))), interquartile_mean(values).expand(2))


def test_bootstrap_of_a_constant_is_that_constant():
    assert bootstrap(torch.full((3, 7), 2.5), generator=generator()) == Interval(2.5, 2.5, 2.5)


def test_bootstrap_depends_on_its_generator_alone():
    values = normal(3, 30)
    torch.manual_seed(0)
    first = bootstrap(values, generator=generator(), resamples=50)
    torch.manual_seed(1)
    assert bootstrap(values, generator=generator(), resamples=50) == first
    assert bootstrap(values, generator=generator(1), resamples=50) != first


def test_bootstrap_interval_holds_the_value_and_grows_with_confidence():
    values = normal(4, 30)
    narrow, wide = (bootstrap(values, generator=generator(), resamples=300, confidence=c) for c in (0.5, 0.95))
    assert narrow.value == wide.value == interquartile_mean(values).item()
    assert wide.low < narrow.low < narrow.value < narrow.high < wide.high


@pytest.mark.parametrize("shape", [(1, 40), (40, 1)], ids=["over instances", "over seeds"])
def test_bootstrap_covers_the_true_mean_about_as_often_as_it_says(shape):
    options, hits = {"generator": generator(), "statistic": torch.mean, "resamples": 150, "confidence": 0.9}, 0
    for seed in range(150):
        found = bootstrap(normal(*shape, seed=seed), **options)
        hits += found.low < 0 < found.high
    assert 0.8 < hits / 150 < 0.96  # 0.9, within four standard deviations and the bootstrap's known optimism


def test_bootstrap_of_a_mean_is_as_wide_as_theory_says():
    values = normal(1, 400)
    found = bootstrap(values, generator=generator(), statistic=torch.mean)
    theory = 2 * 1.96 * values.std().item() / 20
    assert found.high - found.low == pytest.approx(theory, rel=0.1)


def test_seeds_are_drawn_anew_too():
    values = torch.tensor([[0.0], [1.0]]).expand(2, 50)  # instances agree, seeds do not
    found = bootstrap(values, generator=generator(), statistic=torch.mean)
    assert (found.low, found.value, found.high) == (0, 0.5, 1)


@pytest.mark.parametrize(
    ("values", "options", "message"),
    [
        (torch.zeros(5), {}, r"bootstrap needs finite values \[seeds, instances\], got shape \[5\]"),
        (torch.zeros(0, 4), {}, r"bootstrap needs finite values .* got shape \[0, 4\]"),
        (torch.tensor([[1.0, torch.nan]]), {}, "bootstrap needs finite values"),
        (torch.zeros(2, 3, 4), {}, r"must give one number, got \[2\] for \[2, 3, 4\]"),
        (torch.ones(2, 3), {"resamples": 0}, "resamples must be a whole number, 1 or more, got 0"),
        (torch.ones(2, 3), {"confidence": 95}, "confidence must lie between 0 and 1, got 95"),
    ],
)
def test_bootstrap_refuses_what_it_cannot_draw_from(values, options, message):
    with pytest.raises(ValueError, match=message):
        bootstrap(values, generator=generator(), **options)


def test_ratio_of_means_by_hand_and_drawn_together():
    cost, reference = torch.tensor([[2.0, 6.0], [4.0, 8.0]]), torch.tensor([[1.0, 3.0], [1.0, 3.0]])
    assert ratio_of_means(torch.stack((cost, reference))) == 5 / 2 - 1
    reference = torch.rand(1, 500, generator=generator(), dtype=torch.float64) + 0.1
    proportional = torch.stack((3 * reference, reference))  # the ratio is 3 whatever is drawn
    found = bootstrap(proportional, generator=generator(), statistic=ratio_of_means)
    assert (found.low, found.high) == (pytest.approx(2), pytest.approx(2))


def test_paired_interval_knows_what_both_have_in_common():
    common = 100 * normal(3, 200)
    better = common - 1 + 0.1 * normal(3, 200, seed=1)
    paired = bootstrap(better - common, generator=generator(), statistic=torch.mean)
    assert paired.value == pytest.approx((better - common).mean().item())
    assert -1.1 < paired.low < paired.high < -0.9
    alone = bootstrap(better, generator=generator(), statistic=torch.mean)
    assert alone.high - alone.low > 50 * (paired.high - paired.low)
