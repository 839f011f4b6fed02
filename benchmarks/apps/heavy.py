"""The plain application with about 60 MB of Python objects, as a loaded catalogue or model is.

Every tenth request reads a part of it, which touches reference counts and so unshares pages after a fork.
"""

import itertools

import plain

CATALOGUE = {number: (f"item {number}", [number, number * 2], number / 3) for number in range(185_000)}
_turn = itertools.count()


def app(environ, start_response):
    turn = next(_turn)
    if turn % 10 == 0:
        first = turn * 97 % 185_000
        for number in range(first, min(first + 20, 185_000)):
            CATALOGUE[number][1][:]  # the list and its numbers, and so their counts, are touched
    return plain.app(environ, start_response)
