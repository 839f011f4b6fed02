"""Every case of the corpus, whole, byte by byte, and split at every place."""

from __future__ import annotations

from pathlib import Path

import pytest
from corpus import Case, CorpusError, cases, load, unescape
from walk import Found, splits, walk

from prefork.engine.scanner import FAULTS
from prefork.errors import FAULTS as ERRORS

CASES = cases()
STATUS = {fault.name: fault.status for fault in ERRORS.values()}


def judge(case: Case, found: Found) -> None:
    """Compare what was found with what the case says."""
    requests = [(head.method.decode(), head.target.decode()) for head, _ in found.requests]
    assert requests == [(request.method, request.target) for request in case.requests]
    assert found.fault == case.fault
    assert found.more == case.more
    if case.at is not None:
        assert found.at == case.at
    for request, (head, body) in zip(case.requests, found.requests, strict=True):
        known = {
            **head._asdict(),
            "path": head.path,
            "query": head.query,
            "fields": len(head.fields),
            "body": body,
            "form": head.form.encode(),
        }
        assert {name: known[name] for name in request.facts} == request.facts
        fields = [(field.name.decode("latin-1"), field.value.decode("latin-1")) for field in head.fields]
        assert [field for field in request.fields if field not in fields] == []


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_case(case: Case) -> None:
    whole = walk([case.raw], case.limits)
    judge(case, whole)
    assert walk([bytes((byte,)) for byte in case.raw], case.limits) == whole
    for pieces in splits(case.raw):
        assert walk(pieces, case.limits) == whole, pieces


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_case_agrees_with_itself(case: Case) -> None:
    """What a live server does follows from the fault and the requests, and the case says just that."""
    assert not (case.fault and case.more)
    if case.fault:
        assert case.statuses is not None
        assert case.statuses[-1] == STATUS[case.fault]
        assert len(case.statuses) == len(case.requests) + 1
        assert case.closes
    elif case.statuses is not None and not case.more:
        assert len(case.statuses) == len(case.requests)


def test_there_is_a_case_for_every_fault() -> None:
    assert {case.fault for case in CASES} - {""} == set(FAULTS.values())


def test_there_are_enough_cases_and_each_is_another() -> None:
    assert len(CASES) >= 200
    assert len({(case.raw, str(case.limits)) for case in CASES}) == len(CASES)


@pytest.mark.parametrize(
    ("text", "raw"),
    [
        (r"a\r\n\t\\", b"a\r\n\t\\"),
        (r"\x00\xff", b"\0\xff"),
        (r"\*3{ab}c", b"abababc"),
        (r"\*2{\x0a\r}", b"\n\r\n\r"),
        (r"\\x41", b"\\x41"),
    ],
)
def test_escapes(text: str, raw: bytes) -> None:
    assert unescape(text) == raw


@pytest.mark.parametrize("text", [r"\q", r"\x4", r"\*{a}", "\\"])
def test_wrong_escapes(text: str) -> None:
    with pytest.raises(CorpusError):
        unescape(text)


@pytest.mark.parametrize(
    "text",
    ["status: 200\n---\n", "# why\nstatus: 200\n", "# why\nstate: 200\n---\n", "# why\n  path: /\n---\n"],
    ids=["no reason", "no bytes", "unknown key", "fact of no request"],
)
def test_wrong_files(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("corpus.FOLDER", tmp_path)
    (tmp_path / "wrong.case").write_text(text)
    with pytest.raises(CorpusError):
        load(tmp_path / "wrong.case")
