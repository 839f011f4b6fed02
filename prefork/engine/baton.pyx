# cython: language_level=3, binding=False
"""The turn to run the reactor, passed between the threads of a worker (leader and followers).

Rules: one thread leads: it polls, receives, and calls the application itself. Only while it is inside the
application may the turn be taken from it, so everything else of the reactor is never run by two threads.
A monitor, which needs no GIL, passes the turn to a parked thread when one request holds the leader longer
than a threshold; it sleeps while no requests come. When recent requests were slow, the leader passes the turn
itself before it runs the next one, unless a thread is about to come back. A thread that is free again seizes the
turn from a leader that is inside the application, or from a thread that was woken and is not there yet; it is
awake already, and one that is woken has to wait for the GIL first.
"""
from libc.errno cimport errno
from libc.stdint cimport int64_t, uint64_t
from libc.stdlib cimport getenv
from posix.unistd cimport close

cdef extern from "sys/eventfd.h" nogil:
    int eventfd(unsigned int count, int flags)
    enum:
        EFD_NONBLOCK
        EFD_CLOEXEC

cdef extern from "malloc.h" nogil:
    int mallopt(int parameter, int value)
    enum:
        M_ARENA_MAX

cdef extern from "semaphore.h" nogil:
    int sem_init(void *semaphore, int shared, unsigned int value)
    int sem_post(void *semaphore)
    int sem_destroy(void *semaphore)

cdef extern from "baton.h" nogil:
    void baton_begin(baton *b)
    int baton_give(baton *b)
    int baton_seize(baton *b)
    int baton_park(baton *b)
    int baton_offer(baton *b, int waiting)
    void baton_monitor(baton *b)
    void baton_ring(baton *b)
    int64_t baton_now()
    void baton_quit "prefork_baton_quit"(baton *b)
    int baton_parked "prefork_baton_parked"(baton *b)
    void *baton_turn "prefork_baton_turn"(baton *b)

cdef extern from *:
    """
    #define prefork_baton_quit(b) atomic_store(&(b)->quit, 1)
    #define prefork_baton_parked(b) atomic_load(&(b)->parked)
    #define prefork_baton_turn(b) ((void *)&(b)->turn)
    """


cdef class Baton:
    """threshold: seconds that a request may hold the leader."""

    def __cinit__(self, double threshold):
        self.state.threshold = <long long>(threshold * 1e9)
        self.state.bell = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)
        if self.state.bell < 0:
            raise OSError(errno, "eventfd")
        # Threads that share the GIL gain nothing by an arena each, and each keeps what it has freed. Who has said
        # how many there may be (mallopt(3)) is not overruled.
        if getenv("MALLOC_ARENA_MAX") == NULL:
            mallopt(M_ARENA_MAX, 2)
        if sem_init(baton_turn(&self.state), 0, 0) != 0:
            raise OSError("sem_init")

    def __dealloc__(self):
        close(self.state.bell)
        sem_destroy(baton_turn(&self.state))

    @property
    def passed(self):
        """How often the turn was passed."""
        return self.state.passed

    @property
    def parked(self):
        """Threads that wait for the turn."""
        return baton_parked(&self.state)

    @property
    def slow(self):
        """Whether most recent requests held the leader longer than the threshold."""
        return self.state.score > 128

    def begin(self):
        """The first turn, for whichever thread parks or has parked."""
        baton_begin(&self.state)

    def give(self):
        """Pass the turn to a parked thread; False: there is none. The caller leads no more."""
        return bool(baton_give(&self.state))

    def offer(self, int waiting):
        """give(), unless a thread is about to come back that will seize the turn and find `waiting` events.

        False: the caller leads on, and the turn can be seized as soon as it is inside the application.
        """
        return bool(baton_offer(&self.state, waiting))

    def seize(self):
        """Take the turn: from a leader inside the application, or one that is given and not taken yet.

        False: somebody leads.
        """
        return bool(baton_seize(&self.state))

    def take(self):
        """Park until the turn comes; False: quit."""
        cdef int more = 1
        while more:
            with nogil:
                more = baton_park(&self.state)
            if more and baton_seize(&self.state):
                return True
        return False

    def enter(self):
        """What may hold the turn begins (for those who are no Connection)."""
        self.entered_at = baton_now()
        self.entered = baton_enter(&self.state, self.entered_at)

    def leave(self):
        """It is over. Returns the seconds it took."""
        baton_leave(&self.state, self.entered)
        return (baton_now() - self.entered_at) / 1e9

    def judge(self, double seconds):
        """Tell how long a request took that was run outside the turn."""
        baton_judge(&self.state, <long long>(seconds * 1e9))

    def monitor(self):
        """Watch the leader until quit(); for a thread of its own, which never holds the GIL meanwhile."""
        with nogil:
            baton_monitor(&self.state)

    def quit(self, int threads):
        """Wake everybody for good: take() returns False, monitor() returns."""
        cdef int i
        baton_quit(&self.state)
        baton_ring(&self.state)
        for i in range(threads):
            sem_post(baton_turn(&self.state))
