"""What the macro does, in ParaView's Python trace: as calls of the suite, which replay.

ParaView traces each filter and property that a macro sets, but no new layout, so that such a trace
stops at the first split of a layout. It is also bound to the data that it was recorded with.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from paraview import servermanager

from tlp_paraview import fitting
from tlp_paraview.pipeline import Pipeline

_MODULES = ("fitting", "follow", "interaction", "pipeline", "views")

_IMPORTS = (
    "# the macro loss_landscape_profile",
    # under names that no source has
    *(f"from tlp_paraview import {name} as tlp_{name}" for name in _MODULES),
)

_PROXIES = ("graph", "tree", "simplification", "profile", "descriptors")
"""Attributes of a pipeline that have variables in a trace."""


@contextmanager
def hidden() -> Iterator[None]:
    """Hide what a block does from the trace, if one is recorded."""
    smtrace = _recorder()
    # the trace stays blocked as long as this object lives
    block = smtrace and smtrace._create_trace_item_internal("BlockTraceItems")
    try:
        yield
    finally:
        del block


def record_landscape(built: Pipeline, layout: Any) -> None:
    """Record that a landscape was shown, if a trace is recorded.

    Args:
        built: the pipeline that :func:`tlp_paraview.pipeline.build` returned.
        layout: the layout that :func:`tlp_paraview.views.show_landscape` returned.
    """
    if (smtrace := _recorder()) is None:
        return
    source = smtrace.Trace.get_accessor(built.source)
    waits = bool(built.source.GetProperty("InBackground") and built.source.InBackground)
    proxies = [_name(smtrace, getattr(built, name), "sources") for name in _PROXIES]
    view_names = [_name(smtrace, view, "views") for view in fitting.views_of(layout)]
    layout_name = _name(smtrace, layout, "layouts")
    smtrace.Trace.Output.append_separated(
        [
            *_IMPORTS,
            *([f"tlp_follow.wait({source})"] if waits else []),
            f"tlp_built = tlp_pipeline.build({source})",
            *(f"{name} = tlp_built.{part}" for name, part in zip(proxies, _PROXIES)),
            f"{layout_name} = tlp_views.show_landscape(tlp_built)",
            f"{', '.join(view_names)} = tlp_fitting.views_of({layout_name})",
            "tlp_interaction.attach()",
        ]
    )


def record_update(shown: Any = None) -> None:
    """Record that all views of profiles were updated, if a trace is recorded.

    Args:
        shown: the proxy whose landscape was shown again. Default: None, there was none.
    """
    if (smtrace := _recorder()) is None:
        return
    again = [] if shown is None else [f"tlp_views.show_again({smtrace.Trace.get_accessor(shown)})"]
    smtrace.Trace.Output.append_separated(
        [
            *_IMPORTS,
            "tlp_views.update_all_views()",
            *again,
            "tlp_interaction.attach()",
        ]
    )


def _recorder() -> Any:
    """Return ParaView's module of traces while one is recorded, else None."""
    is_recording = servermanager.vtkSMTrace.GetActiveTracer() is not None
    return sys.modules.get("paraview.smtrace") if is_recording else None


def _name(smtrace: Any, proxy: Any, group: str) -> str:
    """Return the variable of a proxy in a trace, which it has from now on."""
    trace = smtrace.Trace
    if not trace.has_accessor(proxy):
        smtrace.ProxyAccessor(trace.get_varname(trace.get_registered_name(proxy, group)), proxy)
    return str(trace.get_accessor(proxy))
