"""Figures as short words for people, the same for a terminal and for a page.

What a client or an application has named (request targets, process names) is made harmless here for a
terminal; a page escapes in addition.
"""

from __future__ import annotations

from ..telemetry.status import plain, span

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

NONE = "-"


def rate(value: float | None) -> str:
    """ "0.5", "12.0", "3021": a second."""
    if value is None:
        return NONE
    return f"{value:.1f}" if value < 1000 else f"{value:.0f}"


def share(value: float | None) -> str:
    return NONE if value is None else f"{value:.0%}"


def size(value: int | None) -> str:
    """ "812K", "45M", "1.2G" of bytes, in powers of 1024."""
    if value is None:
        return NONE
    if value >= 10 << 30:
        return f"{value / (1 << 30):.0f}G"
    if value >= 1 << 30:
        return f"{value / (1 << 30):.1f}G"
    return f"{value >> 20}M" if value >= 1 << 20 else f"{value >> 10}K"


def time(seconds: float | None) -> str:
    """ "0.12 ms", "15 ms", "2.3 s": of a request."""
    if seconds is None:
        return NONE
    if seconds >= 0.9995:
        return f"{seconds:.1f} s" if seconds < 60 else span(seconds)
    milliseconds = seconds * 1e3
    return f"{milliseconds:.2f} ms" if milliseconds < 10 else f"{milliseconds:.0f} ms"


def age(seconds: float | None) -> str:
    return NONE if seconds is None else span(seconds)


def shown(text: str) -> str:
    """A name for a terminal: escaped is what is not printable, also what would turn the direction of
    writing."""
    return "".join(
        letter if letter.isprintable() else f"\\x{ord(letter):02X}" if ord(letter) < 256 else
        f"\\u{ord(letter):04X}" for letter in text
    )  # fmt: skip


def addresses(server: dict[str, Any]) -> str:
    return " ".join(map(shown, server["addresses"]))


def course(server: dict[str, Any]) -> str:
    """ "serving; generation 3, 4 of 4 workers serve": what the server is about."""
    doing = str(server["course"])
    if server["next"]:
        doing += f", building generation {server['next']}"
    serving = f"{server['serving']} of {_workers(server)} workers serve"
    return f"{doing}; generation {server['generation']}, {serving}"


def _workers(server: dict[str, Any]) -> str:
    """ "4", or "2 to 8". An older server has no range."""
    least, most = server.get("least", 0), server.get("most", 0)
    return f"{least} to {most}" if least < most else str(server["workers"])


def request(worker: dict[str, Any]) -> str:
    """The request that this worker has run longest, and how many others it runs; "" for none."""
    requests = worker["requests_now"]
    if not requests:
        return ""
    longest = max(requests, key=lambda each: float(each["running"]))
    others = f" (+{len(requests) - 1})" if len(requests) > 1 else ""
    return f"{time(longest['running'])}{others} {plain(longest['method'])} {plain(longest['target'])}"


def longest(worker: dict[str, Any]) -> float:
    """For how long this worker has run what it has run longest; seconds."""
    return max((float(each["running"]) for each in worker["requests_now"]), default=0.0)


def statuses(now: dict[str, Any]) -> str:
    """ "answers/s over 2.0 s: 2xx 12.0, 5xx 0.5"."""
    found = now["statuses_per_second"]
    if found is None:
        return f"answers/s: {NONE}"
    given = ", ".join(f"{name} {rate(value)}" for name, value in found.items() if value) or "none"
    return f"answers/s over {now['interval']:.1f} s: {given}"


def spans(now: dict[str, Any]) -> str:
    """How long the requests of the interval took."""
    if now["interval"] is None:
        return "no moment to compare with yet"
    latency = now["latency"]
    if latency is None:
        return "nothing was answered"
    found = ", ".join(f"{key} {time(latency[key])}" for key in ("p50", "p90", "p99", "max"))
    return f"{found}; queue p99 {time(now['queue']['p99'])}"
