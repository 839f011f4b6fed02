"""Fleet with a fake clock: what it decides at start, death, reload, resize and stop."""

from __future__ import annotations

import logging
import math

import pytest

from prefork.master.actions import Forget, Fork, Send, Signal
from prefork.master.fleet import Course, Failure, Fleet, Policy
from prefork.master.phases import Phase
from prefork.master.roster import ABORT_TIMEOUT, MUTE_TIMEOUT, QUIT_TIMEOUT, STOPPED_INTERVAL, WAKE_TIMEOUT
from prefork.net import channel

from .world import ABRT, KILL, TERM, Abandoned, Baked, Opened, Resized, Settled, World


def serving(size: int = 4, **options: float) -> World:
    """A world whose first generation serves, its early days behind it."""
    world = World(size=size, **options)
    world.settle()
    world.pass_time(60)
    world.taken()
    world.notes.clear()
    return world


# Start


def test_start_forks_all_at_once() -> None:
    world = World(size=4)
    assert world.shape == "1: 4 booting"
    assert world.fleet.course is Course.STARTING
    assert world.fleet.wake == math.inf


def test_first_ready_opens_and_last_ready_settles() -> None:
    world = World(size=2)
    world.ready(0)
    assert world.noted(Opened) == [Opened()]
    assert not world.noted(Settled)
    world.ready(1)
    assert world.noted(Settled) == [Settled(1)]
    assert world.fleet.course is Course.SERVING


def test_first_generation_that_cannot_boot_stops_the_server_with_its_code() -> None:
    world = World(size=3)
    world.fail(1, "no module named app", exit_code=4)
    assert world.said(logging.ERROR) == ["no module named app"]
    assert world.taken() == [Signal(0, TERM), Signal(2, TERM)]
    world.fail(0, "no module named app")  # said once
    assert world.said(logging.ERROR) == ["no module named app"]
    for slot in (0, 1, 2):
        world.die(slot)
    assert world.exits == [4]
    assert world.fleet.course is Course.ENDED


def test_death_before_ready_in_first_generation_is_exit_code_3() -> None:
    world = World(size=1)
    world.die(0, text="was killed by SIGSEGV")
    assert world.said(logging.ERROR) == ["worker 101 was killed by SIGSEGV before it was ready"]
    assert world.exits == [3]


def test_boot_failure_after_one_worker_serves_does_not_stop_the_server() -> None:
    world = World(size=2)
    world.ready(0)
    world.fail(1)
    world.die(1)
    assert world.exits == []
    assert world.shape == "1: 1 booting, 1 serving"


def test_boot_timeout_of_the_first_generation() -> None:
    world = World(size=1, boot_timeout=5)
    world.pass_time(5)
    (order,) = world.taken()
    assert order == Signal(0, ABRT, "not ready within 5 s (boot_timeout)")
    world.die(0)
    assert world.exits == [3]
    assert world.said(logging.ERROR) == ["worker 101: not ready within 5 s (boot_timeout)"]


def test_fork_failure_at_start_ends_the_server() -> None:
    world = World(size=2, start=False)
    world.holds_forks = True
    world.do(world.fleet.start(Policy(size=2), world.now))
    world.do(world.fleet.unforked(0, "Resource temporarily unavailable", world.now))
    world.do(world.fleet.unforked(1, "Resource temporarily unavailable", world.now))
    assert world.exits == [3]
    assert world.said(logging.ERROR) == ["cannot fork: Resource temporarily unavailable"]


# Death


def test_dead_worker_is_replaced_at_once() -> None:
    world = serving(4)
    world.die(2, text="was killed by SIGKILL")
    assert world.shape == "1: 1 booting, 3 serving"
    assert world.forks[-1] == (world.now, 2, 1)
    assert world.said(logging.ERROR) == ["worker 103 was killed by SIGKILL"]


def test_early_deaths_back_off_and_cap() -> None:
    world = serving(1)
    world.die(0)
    waits = []
    for _ in range(12):
        died_at = world.now
        forks = len(world.forks)
        world.die(0)  # while it boots
        world.pass_time(100)
        assert len(world.forks) == forks + 1
        waits.append(round(world.forks[-1][0] - died_at, 3))
    assert waits == [0, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30, 30]


def test_workers_that_boot_and_die_early_wait_less() -> None:
    world = serving(1)
    for _ in range(12):
        world.ready(0)
        died_at = world.now
        world.die(0)
        world.pass_time(100)
    assert world.forks[-1][0] - died_at == pytest.approx(5)


def test_workers_that_are_killed_now_and_then_are_replaced_at_once() -> None:
    world = serving(4)
    for _ in range(20):
        world.die(world.slots(Phase.SERVING)[-1])
        assert world.shape == "1: 1 booting, 3 serving"
        world.pass_time(0.1)
        world.ready()
        world.pass_time(0.4)


def test_a_loop_backs_off_also_when_it_waits_long() -> None:
    world = serving(1)
    waits = []
    for _ in range(8):
        died_at = world.now
        world.die(0)
        forks = len(world.forks)
        if world.shape == "":
            world.pass_time(world.fleet.wake - world.now)
            assert len(world.forks) == forks + 1
        waits.append(round(world.forks[-1][0] - died_at, 3))
        world.pass_time(0.05)
        world.ready(0)
        world.pass_time(0.1)
    assert waits == [0, 0, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2]


def test_many_early_deaths_bring_workers_back_one_at_a_time() -> None:
    world = serving(4)
    for slot in range(4):
        world.die(slot)
    for slot in world.slots(Phase.BOOTING):
        world.die(slot)
    world.pass_time(100)
    assert world.shape == "1: 1 booting"
    world.ready()
    assert world.shape == "1: 1 booting, 1 serving"


def test_worker_that_lived_resets_the_back_off() -> None:
    world = serving(1)
    for _ in range(4):
        world.die(0)
        world.pass_time(100)
    world.ready(0)
    world.pass_time(100)
    world.die(0)
    assert world.shape == "1: 1 booting"


def test_a_slow_boot_makes_a_longer_life_early() -> None:
    world = serving(1)
    for _ in range(3):
        world.die(0)
        world.pass_time(20)
        world.ready(0)
        world.pass_time(10)  # half of what it took to boot
    assert world.fleet.current is not None
    assert world.fleet.current.early_deaths == 2


def test_boot_failure_of_a_replacement_is_said_with_the_next_try() -> None:
    world = serving(2)
    world.die(0)
    world.fail(0, "no module named app")
    world.fail(world.slots(Phase.BOOTING)[0], "no module named app")
    assert world.said(logging.ERROR)[1:] == [
        "no module named app; trying again",
        "no module named app; the next try in 0.1 s",
    ]


def test_eof_of_a_dying_worker_is_no_news_of_its_own() -> None:
    world = serving(2)
    world.do(world.fleet.mute(1, world.now))
    assert world.shape == "1: 1 muted, 1 serving"
    assert world.taken() == []
    world.die(1, text="was killed by SIGSEGV")
    assert world.shape == "1: 1 booting, 1 serving"
    assert world.said() == ["worker 102 was killed by SIGSEGV"]


def test_worker_that_closed_its_channel_and_lives_is_aborted_and_replaced() -> None:
    world = serving(2)
    world.do(world.fleet.mute(1, world.now))
    world.pass_time(MUTE_TIMEOUT)
    assert world.taken() == [Signal(1, ABRT, "it has closed the channel to its master")]
    assert world.shape == "1: 1 aborting, 1 booting, 1 serving"


def test_hung_worker_is_replaced_at_once_aborted_then_killed() -> None:
    world = serving(2)
    world.do(world.fleet.hung(0, "GET /slow", world.now))
    assert world.shape == "1: 1 aborting, 1 booting, 1 serving"
    assert world.taken() == [Signal(0, ABRT, "GET /slow")]
    world.pass_time(ABORT_TIMEOUT)
    (order,) = world.taken()
    assert isinstance(order, Signal)
    assert order.number == KILL
    world.die(0)
    world.settle()
    assert world.shape == "1: 2 serving"


def test_worker_that_drains_by_itself_is_replaced_at_once() -> None:
    world = serving(2)
    world.do(world.fleet.leaving(0, world.now))
    assert world.shape == "1: 1 booting, 1 draining, 1 serving"
    assert world.taken() == []


# Recycling


def test_recycled_worker_serves_until_its_successor_does() -> None:
    world = serving(4)
    world.do(world.fleet.recycle(1, "1000 requests", world.now))
    assert world.shape == "1: 1 booting, 1 retiring, 3 serving"
    world.ready()
    assert world.shape == "1: 4 serving, 1 told"
    assert world.taken() == [Send(1, channel.DRAIN)]


def test_never_all_workers_are_recycled_at_once() -> None:
    world = serving(4)
    for slot in range(4):
        world.do(world.fleet.recycle(slot, "1000 requests", world.now))
    assert world.shape == "1: 1 booting, 4 retiring"
    world.settle()
    assert world.shape == "1: 4 serving"
    assert len(world.forks) == 8


def test_recycling_waits_for_a_reload() -> None:
    world = serving(4)
    world.reload()
    world.do(world.fleet.recycle(1, "1000 requests", world.now))
    assert world.shape == "1: 1 retiring, 3 serving; 2: 1 booting"


# Reload


def test_reload_canary_then_rest_then_drain() -> None:
    world = serving(4)
    world.reload()
    assert world.shape == "1: 4 serving; 2: 1 booting"
    world.ready()
    assert world.shape == "1: 4 serving; 2: 3 booting, 1 serving"
    world.ready()
    assert world.shape == "1: 4 told; 2: 4 serving"
    assert world.taken() == [Send(slot, channel.DRAIN) for slot in range(4)]
    assert not world.noted(Settled)  # who was told may still be about to accept
    for slot in range(3):
        world.do(world.fleet.leaving(slot, world.now))
    world.die(3, clean=True)
    assert world.shape == "1: 3 draining; 2: 4 serving"
    assert world.noted(Settled) == [Settled(2)]
    world.settle()
    assert world.shape == "2: 4 serving"
    assert world.noted(Forget) == [Forget(1)]


def test_reload_with_one_worker() -> None:
    world = serving(1)
    world.reload(1)
    world.ready()
    assert world.shape == "1: 1 told; 2: 1 serving"


@pytest.mark.parametrize("how", ["fail", "die", "late", "mute"])
def test_canary_that_fails_leaves_the_old_generation(how: str) -> None:
    world = serving(4)
    world.reload(boot_timeout=5)
    (canary,) = world.slots(Phase.BOOTING)
    match how:
        case "fail":
            world.fail(canary, "SyntaxError in app.py")
        case "die":
            world.die(canary, text="exited with code 1")
        case "late":
            world.pass_time(5)
        case "mute":
            world.do(world.fleet.mute(canary, world.now))
            world.pass_time(MUTE_TIMEOUT)
    (abandoned,) = world.noted(Abandoned)
    assert isinstance(abandoned, Abandoned)
    assert abandoned.generation == 2
    world.settle()
    assert world.shape == "1: 4 serving"
    assert world.exits == []
    (said,) = world.said(logging.ERROR)
    assert said.startswith("reload failed, generation 1 serves on: ")
    assert world.noted(Forget) == [Forget(2)]


def test_one_failed_boot_among_the_rest_ends_the_new_generation() -> None:
    world = serving(4)
    world.reload()
    world.ready()
    first, second, _ = world.slots(Phase.BOOTING)
    world.ready(first)
    world.fail(second)
    assert world.shape == "1: 4 serving; 2: 2 quitting, 2 told"


def test_one_killed_worker_does_not_end_the_new_generation() -> None:
    world = serving(4)
    world.reload()
    world.ready()
    (canary,) = world.slots(Phase.SERVING, generation=2)
    world.die(canary)
    assert world.shape == "1: 4 serving; 2: 4 booting"
    world.settle()
    assert world.shape == "2: 4 serving"


def test_workers_that_keep_dying_end_the_new_generation() -> None:
    world = serving(2)
    world.reload(2)
    for _ in range(3):
        world.ready(*world.slots(Phase.BOOTING)[:1])
        world.die(world.slots(Phase.SERVING, generation=2)[0])
        world.pass_time(0.1)
    assert len(world.noted(Abandoned)) == 1
    world.settle()
    assert world.shape == "1: 2 serving"


def test_a_newer_reload_takes_the_place_of_one_that_hangs() -> None:
    world = serving(2)
    world.reload(2)
    world.reload(2)
    assert world.shape == "1: 2 serving; 2: 1 quitting; 3: 1 booting"
    world.settle()
    assert world.shape == "3: 2 serving"


def test_reload_while_starting_begins_again() -> None:
    world = World(size=2)
    world.reload(3)
    assert world.shape == "1: 2 quitting; 2: 3 booting"
    world.settle()
    assert world.shape == "2: 3 serving"
    assert world.noted(Opened) == [Opened()]


def test_reload_changes_the_number_of_workers_only_when_it_succeeds() -> None:
    world = serving(4)
    world.reload(2)
    assert world.shape == "1: 4 serving; 2: 1 booting"
    world.fail(world.slots(Phase.BOOTING)[0])
    world.settle()
    assert world.shape == "1: 4 serving"
    world.reload(2)
    world.settle()
    assert world.shape == "3: 2 serving"
    assert world.noted(Resized) == [Resized(2, 4)]


def test_old_workers_are_replaced_while_the_new_generation_boots() -> None:
    world = serving(4)
    world.reload()
    world.die(3)
    assert world.shape == "1: 1 booting, 3 serving; 2: 1 booting"


def test_workers_of_a_failed_generation_stay_while_the_old_one_is_short() -> None:
    world = serving(2)
    world.reload(2)
    world.ready()
    world.die(0)
    world.die(1)
    assert world.shape == "1: 2 booting; 2: 1 booting, 1 serving"
    world.fail(world.slots(Phase.BOOTING, generation=2)[0])
    assert world.shape == "1: 2 booting; 2: 1 quitting, 1 serving"
    world.settle()
    assert world.shape == "1: 2 serving"


def test_reload_waits_for_slots_that_still_drain() -> None:
    world = serving(4, slots=9, graceful_timeout=1000)
    world.reload(graceful_timeout=1000)
    world.ready()
    world.ready()
    assert world.shape == "1: 4 told; 2: 4 serving"
    world.reload()
    world.ready()
    assert world.shape == "1: 4 told; 2: 4 serving; 3: 1 serving"
    world.settle()
    assert world.shape == "3: 4 serving"


# Resize


def test_grow_and_shrink() -> None:
    world = serving(2)
    world.do(world.fleet.grow(world.now))
    world.settle()
    assert world.shape == "1: 3 serving"
    for _ in range(5):
        world.do(world.fleet.shrink(world.now))
    world.settle()
    assert world.shape == "1: 1 serving"
    assert world.noted(Resized) == [Resized(3, 2), Resized(2, 3), Resized(1, 2)]


def test_shrink_lets_the_oldest_go() -> None:
    world = serving(2)
    world.die(0)
    world.settle()
    world.do(world.fleet.shrink(world.now))
    assert world.taken() == [Send(1, channel.DRAIN)]


def test_shrink_lets_go_who_boots_before_who_serves() -> None:
    world = serving(2)
    world.do(world.fleet.grow(world.now))
    world.do(world.fleet.shrink(world.now))
    assert world.shape == "1: 1 quitting, 2 serving"


# A number that follows what there is to do


def adapting(least: int = 2, most: int = 8, wanted: int = 0) -> World:
    """A world that has begun with as few as may be, and would have up to `most`."""
    world = World(24, start=False)
    world.do(world.fleet.start(Policy(size=most, least=least), world.now, wanted))
    world.settle()
    world.pass_time(60)
    world.taken()
    world.notes.clear()
    return world


def follow(world: World, size: int) -> None:
    world.do(world.fleet.follow(size, "so it is", world.now))


def range_of(world: World) -> str:
    assert world.fleet.current is not None
    return f"{world.fleet.size} of {world.fleet.current.range}"


@pytest.mark.parametrize(("wanted", "first"), [(0, 2), (1, 2), (5, 5), (9, 8)])
def test_begins_with_as_few_as_may_be_or_as_many_as_before(wanted: int, first: int) -> None:
    world = adapting(2, 8, wanted)
    assert world.shape == f"1: {first} serving"
    assert world.fleet.adapts


def test_without_a_least_number_nothing_follows() -> None:
    for policy in (Policy(size=4), Policy(size=4, least=4), Policy(size=4, least=9)):
        world = World(start=False)
        world.do(world.fleet.start(policy, world.now, 2))
        world.settle()
        assert not world.fleet.adapts
        follow(world, 2)
        assert world.shape == "1: 4 serving"
        assert not world.noted(Resized)


def test_follows_within_the_range() -> None:
    world = adapting(2, 8)
    follow(world, 5)
    assert world.shape == "1: 3 booting, 2 serving"
    world.settle()
    follow(world, 99)
    world.settle()
    assert world.shape == "1: 8 serving"
    follow(world, 7)
    (order,) = world.taken()
    assert isinstance(order, Send) and order.message == channel.DRAIN, "it drains as any other"
    follow(world, 0)
    world.settle()
    assert world.shape == "1: 2 serving"
    assert world.noted(Resized) == [
        Resized(5, 2, "so it is"),
        Resized(8, 5, "so it is"),
        Resized(7, 8, "so it is"),
        Resized(2, 7, "so it is"),
    ]


def test_a_reload_begins_with_as_many_as_are_wanted_now() -> None:
    world = adapting(2, 8)
    follow(world, 5)
    world.settle()
    world.do(world.fleet.reload(Policy(size=8, least=3), world.now))
    world.ready()
    assert world.shape == "1: 5 serving; 2: 4 booting, 1 serving"
    follow(world, 6)
    assert world.shape == "1: 1 booting, 5 serving; 2: 5 booting, 1 serving", "both follow"
    world.settle()
    assert world.shape == "2: 6 serving"
    assert range_of(world) == "6 of 3 to 8"


@pytest.mark.parametrize(
    ("policy", "after"),
    [
        (Policy(size=4), "4 of 4"),
        (Policy(size=4, least=1), "4 of 1 to 4"),
        (Policy(size=12, least=7), "7 of 7 to 12"),
    ],
)
def test_a_reload_may_bring_another_range(policy: Policy, after: str) -> None:
    world = adapting(2, 8)
    follow(world, 5)
    world.do(world.fleet.reload(policy, world.now))
    world.settle()
    assert range_of(world) == after


def test_a_reload_may_bring_the_range() -> None:
    world = serving(4)
    world.do(world.fleet.reload(Policy(size=6, least=2), world.now))
    assert not world.fleet.adapts, "the generation that serves does not"
    world.settle()
    assert range_of(world) == "4 of 2 to 6", "it goes on from as many as there were"


def test_roll_back_has_as_many_as_are_wanted_now() -> None:
    world = adapting(2, 8)
    world.do(world.fleet.reload(Policy(size=8, least=2, bake=60), world.now))
    world.settle()
    follow(world, 4)
    world.settle()
    world.do(world.fleet.roll_back("worse", world.now))
    world.settle()
    assert world.shape == "1: 4 serving"


def test_people_move_the_range() -> None:
    world = adapting(2, 8)
    follow(world, 4)
    world.do(world.fleet.grow(world.now))
    assert range_of(world) == "5 of 3 to 9"
    for _ in range(4):
        world.do(world.fleet.shrink(world.now))
    assert range_of(world) == "1 of 1 to 5"
    world.do(world.fleet.shrink(world.now))
    assert range_of(world) == "1 of 1 to 5", "the last one stays"
    for _ in range(20):
        world.do(world.fleet.grow(world.now))
    assert range_of(world) == "12 of 12", "as many as the slots allow"
    assert world.noted(Resized)[1] == Resized(5, 4, "3 to 9 from now on")


def test_an_emptied_server_follows_nothing_until_a_reload() -> None:
    world = adapting(2, 8)
    world.do(world.fleet.empty(world.now))
    assert not world.fleet.adapts
    follow(world, 5)
    world.settle()
    assert world.shape == ""
    world.do(world.fleet.grow(world.now))
    world.settle()
    assert range_of(world) == "1 of 1"
    world.do(world.fleet.reload(Policy(size=8, least=2), world.now))
    world.settle()
    assert range_of(world) == "2 of 2 to 8"


def test_a_stopping_server_follows_nothing() -> None:
    world = adapting(2, 8)
    world.do(world.fleet.stop(world.now))
    assert not world.fleet.adapts
    forks = len(world.forks)
    follow(world, 5)
    assert len(world.forks) == forks


def test_growth_waits_for_the_back_off() -> None:
    world = adapting(2, 8)
    for _ in range(4):
        world.die(world.slots(Phase.SERVING, Phase.BOOTING)[0])
        world.settle_boots()
    forks = len(world.forks)
    follow(world, 5)
    assert len(world.forks) == forks
    world.pass_time(10)
    world.settle_boots()
    assert world.shape == "1: 5 serving"


def test_grow_ends_at_what_the_slots_allow() -> None:
    world = serving(4, slots=8)
    world.do(world.fleet.grow(world.now))
    assert world.shape == "1: 4 serving"
    assert world.said() == ["4 workers are the most that this start allows, not 5"]


def test_empty_keeps_the_master_and_grow_brings_workers_back() -> None:
    world = serving(2)
    world.do(world.fleet.empty(world.now))
    world.settle()
    assert world.shape == ""
    assert world.exits == []
    world.do(world.fleet.grow(world.now))
    assert world.shape == "1: 1 booting"


# Stop


def test_stop_drains_then_exits() -> None:
    world = serving(2)
    world.do(world.fleet.stop(world.now))
    assert world.taken() == [Send(0, channel.DRAIN), Send(1, channel.DRAIN)]
    world.die(0, clean=True)
    assert world.exits == []
    world.die(1, clean=True)
    assert world.exits == [0]
    assert world.fleet.wake == math.inf


def test_stop_of_the_last_server_says_so_and_waits_for_the_delay() -> None:
    world = serving(1, graceful_timeout=7, drain_delay=3)
    world.do(world.fleet.stop(world.now, last=True))
    assert world.taken() == [Send(0, channel.FINISH)]
    world.pass_time(9.9)
    assert world.taken() == []
    world.pass_time(0.1)
    assert world.taken() == [Signal(0, KILL, "not drained within 7 s (graceful_timeout)")]


def test_stop_kills_who_does_not_drain_in_time() -> None:
    world = serving(1, graceful_timeout=7)
    world.do(world.fleet.stop(world.now))
    world.taken()
    world.pass_time(6.9)
    assert world.taken() == []
    world.pass_time(0.1)
    assert world.taken() == [Signal(0, KILL, "not drained within 7 s (graceful_timeout)")]


def test_a_drain_that_is_to_be_over_at_once_is_no_kill() -> None:
    world = serving(1, graceful_timeout=0)
    world.do(world.fleet.stop(world.now))
    assert world.taken() == [Send(0, channel.DRAIN)]
    world.pass_time(0.4)
    assert world.taken() == []
    world.pass_time(0.1)
    assert world.taken() == [Signal(0, KILL, "not drained within 0 s (graceful_timeout)")]


def test_saying_that_it_drains_gains_no_time() -> None:
    world = serving(1, graceful_timeout=7)
    world.do(world.fleet.stop(world.now))
    world.pass_time(5)
    world.do(world.fleet.leaving(0, world.now))
    world.taken()
    world.pass_time(2)
    assert world.taken() == [Signal(0, KILL, "not drained within 7 s (graceful_timeout)")]


def test_stop_ends_workers_that_boot_without_delay() -> None:
    world = World(size=2)
    world.ready(0)
    world.do(world.fleet.stop(world.now))
    assert world.taken() == [Send(0, channel.DRAIN), Signal(1, TERM)]


def test_stop_during_reload_gives_it_up() -> None:
    world = serving(2)
    world.reload(2)
    world.do(world.fleet.stop(world.now))
    (abandoned,) = world.noted(Abandoned)
    assert isinstance(abandoned, Abandoned)
    assert abandoned.cause == "the server is stopping"
    world.settle()
    assert world.exits == [0]


def test_quit_is_quick_and_a_second_one_kills() -> None:
    world = serving(2)
    world.do(world.fleet.quit(world.now))
    assert world.taken() == [Send(0, channel.STOP), Send(1, channel.STOP)]
    world.do(world.fleet.quit(world.now))
    assert world.taken() == [Signal(0, KILL), Signal(1, KILL)]


def test_quit_kills_who_does_not_leave() -> None:
    world = serving(1)
    world.do(world.fleet.quit(world.now))
    world.taken()
    world.pass_time(QUIT_TIMEOUT)
    (order,) = world.taken()
    assert isinstance(order, Signal)
    assert order.number == KILL


def test_quit_after_stop_hurries() -> None:
    world = serving(1)
    world.do(world.fleet.stop(world.now))
    world.do(world.fleet.quit(world.now))
    assert world.taken() == [Send(0, channel.DRAIN), Send(0, channel.STOP)]


def test_nothing_is_forked_or_reloaded_while_stopping() -> None:
    world = serving(2)
    world.do(world.fleet.stop(world.now))
    forks = len(world.forks)
    world.do(world.fleet.grow(world.now))
    world.reload(4)
    world.die(0)
    assert len(world.forks) == forks
    assert world.said(logging.WARNING) == [
        "reload ignored: the server is stopping",
        "worker 101 was killed by SIGKILL while it drained",
    ]


# Forks that take time (a mold makes them)


def test_worker_that_is_no_longer_wanted_is_killed_when_it_is_born() -> None:
    world = World(size=2, start=False)
    world.holds_forks = True
    world.do(world.fleet.start(Policy(size=2), world.now))
    world.do(world.fleet.stop(world.now))
    world.do(world.fleet.forked(0, 11, world.now))
    assert world.taken() == [Signal(0, KILL)]
    world.do(world.fleet.unforked(1, "the mold is dead", world.now))
    world.die(0)
    assert world.exits == [0]


def test_late_news_of_an_empty_slot_changes_nothing() -> None:
    fleet = Fleet(4)
    fleet.start(Policy(size=1), 0.0)
    for news in (fleet.ready, fleet.leaving, fleet.mute):
        assert news(3, 1.0) == []
    assert fleet.failed(3, Failure("late"), 1.0) == []
    assert fleet.hung(3, "late", 1.0) == []
    assert fleet.recycle(3, "late", 1.0) == []
    assert Fork(0, 1) != Fork(0, 2)
    assert repr(Fork(0, 1)) == "Fork(False, 1, 0)"


def test_worker_with_a_stuck_request_drains_and_is_replaced_at_once() -> None:
    world = serving(2)
    world.do(world.fleet.stuck(0, "GET /slow does not end", world.now))
    assert world.shape == "1: 1 booting, 1 serving, 1 told"
    assert world.taken() == [Send(0, channel.DRAIN)]
    world.do(world.fleet.stuck(0, "GET /slow does not end", world.now))
    world.do(world.fleet.hung(0, "GET /slow does not end", world.now))
    assert world.taken() == [Signal(0, ABRT, "GET /slow does not end")]
    assert world.said() == ["worker 101 is replaced: GET /slow does not end"]


# Bake


def baking(size: int = 4, **options: float) -> World:
    """A world whose second generation serves and is watched for 60 s."""
    world = serving(size, **options)
    world.reload(size, bake=60)
    world.settle_boots()
    return world


def test_bake_keeps_the_old_generation_in_reserve() -> None:
    world = baking(2)
    assert world.shape == "1: 2 parking; 2: 2 serving"
    assert world.taken() == [Send(0, channel.PARK), Send(1, channel.PARK)]
    assert not world.noted(Settled)
    for slot in (0, 1):
        world.do(world.fleet.parked(slot, world.now))
    assert world.shape == "1: 2 parked; 2: 2 serving"
    assert world.noted(Settled) == [Settled(2)]
    assert not world.noted(Baked)


def test_bake_that_ends_well_drains_the_old_generation() -> None:
    world = baking(2)
    world.pass_time(59)
    world.taken()
    world.pass_time(1)
    assert world.noted(Baked) == [Baked(2)]
    assert world.taken() == [Send(0, channel.DRAIN), Send(1, channel.DRAIN)]
    world.settle()
    assert world.shape == "2: 2 serving"
    assert world.noted(Forget) == [Forget(1)]
    assert world.fleet.wake == math.inf


def test_roll_back_wakes_the_old_generation_before_the_new_one_drains() -> None:
    world = baking(2)
    for slot in (0, 1):
        world.do(world.fleet.parked(slot, world.now))
    world.taken()
    world.notes.clear()
    world.do(world.fleet.roll_back("5 of 5 answers are 5xx", world.now))
    assert world.shape == "1: 2 waking; 2: 2 serving"
    assert world.taken() == [Send(0, channel.WAKE), Send(1, channel.WAKE)]
    assert world.noted(Abandoned) == [Abandoned(2, "taken back: 5 of 5 answers are 5xx")]
    world.ready(0)
    assert world.shape == "1: 1 serving, 1 waking; 2: 1 serving, 1 told"
    world.ready(1)
    world.settle()
    assert world.shape == "1: 2 serving"
    assert world.noted(Settled) == [Settled(1)]
    assert world.fleet.wake == math.inf
    assert world.said(logging.ERROR) == ["generation 2 is taken back, 1 serves again: 5 of 5 answers are 5xx"]


def test_roll_back_fills_the_places_of_those_that_died_in_reserve() -> None:
    world = baking(2)
    world.die(1)
    assert world.shape == "1: 1 parking; 2: 2 serving"
    world.do(world.fleet.roll_back("worse", world.now))
    assert world.shape == "1: 1 booting, 1 waking; 2: 2 serving"
    world.settle()
    assert world.shape == "1: 2 serving"


def test_one_that_does_not_wake_is_aborted_and_replaced() -> None:
    world = baking(1)
    world.do(world.fleet.roll_back("worse", world.now))
    world.taken()
    world.pass_time(WAKE_TIMEOUT)
    assert world.taken() == [Signal(0, ABRT, "it does not serve again 5 s after it was told")]
    assert world.shape == "1: 1 aborting, 1 booting; 2: 1 serving"


def test_roll_back_without_anybody_in_reserve_changes_nothing() -> None:
    world = serving(2)
    world.do(world.fleet.roll_back("worse", world.now))
    assert world.shape == "1: 2 serving"
    assert world.said() == []


def test_reload_while_baking_keeps_the_one_that_has_proven_itself() -> None:
    world = baking(2)
    world.reload(2, bake=60)
    world.settle_boots()
    assert world.shape == "1: 2 parking; 2: 2 told; 3: 2 serving"
    world.do(world.fleet.roll_back("worse", world.now))
    world.settle()
    assert world.shape == "1: 2 serving"


def test_reload_without_bake_while_baking_lets_everybody_go() -> None:
    world = baking(2)
    world.reload(2)
    world.settle_boots()
    assert world.shape == "1: 2 told; 2: 2 told; 3: 2 serving"


def test_failed_reload_while_baking_changes_nothing() -> None:
    world = baking(2)
    world.reload(2)
    world.fail(world.slots(Phase.BOOTING)[0])
    world.settle()
    assert world.shape == "1: 2 parked; 2: 2 serving"
    world.pass_time(60)
    world.settle()
    assert world.shape == "2: 2 serving"


def test_stop_while_baking() -> None:
    world = baking(1)
    world.do(world.fleet.parked(0, world.now))
    world.taken()
    world.do(world.fleet.stop(world.now))
    assert world.taken() == [Send(0, channel.DRAIN), Send(1, channel.DRAIN)]
    world.settle()
    assert world.exits == [0]


def test_reserve_follows_the_size() -> None:
    world = baking(3)
    for slot in (0, 1, 2):
        world.do(world.fleet.parked(slot, world.now))
    world.do(world.fleet.shrink(world.now))
    world.settle()
    assert world.shape == "1: 2 parked; 2: 2 serving"
    world.do(world.fleet.grow(world.now))
    world.settle()
    assert world.shape == "1: 2 parked; 2: 3 serving"
    world.do(world.fleet.roll_back("worse", world.now))
    world.settle()
    assert world.shape == "1: 3 serving"


def test_only_the_first_worker_of_a_reload_is_a_canary() -> None:
    world = serving(2)
    actions = world.fleet.reload(Policy(size=2), world.now)
    assert Fork(2, 2, True) in actions
    world.do(actions)
    assert Fork(3, 2) in world.fleet.ready(2, world.now)


# Standing still


def test_a_stopped_worker_has_its_whole_boot_timeout_when_it_goes_on() -> None:
    world = World(size=1, boot_timeout=5)
    world.now += 5
    assert world.fleet.due(world.now) == [0]
    world.fleet.stopped(0, world.now)
    world.do(world.fleet.tick(world.now))
    assert world.fleet.wake == world.now + STOPPED_INTERVAL
    world.pass_time(STOPPED_INTERVAL)  # it goes on
    world.pass_time(4.9)
    assert world.taken() == []
    world.pass_time(0.1)
    assert world.taken() == [Signal(0, ABRT, "not ready within 5 s (boot_timeout)")]


def test_a_stopped_worker_may_drain_when_it_goes_on() -> None:
    world = serving(2, graceful_timeout=7)
    world.do(world.fleet.shrink(world.now))
    world.taken()
    world.now += 7
    world.fleet.stopped(0, world.now)
    world.pass_time(STOPPED_INTERVAL + 6.9)
    assert world.taken() == []
    world.pass_time(0.1)
    assert world.taken() == [Signal(0, KILL, "not drained within 7 s (graceful_timeout)")]


def test_a_stop_comes_in_time_also_for_stopped_workers() -> None:
    world = serving(1, graceful_timeout=7)
    world.do(world.fleet.stop(world.now))
    assert world.fleet.due(world.now + 7) == []


def test_a_standstill_of_everybody_puts_deadlines_off() -> None:
    world = World(size=1, boot_timeout=5)
    world.now += 100
    world.fleet.put_off(100)
    world.pass_time(4.9)
    assert world.taken() == []
    world.pass_time(0.1)
    assert len(world.taken()) == 1
