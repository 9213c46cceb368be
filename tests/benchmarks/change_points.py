"""How often a transition is reported where there is none, and where there is one.

    python tests/benchmarks/change_points.py

For series of 21, 60 and 200 points, in percent of 400 series each, at a significance of 0.05: false
alarms of five kinds of series without a change, and series of independent noise with a step of 1, 2
and 4 standard deviations, in which it is found within two points of its place. Then alarms of
curved trends, exponential decays in independent noise, for which the test is not made.
"""

import numpy as np

from tlp_core.analysis.change_points import find_transitions

SERIES = 400


def autoregressive(rng, count, phi):
    series = rng.standard_normal(count)
    series[0] /= np.sqrt(1 - phi**2)
    for t in range(1, count):
        series[t] += phi * series[t - 1]
    return series


WITHOUT = {
    "white noise": lambda rng, count: rng.standard_normal(count),
    "AR(0.5)": lambda rng, count: autoregressive(rng, count, 0.5),
    "AR(0.9)": lambda rng, count: autoregressive(rng, count, 0.9),
    "random walk": lambda rng, count: np.cumsum(rng.standard_normal(count)),
    "slope": lambda rng, count: np.linspace(0, 5, count) + rng.standard_normal(count),
}

DECAYS = (1, 3, 10)
"""Heights of decays in standard deviations; they fall to 1/e in a quarter of the series."""


def found(series, rng):
    seed = int(rng.integers(2**31))  # one seed for all would give all the same critical value
    changes = find_transitions(series, significance=0.05, simulations=199, seed=seed)
    return [one.index for one in changes]


def main():
    rng = np.random.default_rng(0)
    for count in (21, 60, 200):
        alarms = {
            name: np.mean([bool(found(make(rng, count), rng)) for _ in range(SERIES)])
            for name, make in WITHOUT.items()
        }
        print(f"{count} points, false alarms:", {k: f"{100 * v:.1f} %" for k, v in alarms.items()})
        for place in (0.5, 0.7):
            split = round(place * count)
            power = {}
            for step in (1, 2, 4):
                series = [
                    rng.standard_normal(count) + step * (np.arange(count) >= split)
                    for _ in range(SERIES)
                ]
                hits = [any(abs(at - split) <= 2 for at in found(one, rng)) for one in series]
                power[step] = f"{100 * np.mean(hits):.0f} %"
            print(f"{count} points, found at {split}, by size of the step:", power)
    print_decays(np.random.default_rng(1))


def print_decays(rng):
    for count in (21, 60, 200):
        fall = np.exp(-np.linspace(0, 4, count))
        alarms = {}
        for height in DECAYS:
            series = [height * fall + rng.standard_normal(count) for _ in range(SERIES)]
            alarms[height] = f"{100 * np.mean([bool(found(one, rng)) for one in series]):.1f} %"
        print(f"{count} points, alarms of decays, by height:", alarms)


if __name__ == "__main__":
    main()
