"""Tests of claims: exact p-values, Holm's correction, intervals that cover, power."""

import itertools
import math

import numpy as np
import pytest
from scipy.stats import mannwhitneyu, spearmanr

from tlp_core.experiments import claims


def cases(pairs):
    return [{"x": x, "y": y} for x, y in pairs]


def test_a_correlation_holds_fails_or_is_undecided():
    rng = np.random.default_rng(0)
    x = np.arange(20.0)
    rising = cases(np.stack([x, x + rng.normal(size=20)], axis=1))
    found = [
        claims.correlation("c", rising, "x", "y"),
        claims.correlation("c", rising, "x", "y", claimed="negative"),
        claims.correlation("c", cases(rng.normal(size=(20, 2))), "x", "y"),
        claims.correlation("c", rising[:3], "x", "y"),
        claims.correlation("c", [{"x": 1.0, "y": 2.0}] * 9, "x", "y"),
        claims.correlation("c", [], "x", "y"),
    ]
    verdicts = [claim.verdict for claim in claims.correct_claims(found)]
    assert verdicts == ["holds", "does not hold", *["undecided"] * 4]
    assert [claim.count for claim in found] == [20, 20, 20, 3, 9, 0]
    assert np.isnan([found[3].low, found[4].p, found[4].low, found[5].value]).all()


@pytest.mark.parametrize("count", [4, 6, 8])
def test_the_p_value_of_a_correlation_counts_all_permutations(count):
    """Eight cases, those of the page, have 40,320 permutations."""
    rng = np.random.default_rng(count)
    x, y = rng.normal(size=(2, count))
    ranks = np.array([np.argsort(np.argsort(values)) for values in (x, y)])
    orders = np.array(list(itertools.permutations(ranks[1])))
    every = 1 - 6 * np.square(orders - ranks[0]).sum(axis=1) / (count * (count**2 - 1))
    found = claims.correlation("c", cases(zip(x, y)), "x", "y")
    assert found.value == pytest.approx(spearmanr(x, y).statistic)
    one_sided = min(
        np.mean(every >= found.value - 1e-9),
        np.mean(every <= found.value + 1e-9),
    )
    assert found.p == pytest.approx(min(1.0, 2 * one_sided))


def test_the_p_value_of_a_mean_counts_all_signs():
    values = [1.0, 2.0, 3.0, 4.0, 5.0, -0.5]
    found = claims.mean("m", "x", values)
    every = [np.dot(signs, values) for signs in itertools.product((1, -1), repeat=6)]
    assert found.p == pytest.approx(2 * np.mean(np.array(every) >= sum(values)))
    assert claims.mean("m", "x", [1.0] * 5).p == 2 / 2**5  # five equal signs decide nothing
    assert claims.mean("m", "x", [1.0] * 5).power == 0


def test_a_mean_omits_what_is_not_finite_and_can_only_be_shown():
    found = claims.mean("m", "x", [1.0, 1.2, 0.9, 1.1, 1.3, 1.2, np.nan])
    (corrected,) = claims.correct_claims([found])
    assert (corrected.verdict, corrected.count) == ("holds", 6)
    assert found.low <= found.value <= found.high
    shown = claims.mean("m", "x", [1.0, 1.2], claimed=None)
    assert (shown.verdict, shown.value) == ("shown", 1.1)
    assert math.isnan(shown.p)
    assert claims.mean("m", "x", []).count == 0


def test_four_networks_against_four_can_be_decided():
    apart = claims.difference("d", "x", [5, 6, 7, 8], [1, 2, 3, 4])
    assert apart.p == pytest.approx(2 / 70)
    assert (apart.value, apart.low, apart.high) == (4, 1, 7)
    (corrected,) = claims.correct_claims([apart])
    assert corrected.verdict == "holds"
    turned = claims.difference("d", "x", [1, 2, 3, 4], [5, 6, 7, 8])
    assert claims.correct_claims([turned])[0].verdict == "does not hold"
    three = claims.difference("d", "x", [5, 6, 7], [1, 2, np.nan])
    assert three.p > 0.05
    assert np.isnan([three.low, three.high]).all()
    assert (three.count, three.power) == (5, 0)
    assert claims.difference("d", "x", [], [1.0]).count == 1
    assert claims.difference("d", "x", [2.0], [1.0]).p == claims.mean("m", "x", [2.0]).p == 1


@pytest.mark.parametrize(("ones", "others"), [(4, 4), (5, 7), (8, 3), (12, 9)])
def test_the_interval_of_a_shift_is_the_inverted_test(ones, others):
    """A shift lies outside if SciPy's exact two-sided test of it has p of at most 0.05."""
    rng = np.random.default_rng(ones)
    one, other = rng.normal(size=ones), rng.normal(size=others)
    found = claims.difference("d", "x", one, other)
    for edge, inwards in ((found.low, 1), (found.high, -1)):
        inside = mannwhitneyu(one - edge - inwards * 1e-9, other, method="exact").pvalue
        outside = mannwhitneyu(one - edge + inwards * 1e-9, other, method="exact").pvalue
        assert inside > 0.05 >= outside


def test_an_effect_of_zero_decides_nothing():
    """Medians can agree where the ranks differ, as those of counts with many zeros do."""
    tied = claims.difference("d", "x", [0] * 12 + [1] * 8, [0] * 20, claimed="negative")
    assert (tied.value, tied.p < 0.05) == (0, True)
    assert claims.correct_claims([tied])[0].verdict == "undecided"


def test_networks_of_one_setting_are_one_case(monkeypatch):
    """A value that depends on β in any way is no trend over β."""
    # intervals take most of the time, and are not looked at
    monkeypatch.setattr(claims, "_bootstrap_interval", lambda _pairs: (math.nan, math.nan))
    rng = np.random.default_rng(0)
    decided = 0
    for _ in range(100):
        effect = rng.normal(size=8)
        rows = [
            {"beta": beta, "y": effect[beta] + 0.1 * rng.normal()}
            for beta in range(8)
            for _seed in range(3)
        ]
        found = claims.correlation("c", rows, "beta", "y", by=["beta"])
        assert found.count == 8
        decided += found.p <= 0.05
    assert decided <= 11
    rows = [{"beta": 1}, {"beta": 2, "y": 3.0}]
    assert claims.correlation("c", rows, "beta", "y", by=["beta"]).count == 1


def test_p_values_are_corrected_for_their_number():
    """Holm 1979: the smallest is multiplied by m, the next by m - 1; they never decrease."""
    p = [0.01, math.nan, 0.04, 0.03, 0.5]
    found = [claims.Claim("c", "m", 1.0, 0.0, 2.0, each, "positive", 9) for each in p]
    corrected = [claim.p_holm for claim in claims.correct_claims(found)]
    assert corrected == pytest.approx([0.04, math.nan, 0.09, 0.09, 0.5], nan_ok=True)
    assert [claim.verdict for claim in claims.correct_claims(found)] == ["holds"] + [
        "undecided"
    ] * 4


@pytest.mark.exhaustive
def test_claims_without_an_effect_are_rarely_decided():
    """Of 200 experiments with four claims each, at most 5 % may decide one (here: + 2 sigma)."""
    rng = np.random.default_rng(0)
    decided = 0
    for _ in range(200):
        pairs = rng.normal(size=(8, 2))
        every = claims.correct_claims(
            [
                claims.mean("m", "x", rng.standard_t(3, size=8)),
                claims.difference("d", "x", rng.exponential(size=4), rng.exponential(size=4)),
                claims.mean("m", "x", rng.uniform(-1, 1, size=7)),
                claims.Claim("c", "r", 0.5, 0, 1, claims._pairing_p(pairs), "positive", 8),
            ]
        )
        decided += any(claim.verdict != "undecided" for claim in every)
    assert decided / 200 <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / 200)


@pytest.mark.parametrize("count", [5, 8, 30])
def test_the_interval_of_a_mean_covers_what_it_promises(count):
    """Of 2,000 simulated claims without an effect; the bootstrap's covers 85 % at five cases."""
    values = np.random.default_rng(0).standard_normal((2000, count))
    found = [claims.mean("m", "x", row, claimed=None) for row in values]
    assert np.mean([c.low <= 0 <= c.high for c in found]) == pytest.approx(0.95, abs=0.015)


EXHAUSTIVE = pytest.mark.exhaustive


@pytest.mark.parametrize(
    "rho", [pytest.param(0, marks=EXHAUSTIVE), 0.5, pytest.param(0.9, marks=EXHAUSTIVE)]
)
def test_the_interval_of_a_correlation_covers_what_it_promises(monkeypatch, rho):
    """Of 200 simulated claims of eight cases; with so few resamples, 95 % are not reached."""
    monkeypatch.setattr(claims, "_RESAMPLES", 100)
    r = 2 * np.sin(np.pi * rho / 6)  # of normal values whose rank correlation is rho
    one, noise = np.random.default_rng(0).standard_normal((2, 200, 8))
    other = r * one + math.sqrt(1 - r * r) * noise
    limits = [claims._bootstrap_interval(each) for each in np.stack([one, other], axis=2)]
    assert np.mean([low <= rho <= high for low, high in limits]) >= 0.9


def test_the_power_is_that_of_simulated_claims():
    rng = np.random.default_rng(1)
    assert claims._correlation_power(30) == pytest.approx(0.8, abs=0.03)
    decided = [claims.mean("m", "x", 1 + rng.normal(size=10)).p <= 0.05 for _ in range(300)]
    assert np.mean(decided) == pytest.approx(claims._mean_power(10), abs=0.08)
    decided = [
        claims.difference("d", "x", 2 + rng.normal(size=5), rng.normal(size=5)).p <= 0.05
        for _ in range(300)
    ]
    assert np.mean(decided) == pytest.approx(claims._difference_power(5, 5), abs=0.08)
    assert claims._correlation_power(2) == claims._difference_power(3, 3) == 0


def test_a_correlation_within_networks_does_not_see_what_lies_between_them():
    rows = [
        {"seed": seed, "x": seed + 0.01 * i, "y": seed - 0.01 * i * i}
        for seed in range(6)
        for i in range(5)
    ]
    assert claims.correlation("c", rows, "x", "y").value > 0.9
    within = claims.correlation_within("c", rows, "x", "y", ["seed"])
    assert within.value == pytest.approx(-1)
    (corrected,) = claims.correct_claims([within])
    assert (corrected.verdict, corrected.count) == ("does not hold", 6)


def test_the_interval_of_a_mean_of_correlations_ends_where_they_do():
    values = [-1.0, -1.0, -0.9, -1.0, 0.5]
    assert claims.mean("m", "x", values).low < -1
    found = claims.mean("m", "x", values, largest=1.0)
    assert (found.low, found.value) == (-1, pytest.approx(np.mean(values)))
    assert found.high < 1


def test_a_table_has_a_row_for_each_claim():
    found = claims.correct_claims(
        [
            claims.mean("a dominant effect", "x", [1, 2, 3, 2, 1.5, 0.7]),
            claims.mean("m", "z", [1, 2], claimed=None),
        ]
    )
    header, rule, one, other = claims.markdown_table(found).splitlines()
    assert header.count("|") == rule.count("|") == one.count("|") == other.count("|")
    assert "| a dominant effect | x | 1.7 (0.83 to 2.6) | 0.031 | 6 |" in one
    assert "| 1.5 (– to –) |  | 2 |  | shown |" in other
    assert found[0].as_row()["verdict"] == "holds"
