import numpy as np
import pytest

from tlp_core import grid_graph, merge_tree
from tlp_core.analysis.tracking import Event, track_basins

SIZE = 41


def wells(*places):
    """The tree of wells at (x, y, depth, steepness), each a paraboloid."""
    x = np.linspace(-1, 1, SIZE)
    values = [
        depth + steepness * ((x[:, None] - a) ** 2 + (x[None] - b) ** 2)
        for a, b, depth, steepness in places
    ]
    lowest = np.min(values, axis=0)
    return merge_tree(lowest.ravel(), grid_graph(lowest.shape))


def sample_at(a, b):
    i, j = (round((place + 1) / 2 * (SIZE - 1)) for place in (a, b))
    return i * SIZE + j


LEFT, RIGHT = (-0.6, 0.0, 0.0, 1.0), (0.6, 0.0, 0.1, 1.0)
THIRD = (0.0, 0.7, 0.2, 9.0)
STEPS = [
    (LEFT, RIGHT),
    ((-0.55, 0.0, 0.0, 1.0), (0.55, 0.0, 0.1, 1.0)),
    (LEFT, RIGHT, THIRD),  # a well appears above the saddle
    (LEFT, RIGHT, (0.05, 0.7, 0.2, 9.0)),
    (LEFT, RIGHT),  # and vanishes
    (LEFT,),  # the barrier to the right well vanishes
    (LEFT, RIGHT),  # and comes back
]


def test_moving_wells_have_their_events():
    tracking = track_basins([wells(*step) for step in STEPS])
    assert np.bincount(tracking.place).tolist() == [len(step) for step in STEPS]
    at = [np.flatnonzero(tracking.place == i) for i in range(len(STEPS))]
    minima = [tracking.minimum[ids].tolist() for ids in at]
    left, right, third = sample_at(-0.6, 0), sample_at(0.6, 0), sample_at(0, 0.7)
    assert minima[0] == [left, right]
    assert minima[2] == [left, right, third]
    kinds = [(event.kind, event.place) for event in tracking.events]
    assert kinds == [("birth", 2), ("death", 3), ("merge", 5), ("split", 5)]
    birth, death, merge, split = tracking.events
    assert tracking.minimum[birth.basin] == third
    assert tracking.minimum[death.basin] == sample_at(0.05, 0.7)
    assert sorted(tracking.minimum[list(merge.others)]) == [left, right]
    assert sorted(tracking.minimum[list(split.others)]) == [left, right]
    assert tracking.minimum[merge.basin] == tracking.minimum[split.basin] == left
    # the moved wells keep their tracks; the third and the last right one have their own
    tracks = [tracking.track[ids].tolist() for ids in at]
    assert tracks[:5] == [[0, 1], [0, 1], [0, 1, 2], [0, 1, 2], [0, 1]]
    assert len(tracks[5]) == 1
    assert tracks[6].count(tracks[5][0]) == 1
    assert len(set(tracking.track.tolist())) == 4


def test_shared_samples_are_counted():
    one, other = wells(LEFT, RIGHT), wells((-0.5, 0.0, 0.0, 1.0), RIGHT)
    tracking = track_basins([one, other])
    assert len(tracking.edges) == 2
    for (first, last), shared in zip(tracking.edges, tracking.shared, strict=True):
        inside = [
            set(np.flatnonzero(tree.vertex_arc == tracking.arc[basin]).tolist())
            for tree, basin in ((one, first), (other, last))
        ]
        assert len(inside[0] & inside[1]) == shared
        assert [len(part) for part in inside] == tracking.size[[first, last]].tolist()


def test_equal_trees_have_no_events_whatever_the_overlap():
    tree = wells(LEFT, RIGHT, THIRD)
    for overlap in (1e-9, 0.5, 1.0):
        tracking = track_basins([tree] * 4, overlap=overlap)
        assert tracking.events == ()
        assert tracking.track.tolist() == [0, 1, 2] * 4
        assert (tracking.shared == tracking.size[tracking.edges[:, 0]]).all()


def test_a_jump_is_a_death_and_a_birth():
    steps = [wells(LEFT, RIGHT, THIRD), wells(LEFT, RIGHT, (0.0, -0.7, 0.2, 9.0))]
    events = track_basins(steps).events
    assert [event.kind for event in events] == ["death", "birth"]
    assert events[0] == Event("death", 0, 2, ())


def test_a_single_step_has_no_events():
    tracking = track_basins([wells(LEFT, RIGHT)])
    assert tracking.events == ()
    assert tracking.edges.shape == (0, 2)


def test_wrong_steps_are_reported():
    small = merge_tree([0.0, 1.0], grid_graph((2,)))
    with pytest.raises(ValueError, match="must be the same at each step, got 2 trees of 2, 1681"):
        track_basins([wells(LEFT), small])
    with pytest.raises(ValueError, match="got 0 trees of no samples"):
        track_basins([])
    for overlap in (0.0, 1.5, float("nan")):
        with pytest.raises(ValueError, match="overlap must be"):
            track_basins([small], overlap=overlap)
