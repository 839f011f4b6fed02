"""Every kind of value: what its text means, what it refuses, and that what is shown is read back."""

import pwd
import re

import pytest

from prefork.config import compound, parse
from prefork.config.parse import Refused
from prefork.config.settings import ROWS

WHOLE = parse.Whole(1, 10, "things")
AUTO = parse.Whole(1, 10, word="auto")
ZERO = parse.Whole(5, 10, zero="never")
SIZE = parse.Size(16, 1 << 20, zero="no limit")
SPAN = parse.Span(0.5, 7200, zero="off")
MS = parse.Span(0.1, 5000, unit="ms")
COLOUR = parse.Choice("red", "green", aliases={"rouge": "red"}, refused={"blue": "blue is sold out"})
EACH = compound.Each(parse.Text())
PAIRS = compound.Each(parse.Pair(), "")

READ = [
    (parse.Toggle(), "true", True),
    (parse.Toggle(), " Yes ", True),
    (parse.Toggle(), "on", True),
    (parse.Toggle(), "1", True),
    (parse.Toggle(), "FALSE", False),
    (parse.Toggle(), "no", False),
    (parse.Toggle(), "off", False),
    (parse.Toggle(), "0", False),
    (WHOLE, "1", 1),
    (WHOLE, " 10 ", 10),
    (WHOLE, "007", 7),
    (AUTO, "auto", 0),
    (AUTO, "AUTO", 0),
    (ZERO, "0", 0),
    (ZERO, "5", 5),
    (SIZE, "0", 0),
    (SIZE, "16", 16),
    (SIZE, "64k", 65536),
    (SIZE, "64K", 65536),
    (SIZE, "64 kb", 65536),
    (SIZE, "64KiB", 65536),
    (SIZE, "1m", 1 << 20),
    (SPAN, "30", 30.0),
    (SPAN, "0.5", 0.5),
    (SPAN, "0", 0.0),
    (SPAN, "500ms", 0.5),
    (SPAN, "90 s", 90.0),
    (SPAN, "2m", 120.0),
    (SPAN, "2h", 7200.0),
    (MS, "2", 2.0),
    (MS, "0.5ms", 0.5),
    (MS, "1s", 1000.0),
    (COLOUR, "red", "red"),
    (COLOUR, "Green", "green"),
    (COLOUR, "rouge", "red"),
    (parse.Text(), "  a b ", "a b"),
    (parse.Text(), "%(h)s\t%(s)s", "%(h)s\t%(s)s"),
    (parse.Path(), "a/b", "a/b"),
    (parse.Path(), "a\u200db", "a\u200db"),
    (parse.Mask(), "022", 0o22),
    (parse.Mask(), "22", 0o22),
    (parse.Mask(), "0o777", 0o777),
    (parse.Mask(), "0", 0),
    (parse.User(), "1000", 1000),
    (parse.Group(), "0", 0),
    (EACH, "a", ("a",)),
    (EACH, "a, b,", ("a", "b")),
    (EACH, "", ()),
    (PAIRS, "A=b,c", ("A=b,c",)),
    (PAIRS, "A=", ("A=",)),
    (PAIRS, "A=b=c", ("A=b=c",)),
    (parse.Network(), "10.0.0.0/8", "10.0.0.0/8"),
    (parse.Network(), "::1", "::1"),
    (parse.Network(), "*", "*"),
    (parse.Field(), "remote-user", "REMOTE-USER"),
    (parse.Field(), "x_y", "X_Y"),
    (compound.Words(), "A=b, C=d", {"A": "b", "C": "d"}),
]

NOT_READ = [
    *((parse.Toggle(), text) for text in ("", "maybe", "2", "tru")),
    *(
        (WHOLE, text)
        for text in ("", "0", "11", "1.0", "1e1", "0x1", "1_0", "+1", "-1", "\u0661", "--1", "auto")
    ),
    (WHOLE, "9" * 5000),
    *((ZERO, text) for text in ("4", "-0x", "11")),
    *((SIZE, text) for text in ("", "15", "k", "1.5k", "10x", "2m", "-16", "1t", "64 k b", "9" * 400)),
    *(
        (SPAN, text)
        for text in ("", "0.4", "7201", "3h", "nan", "inf", "1e3", "-1", ".", "s", "1.2.3", "30 x", "--1")
    ),
    *((MS, text) for text in ("0", "6s")),
    *((COLOUR, text) for text in ("", "blue", "grey")),
    *((parse.Text(), text) for text in ("", "  ", "a\nb", "a\0b")),
    *((parse.Path(), text) for text in ("", " ", "a\0b", "a\nb")),
    *((parse.Mask(), text) for text in ("", "8", "1000", "-1", "rwx", "0x1")),
    *((parse.User(), text) for text in ("", "no such user", "-1", "4294967295", "99999999999999999999")),
    *((parse.Group(), text) for text in ("", "no such group")),
    *((PAIRS, text) for text in ("A", "=b", " A=b", "A\0=b")),
    *((parse.Network(), text) for text in ("localhost", "10.0.0.1/8", "1.2.3", "10.0.0.0/33")),
    *((parse.Field(), text) for text in ("", "a b", "a:b", "\u00e9")),
    *((compound.Words(), text) for text in ("A", "=b", "A=")),
    (compound.Table(), "a=b"),
    (compound.Hook("server"), "print"),
]


@pytest.mark.parametrize(("kind", "text", "value"), READ)
def test_text(kind, text, value):
    assert kind.parse(text) == value
    assert type(kind.parse(text)) is type(value)
    assert kind.check(text) == value, "a text in a file means the same"


@pytest.mark.parametrize(("kind", "text"), NOT_READ)
def test_refused_text(kind, text):
    with pytest.raises(Refused):
        kind.parse(text)
    assert kind.allowed


TYPED = [
    (parse.Toggle(), True, True),
    (WHOLE, 3, 3),
    (SIZE, 4096, 4096),
    (SPAN, 30, 30.0),
    (SPAN, 0.5, 0.5),
    (parse.Mask(), 0o22, 0o22),
    (parse.User(), 0, 0),
    (EACH, ["a", "b"], ("a", "b")),
    (EACH, ("a",), ("a",)),
    (EACH, {"b", "a"}, ("a", "b")),
    (EACH, [], ()),
    (compound.Words(), {"A": " b "}, {"A": "b"}),
    (compound.Table(), {"version": 1}, {"version": 1}),
]

NOT_TYPED = [
    *((parse.Toggle(), value) for value in (1, 0, 1.0, [], {})),
    *((WHOLE, value) for value in (True, 3.0, 0, 11, [3])),
    *((SIZE, value) for value in (True, 1.0, -1)),
    *((SPAN, value) for value in (True, -1, float("nan"), float("inf"), [30])),
    *((parse.Text(), value) for value in (1, True, ["a"], b"a")),
    *((parse.Mask(), value) for value in (True, -1, 0o1000)),
    *((parse.User(), value) for value in (True, -1, 2**32 - 1, 1.0)),
    *((EACH, value) for value in (1, {"a": "b"}, [1], [["a"]])),
    *((compound.Words(), value) for value in ({"A": 1}, {1: "b"}, {"A": ""}, ["A=b"])),
    (compound.Table(), [("version", 1)]),
    (COLOUR, 1),
]


@pytest.mark.parametrize(("kind", "value", "held"), TYPED)
def test_typed(kind, value, held):
    assert kind.check(value) == held
    assert type(kind.check(value)) is type(held)


@pytest.mark.parametrize(("kind", "value"), NOT_TYPED)
def test_refused_type(kind, value):
    with pytest.raises(Refused):
        kind.check(value)


def test_path_takes_path_objects(tmp_path):
    assert parse.Path().check(tmp_path) == str(tmp_path)


def test_path_knows_the_home_directory(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert parse.Path().parse("~/app.log") == f"{tmp_path}/app.log"


def test_user_by_name():
    entry = pwd.getpwuid(0)
    assert parse.User().parse(entry.pw_name) == 0


def test_choice_says_why_and_what_was_meant():
    with pytest.raises(Refused) as refused:
        COLOUR.parse("blue")
    assert refused.value.problem == "blue is sold out"
    with pytest.raises(Refused) as refused:
        COLOUR.parse("gren")
    assert refused.value.meant == "green"
    assert COLOUR.allowed == "red or green"


@pytest.mark.parametrize(
    "name", [name for name, row in ROWS.items() if row.default is not None and row.where == "any"]
)
def test_what_is_shown_is_read_back(name):
    row = ROWS[name]
    assert row.kind.parse(row.show(row.default)) == row.default


@pytest.mark.parametrize("name", [name for name, row in ROWS.items() if row.default is not None])
def test_every_default_is_allowed(name):
    row = ROWS[name]
    assert row.kind.check(row.default) == row.default


@pytest.mark.parametrize("name", list(ROWS))
def test_every_setting_says_what_it_may_be(name):
    row = ROWS[name]
    assert re.fullmatch(r"[^\n]+", row.kind.allowed)
    assert row.help == row.help.strip() != ""
    assert not row.help.endswith(".")


class TestHooks:
    def test_the_right_number_of_arguments(self):
        def hook(server, worker): ...

        kind = compound.Hook("server", "worker")
        assert kind.check(hook) is hook
        assert kind.show(hook).endswith("hook()")

    @pytest.mark.parametrize("hook", [lambda: 0, lambda a: 0, lambda a, b, c: 0, 1, "os.getpid", None])
    def test_the_wrong_number_of_arguments(self, hook):
        with pytest.raises(Refused):
            compound.Hook("server", "worker").check(hook)

    @pytest.mark.parametrize("hook", [lambda *a: 0, lambda a, b, c=1: 0, lambda server, worker: 0, print])
    def test_anything_that_can_be_called_so(self, hook):
        assert compound.Hook("server", "worker").check(hook) is hook

    @pytest.mark.parametrize(
        ("hook", "called"),
        [
            (lambda a, b: (a, b), (1, 2)),
            (lambda a, b, c: (a, b, c), (1, 2, 3)),
            (lambda a, b, c, d: (a, b, c, d), (1, 2, 3, 4)),
            (lambda *a: a, (1, 2, 3, 4)),
        ],
    )
    def test_post_request_is_called_with_what_it_takes(self, hook, called):
        kind = compound.PostRequest("worker", "req", "environ", "resp")
        assert kind.check(hook)(1, 2, 3, 4) == called

    @pytest.mark.parametrize("hook", [lambda: 0, lambda a: 0, lambda a, b, c, d, e: 0, 1])
    def test_post_request_takes_two_to_four(self, hook):
        with pytest.raises(Refused):
            compound.PostRequest("worker", "req", "environ", "resp").check(hook)
