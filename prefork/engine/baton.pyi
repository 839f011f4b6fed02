class Baton:
    """The turn to run the reactor. threshold: seconds that a request may hold the leader."""

    passed: int
    """How often the turn was passed."""
    parked: int
    """Threads that wait for the turn."""
    slow: bool
    """Whether most recent requests held the leader longer than the threshold."""
    def __new__(cls, threshold: float) -> Baton: ...
    def begin(self) -> None:
        """The first turn, for whichever thread parks or has parked."""

    def give(self) -> bool:
        """Pass the turn to a parked thread; False: there is none. The caller leads no more."""

    def offer(self, waiting: int) -> bool:
        """give(), unless a thread is about to come back that will seize the turn and find `waiting` events.

        False: the caller leads on, and the turn can be seized as soon as it is inside the application.
        """

    def seize(self) -> bool:
        """Take the turn: from a leader inside the application, or one that is given and not taken yet.

        False: somebody leads.
        """

    def take(self) -> bool:
        """Park until the turn comes; False: quit."""

    def enter(self) -> None:
        """What may hold the turn begins (for those who are no Connection)."""

    def leave(self) -> float:
        """It is over. Returns the seconds it took."""

    def judge(self, seconds: float) -> None:
        """Tell how long a request took that was run outside the turn."""

    def monitor(self) -> None:
        """Watch the leader until quit(); for a thread of its own."""

    def quit(self, threads: int) -> None:
        """Wake everybody for good."""
