"""What became of a request: the one table that decides it.

Two rules, before any code:

- Every request that was begun ends in exactly one Outcome. Nothing is retried, nothing is dropped from the
count.
- A stage is named by what may happen next; (stage, event) pairs that cannot be are absent from the table
and are
  an error in the client, never silently "ok".
"""

from __future__ import annotations

import enum


class Outcome(enum.Enum):
    """How a request ended, as the user of the server saw it."""

    OK = "ok"
    WRONG = "wrong"  # a whole answer, but not the one that was asked for; or bytes that are not HTTP
    SERVER_ERROR = "5xx"
    REFUSED = "refused"
    RESET_BEFORE = "reset before the first byte"
    RESET_MIDDLE = "reset in the middle"
    RACE = "keep-alive race"  # a kept-alive connection was closed before the server's kernel had our request
    TIMEOUT = "timeout"


# What a user would have to send again, or would have to see an error page for.
LOST = frozenset(Outcome) - {Outcome.OK}


class Stage(enum.Enum):
    """Where one request stands on its connection."""

    CONNECT = "connect"
    SEND = "send"  # some of the request is still to be written; an answer may come early
    WAIT = "wait"  # all written, no byte of the answer yet
    READ = "read"  # the answer has begun


class Event(enum.Enum):
    """What the connection can tell about the request under way."""

    CONNECTED = "connected"
    WRITTEN = "written"
    BYTES = "bytes"
    COMPLETE = "complete"  # the answer is whole; whether it is right is judged by the Ask
    MALFORMED = "malformed"
    REFUSED = "refused"
    EOF = "eof"
    RESET = "reset"
    DEADLINE = "deadline"


# COMPLETE leads to OK here; `Ask.judge` may still turn it into WRONG or SERVER_ERROR.
# EOF and RESET before the answer lead to RESET_BEFORE; on a reused connection whose request the server's
# kernel never took, `settle` makes that a RACE.
TABLE: dict[tuple[Stage, Event], Stage | Outcome] = {
    (Stage.CONNECT, Event.CONNECTED): Stage.SEND,
    (Stage.CONNECT, Event.REFUSED): Outcome.REFUSED,
    (Stage.CONNECT, Event.RESET): Outcome.REFUSED,
    (Stage.CONNECT, Event.EOF): Outcome.REFUSED,
    (Stage.CONNECT, Event.DEADLINE): Outcome.TIMEOUT,
    (Stage.SEND, Event.WRITTEN): Stage.WAIT,
    # An early answer (413, 408) is an answer: the connection is not used again, but the request was served.
    (Stage.SEND, Event.BYTES): Stage.READ,
    (Stage.SEND, Event.EOF): Outcome.RESET_BEFORE,
    (Stage.SEND, Event.RESET): Outcome.RESET_BEFORE,
    (Stage.SEND, Event.DEADLINE): Outcome.TIMEOUT,
    (Stage.WAIT, Event.BYTES): Stage.READ,
    (Stage.WAIT, Event.EOF): Outcome.RESET_BEFORE,
    (Stage.WAIT, Event.RESET): Outcome.RESET_BEFORE,
    (Stage.WAIT, Event.DEADLINE): Outcome.TIMEOUT,
    (Stage.READ, Event.BYTES): Stage.READ,
    (Stage.READ, Event.COMPLETE): Outcome.OK,
    (Stage.READ, Event.MALFORMED): Outcome.WRONG,
    (Stage.READ, Event.EOF): Outcome.RESET_MIDDLE,
    (Stage.READ, Event.RESET): Outcome.RESET_MIDDLE,
    (Stage.READ, Event.DEADLINE): Outcome.TIMEOUT,
}


def settle(outcome: Outcome, *, reused: bool, delivered: bool) -> Outcome:
    """Tell a keep-alive race from a lost request.

    RFC 9112 section 9.3.1: a server may close an idle connection at any moment, and a client whose request
    crosses that close may send it again, because nobody has seen it. So a race needs both: the connection
    had served a request before, and the server's kernel did not take this one while the connection was
    open (`delivered`). A server that had taken the request and then went away has lost it, whatever the
    connection's age.
    """
    if outcome is Outcome.RESET_BEFORE and reused and not delivered:
        return Outcome.RACE
    return outcome
