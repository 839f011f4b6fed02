"""The two ends of the channel between one master and the next."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from prefork.errors import ConfigError
from prefork.master.upgrade import Predecessor, Successor
from prefork.net import channel


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    """The old master's, and the new one's."""
    ours, theirs = channel.pair()
    yield ours, theirs
    ours.close()
    theirs.close()


@pytest.mark.parametrize(("word", "wanted"), [(b"wanted 5", 5), (b"wanted 0", 0), (b"", 0), (b"hello 7", 0)])
def test_the_new_master_hears_how_many_workers_are_wanted(
    ends: tuple[socket.socket, socket.socket], word: bytes, wanted: int
) -> None:
    ours, theirs = ends
    if word:
        ours.send(word)
    predecessor = Predecessor(theirs.detach())
    assert predecessor.wanted == wanted
    assert not predecessor.lets_go()
    ours.send(channel.TAKE)
    assert predecessor.lets_go()
    predecessor.close()


def test_a_new_master_that_ends_with_a_word_unread_has_said_why(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    ours, theirs = ends
    ours.send(b"%s 5" % channel.WANTED)
    theirs.send(channel.failed(ConfigError("workers = 'many': no number")))
    theirs.close()  # a reset, as the kernel has it
    successor = Successor(1, ours, -1, 60.0, 0.0)
    assert not successor.hear()
    assert "no number" in successor.failure(0).cause
