"""One page for one training: profiles with a slider of steps, descriptors, transitions, facts."""

from tlp_core.report.page import write_report

__all__ = ["write_report"]
