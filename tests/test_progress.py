"""Tests of the progress on standard error: a terminal, a dumb terminal, and a file."""

import os
import pty
import subprocess
import sys

import pytest

REPORT = """
from tlp_core.progress import TerminalProgress
progress = TerminalProgress("title", every=0.0)
progress._every = 0.0
for done in (0, 1, 999, 1000):
    progress(done / 1000, f"{done} of 1000 " + "x" * 200)
"""


def on_terminal(columns, **environment):
    """Return what is written to a terminal of a width."""
    ours, theirs = pty.openpty()
    subprocess.run(["stty", "cols", str(columns)], stdin=theirs, check=True)
    env = {**os.environ, "TERM": "xterm", **environment}
    subprocess.run([sys.executable, "-c", REPORT], stderr=theirs, env=env, check=True)
    os.close(theirs)
    text = b""
    while True:
        try:
            part = os.read(ours, 4096)
        except OSError:
            break
        if not part:
            break
        text += part
    os.close(ours)
    return text.decode()


@pytest.mark.parametrize("columns", [20, 60, 300])
def test_a_line_fits_a_terminal_and_overwrites_the_last(columns):
    lines = on_terminal(columns).rstrip("\r\n").split("\r\x1b[K")[1:]
    assert len(lines) == 4
    assert all(len(line) < columns for line in lines)
    assert lines[0].startswith("title:   0%")


def test_a_dumb_terminal_and_a_file_get_whole_lines_without_escapes():
    done = subprocess.run([sys.executable, "-c", REPORT], stderr=subprocess.PIPE, check=True)
    for text in (on_terminal(40, TERM="dumb"), done.stderr.decode()):
        assert "\x1b" not in text
        lines = text.splitlines()
        assert [line[7:11] for line in lines] == ["  0%", "  0%", " 99%", "100%"]
        assert all(line.endswith("x" * 200) for line in lines)


def test_percentages_are_those_of_the_counts(tmp_path):
    """999 of 1,000 is not 100 %, and the directions come before the first sample."""
    from tlp_core.pipeline.sampler import LandscapeSampler
    from tlp_core.pipeline.settings import LandscapeSettings
    from tlp_core.problems.settings import ProblemSettings
    from tlp_core.sampling.settings import GridSettings

    seen = []
    settings = LandscapeSettings(ProblemSettings("two-wells"), samples=GridSettings(21))
    LandscapeSampler().sample(settings, progress=lambda f, text: seen.append((f, text)))
    counted = [(f, t.split()) for f, t in seen if t.startswith("sampled")]
    assert all(f == pytest.approx(int(t[1]) / 441) for f, t in counted)
    assert {f for f, t in seen if not t.startswith("sampled")} == {0.0}
