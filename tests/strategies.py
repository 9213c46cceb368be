"""Strategies of hypothesis for shapes, graphs and losses, so that a failing case shrinks."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tlp_core.topology.graphs import EdgeGraph

STEPS = 2**20
"""Losses without ties are multiples of 1 / STEPS, so their sums and differences are exact."""


def shapes(*, axes: int = 3, smallest: int = 2, largest: int = 5, samples: int = 125):
    """Draw the shape of a grid."""
    sizes = st.lists(st.integers(smallest, largest), min_size=1, max_size=axes)
    return sizes.map(tuple).filter(lambda shape: 2 <= np.prod(shape) <= samples)


def tied_losses(shape, levels: int = 7):
    """Draw losses of few levels, so that there are many ties."""
    elements = st.integers(0, levels - 1).map(float)
    return arrays(np.float64, shape, elements=elements, fill=st.nothing())


def distinct_losses(shape):
    """Draw losses from 0 to 1 of which no two are equal."""
    elements = st.integers(0, STEPS).map(lambda step: step / STEPS)
    return arrays(np.float64, shape, elements=elements, fill=st.nothing(), unique=True)


def losses(shape, levels: int = 7):
    """Draw losses with ties or without."""
    return st.one_of(tied_losses(shape, levels), distinct_losses(shape))


def pairs_of(count: int):
    """Draw two different samples, the smaller id first."""
    pairs = st.tuples(st.integers(0, count - 1), st.integers(0, count - 1))
    return pairs.filter(lambda pair: pair[0] != pair[1]).map(sorted).map(tuple)


@st.composite
def edge_graphs(draw, *, samples: int, extra: int):
    """Draw a connected graph: a tree and some more edges."""
    count = draw(st.integers(2, samples))
    tree = [(draw(st.integers(0, i - 1)), i) for i in range(1, count)]
    more = draw(st.lists(pairs_of(count), max_size=extra))
    edges = np.array(sorted({*tree, *more}), dtype=np.int64).reshape(-1, 2)
    return EdgeGraph(number_of_samples=count, edges=edges)
