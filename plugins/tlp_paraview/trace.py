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

_IMPORTS = (
    "# the macro loss_landscape_profile",
    "from tlp_paraview import fitting, follow, interaction, pipeline, views",
)


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


def record_landscape(source: Any, layout: Any) -> None:
    """Record that a landscape was shown, if a trace is recorded.

    Args:
        source: the source of the landscape.
        layout: the layout that :func:`tlp_paraview.views.show_landscape` returned.
    """
    if (smtrace := _recorder()) is None:
        return
    known = smtrace.Trace.get_accessor(source)
    shown = [_name(smtrace, view) for view in fitting.views_of(layout)]
    waits = bool(source.GetProperty("InBackground") and source.InBackground)
    smtrace.Trace.Output.append_separated(
        [
            *_IMPORTS,
            *([f"follow.wait({known})"] if waits else []),
            f"{_name(smtrace, layout)} = views.show_landscape(pipeline.build({known}))",
            f"{', '.join(shown)} = fitting.views_of({_name(smtrace, layout)})",
            "interaction.attach()",
        ]
    )


def record_update() -> None:
    """Record that all views of profiles were updated, if a trace is recorded."""
    if (smtrace := _recorder()) is None:
        return
    smtrace.Trace.Output.append_separated(
        [
            *_IMPORTS,
            "views.update_all_views()",
            "interaction.attach()",
        ]
    )


def _recorder() -> Any:
    """Return ParaView's module of traces while one is recorded, else None."""
    is_recording = servermanager.vtkSMTrace.GetActiveTracer() is not None
    return sys.modules.get("paraview.smtrace") if is_recording else None


def _name(smtrace: Any, proxy: Any) -> str:
    """Return the variable of a view or a layout in a trace, which it has from now on."""
    trace = smtrace.Trace
    if not trace.has_accessor(proxy):
        group = "layouts" if proxy.SMProxy.IsA("vtkSMViewLayoutProxy") else "views"
        smtrace.ProxyAccessor(trace.get_varname(trace.get_registered_name(proxy, group)), proxy)
    return str(trace.get_accessor(proxy))
