"""The exceptions' lines, and the table of faults against the scanner's own list."""

import re
from pathlib import Path

import pytest

from prefork import errors
from prefork.errors import FAULTS, ConfigError

SCAN_H = Path(__file__).parents[1] / "prefork" / "engine" / "scan.h"


def scanner_faults():
    """(name, status) in the order of scan_fault; the status stands at the end of each comment."""
    text = SCAN_H.read_text()
    enum = text[text.index("SCAN_OK = 0") : text.index("} scan_fault")]
    return [(name.lower(), int(status)) for name, status in re.findall(r"FAULT_(\w+),.*?(\d{3}) \*/", enum)]


def test_every_fault_of_the_scanner_has_its_row():
    rows = [(FAULTS[code].name, FAULTS[code].status) for code in sorted(FAULTS) if code < 64]
    assert rows == scanner_faults()
    assert sorted(FAULTS)[: len(rows)] == list(range(1, len(rows) + 1))


def test_the_engines_own():
    assert {code: FAULTS[code].status for code in FAULTS if code >= 64} == {
        errors.BODY_TOO_LARGE: 413,
        errors.HEAD_TIMEOUT: 408,
        errors.BODY_TIMEOUT: 408,
        errors.APP_FAULT: 500,
        errors.OVERLOADED: 503,
        errors.REQUEST_TIMEOUT: 504,
        errors.SPOOL_FAILED: 503,
        errors.SCHEME_CONFLICT: 400,
        errors.UNDERSCORE: 400,
        errors.CONNECT: 501,
        errors.PROXY_PROTOCOL: 400,
        errors.TLS: 400,
    }


@pytest.mark.parametrize("code", FAULTS)
def test_what_goes_to_a_client(code):
    fault = FAULTS[code]
    assert re.fullmatch(r"[A-Z][ -~]*\.", fault.text)
    assert re.fullmatch(r"[A-Z][A-Za-z -]+", fault.reason)
    assert fault.reason == errors.PHRASES[fault.status]


def test_names_are_unique():
    assert len({fault.name for fault in FAULTS.values()}) == len(FAULTS)


LINES = [
    (ConfigError("no application"), "no application"),
    (ConfigError("is odd", setting="bind"), "bind: is odd"),
    (ConfigError(setting="bind", value="x", allowed="an address"), "bind = 'x': must be an address"),
    (
        ConfigError("is odd", setting="a", value=1, origin="x.toml", allowed="2", meant="b"),
        "a = 1 (x.toml): is odd; must be 2; did you mean b?",
    ),
    (ConfigError("is odd", origin="x.toml"), "x.toml: is odd"),
    (ConfigError("two\nlines"), "two lines"),
    (ConfigError("long", setting="a", value="x" * 500), f"a = '{'x' * 116}...: long"),
]


@pytest.mark.parametrize(("fault", "line"), LINES)
def test_config_errors_are_one_line(fault, line):
    assert str(fault) == line


def test_the_origin_may_be_added_later():
    fault = ConfigError(setting="bind", value="x", allowed="an address")
    fault.origin = "command line"
    assert str(fault) == "bind = 'x' (command line): must be an address"


def test_exit_codes():
    codes = {kind: kind.exit_code for kind in errors.PreforkError.__subclasses__()}
    assert codes == {
        errors.ConfigError: 2,
        errors.BindError: 1,
        errors.AppLoadError: 4,
        errors.BootError: 3,
        errors.OlderError: 1,
    }


class Secretive(Exception):
    """One that even traceback cannot print."""

    @property
    def __notes__(self):
        raise OSError


class Mute(Secretive):
    def __str__(self):
        raise OSError


@pytest.mark.parametrize(
    ("fault", "last"),
    [
        (ValueError("x"), "ValueError: x"),
        (Secretive("x"), "Secretive: x"),
        (Mute("x"), "Mute (it cannot be shown: OSError)"),
    ],
)
def test_traceback_of_whatever_is_raised(fault, last):
    try:
        raise fault
    except Exception as caught:
        said = errors.traceback_of(caught, caught.__traceback__).splitlines()
    assert said[0] == "Traceback (most recent call last):"
    assert said[1].strip().startswith('File "') and "test_errors.py" in said[1]
    assert last in [line.rpartition(".")[2] for line in said]  # behind it 3.15 tells of what it could not get


def test_traceback_in_no_time(monkeypatch):
    """Where not even the frames can be had."""

    def fail(*_):
        raise RecursionError

    monkeypatch.setattr("traceback.format_exception", fail)
    monkeypatch.setattr("traceback.format_tb", fail)
    said = errors.traceback_of(ValueError("x"), None)
    assert said.splitlines()[1:] == ["  (its traceback cannot be formatted: RecursionError)", "ValueError: x"]
