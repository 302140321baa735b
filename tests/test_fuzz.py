"""Damaged files end in a result or in one line: some at every run, many at night."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from fuzz import MOST_BYTES, _judge, main

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks, and limits what forks take")
FUZZ = Path(__file__).with_name("fuzz.py")


def run(count, seed):
    """Run the trials in a fresh process, since a test's has threads that a fork would lack."""
    words = [sys.executable, str(FUZZ), str(count), str(seed)]
    # not the warnings that tox asks for: of other people's code, they are no fault of ours
    env = {name: value for name, value in os.environ.items() if name != "PYTHONWARNDEFAULTENCODING"}
    done = subprocess.run(
        words, capture_output=True, encoding="utf-8", timeout=600 + count, check=False, env=env
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()[-1]


@pytest.mark.parametrize("count", [500, pytest.param(20_000, marks=pytest.mark.nightly)])
def test_damaged_files_end_in_a_result_or_in_one_line(count):
    """At least a quarter still opens: damage that nothing survives tries little."""
    last = run(count, 17)
    results = int(re.search(r"'result': (\d+)", last).group(1))
    assert results >= count / 4, last


@pytest.mark.parametrize(
    ("status", "seconds", "resident", "text", "expected"),
    [
        (0, 0.1, 10**8, "", "result"),
        (2 << 8, 0.1, 10**8, "local-ncc: cannot read a.tif\n", "refused"),
        (2 << 8, 0.1, 10**8, "local-ncc: a\nlocal-ncc: b\n", "code"),
        (2 << 8, 0.1, 10**8, "", "code"),
        (2 << 8, 0.1, 10**8, "local-ncc: itk::Image (0x55aa00112233)\n", "noise"),
        (1 << 8, 0.1, 10**8, "Traceback (most recent call last):\n", "traceback"),
        (0, 6.0, 10**8, "", "hang"),
        (0, 0.1, MOST_BYTES + 1, "", "memory"),
        (0, 0.1, 10**8, "a.py:3: RuntimeWarning: overflow\n", "noise"),
        (9, 0.1, 10**8, "", "hang"),
        (11, 0.1, 10**8, "", "signal 11"),
    ],
)
def test_faults_are_told_apart(status, seconds, resident, text, expected):
    assert _judge(status, seconds, resident, text) == expected


def test_the_table_fails_where_there_is_a_fault(monkeypatch, capsys):
    import fuzz

    told = fuzz.Outcome("traceback", 0.1, 10**8, "Traceback\nKeyError: 'a'")
    monkeypatch.setattr(fuzz, "run", lambda *_: iter([("a.tif", 0, told)]))
    assert main(["1"]) == 1
    assert "KeyError: 'a'" in capsys.readouterr().out
