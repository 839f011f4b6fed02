# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False, binding=False
"""What one worker's connections share: limits, clock, deadlines, buffers, parked responses, its slots.

Deadlines: everything of one kind waits equally long, so each kind is a queue in order of expiry;
renewing a deadline moves a link to the end (a few pointer writes), and only the heads are ever looked at.
"""
from cpython.bytes cimport PyBytes_AS_STRING
from cpython.ref cimport Py_INCREF, PyObject, Py_XDECREF
from libc.errno cimport EINTR, errno
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy, memset
from posix.time cimport CLOCK_MONOTONIC, CLOCK_REALTIME, clock_gettime, timespec
from prefork.engine.accesslog cimport AccessLog
from prefork.engine.baton cimport Baton
from prefork.engine.environ cimport EnvironTable
from prefork.engine.scan cimport SCAN_FIELDS_MAX
from prefork.engine.scoreboard cimport RequestSlot, Scoreboard, request_end

cdef extern from "time.h" nogil:
    ctypedef long time_t
    cdef struct tm:
        int tm_sec
        int tm_min
        int tm_hour
        int tm_mday
        int tm_mon
        int tm_year
        int tm_wday
    tm *gmtime_r(const time_t *seconds, tm *parts)
    enum:
        CLOCK_REALTIME_COARSE
        CLOCK_MONOTONIC_COARSE

cdef extern from "sys/epoll.h" nogil:
    int epoll_wait(int epoll, epoll_event *events, int most, int milliseconds)

cdef extern from "rescue.h" nogil:
    int rescue_install(const int *table, int size, const char *text, size_t len)

cdef extern from "stdio.h" nogil:
    int snprintf(char *out, size_t size, const char *format, ...)

cdef const char **DAYS = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"]
cdef const char **MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]

cdef enum:
    BUFFER_SIZE = 65536
    LOOK_NS = 500000     # after that long it is looked at deadlines again; less than LATE_NS, or no turn would be late
    LAG_NS = 10000000    # what the kernel can tell of a wait is in ticks that are no shorter
    OUTCOME_KEEP = 0     # client.pxd, which stands on this file
    OUTCOME_GONE = 3


cdef int64_t monotonic_ns() noexcept nogil:
    cdef timespec t
    clock_gettime(CLOCK_MONOTONIC, &t)
    return <int64_t>t.tv_sec * 1000000000 + t.tv_nsec


cdef void unlink(Link *link) noexcept nogil:
    if link.before != NULL:
        link.before.after = link.after
        link.after.before = link.before
        link.before = link.after = NULL


cdef class Member:
    """Something with a deadline that takes chunks and gives a request body; Connection is the one there is."""

    cpdef int turn(self, uint32_t events) except -1:
        """Its descriptor is ready. Returns an Outcome."""
        return OUTCOME_KEEP

    cdef int expired(self) except -1:
        return 0

    cdef int chunk(self, object data) except -1:
        return 0

    cdef int hint(self, list headers) except -1:
        return 0

    cdef bytes pull(self, Py_ssize_t most):
        return b""


cdef class Station:
    """The state that one worker process keeps for all its connections.

    Times are in seconds, sizes in bytes. `epoll` is the descriptor of the reactor's epoll instance.
    `refusals`: fault code -> (status, reason phrase, text, *further field lines); `trusted`: peer address -> whether its
    forwarded headers are believed; `open_spool`: makes the unlinked file for a large body.
    """

    # Not __init__, which can be left out and called twice.
    def __cinit__(
        self, *, int epoll, EnvironTable environs not None, AccessLog access_log, Scoreboard scoreboard not None,
        int worker, dict refusals not None, trusted, open_spool, on_app_fault, on_refusal, on_notice, application,
        pre_request=None, post_request=None, str server="prefork",
        uint64_t head_limit=65536, uint64_t line_limit=4094, uint64_t field_limit=8190, uint64_t fields_limit=100,
        uint64_t body_limit=1 << 30, uint64_t body_memory_limit=262144, uint64_t response_limit=8 << 20,
        double head_timeout=20, double body_timeout=30, double body_min_rate=240, double keepalive=75,
        double write_timeout=120, double linger_timeout=2, double request_timeout=0, double queue_timeout=0,
        bint sendfile=True,
        bint stream_bodies=False,
    ):
        cdef int i
        self.buffer_size = BUFFER_SIZE
        self.buffer = <uint8_t *>malloc(BUFFER_SIZE)
        if self.buffer == NULL:
            raise MemoryError()
        self.members = {}
        self.epoll = epoll
        self.environs = environs
        self.access_log = access_log
        self.scoreboard = scoreboard
        self.worker = worker
        self.slot = scoreboard.checked_worker(worker)
        self.limits.head_size = head_limit
        self.limits.line_size = line_limit
        self.limits.field_size = field_limit
        self.limits.field_count = min(fields_limit, SCAN_FIELDS_MAX)
        self.body_limit = body_limit
        self.body_memory_limit = body_memory_limit
        self.response_limit = response_limit
        self.body_least = <int64_t>(body_min_rate * body_timeout)
        self.request_span = <int64_t>(request_timeout * 1e9)
        self.queue_limit = <int64_t>(queue_timeout * 1e9)
        self.use_sendfile = sendfile
        self.stream_bodies = stream_bodies
        self.trusted = trusted
        self.open_spool = open_spool
        self.on_app_fault = on_app_fault
        self.on_refusal = on_refusal
        self.on_notice = on_notice
        self.application = application
        self.pre_request = pre_request
        self.post_request = post_request
        spans = (head_timeout, body_timeout, keepalive, write_timeout, linger_timeout)
        for i in range(WAITS):
            self.queues[i].span = <int64_t>(<double>spans[i] * 1e9)
            self.queues[i].ends.before = self.queues[i].ends.after = &self.queues[i].ends
        cdef bytes line = b"Server: " + server.encode("latin-1") + b"\r\n" if server else b""
        if len(line) > 64:
            raise ValueError(f"server name {server!r} is too long (40 bytes at most)")
        memcpy(self.stamp, PyBytes_AS_STRING(line), len(line))
        self.server_len = len(line)
        self.stamp_second = -1
        self.asked = EVENTS
        self.begin_turn()
        self.refusals = self.format_refusals(refusals)
        self.free_count = scoreboard.requests_per_worker
        self.free_requests = <int *>malloc(self.free_count * sizeof(int))
        if self.free_requests == NULL:
            raise MemoryError()
        for i in range(self.free_count):
            self.free_requests[i] = self.free_count - 1 - i
        self.unanswered = <int *>malloc(self.free_count * sizeof(int))
        if self.unanswered == NULL:
            raise MemoryError()
        for i in range(self.free_count):
            self.unanswered[i] = -1
        self.runners = <PyObject **>calloc(self.free_count, sizeof(PyObject *))
        if self.runners == NULL:
            raise MemoryError()

    def __dealloc__(self):
        cdef int i
        free(self.buffer)
        free(self.free_requests)
        free(self.runners)
        free(self.unanswered)
        for i in range(self.parked_count):
            Py_XDECREF(self.parked[i])

    cdef tuple format_refusals(self, dict refusals):
        cdef list table = [None] * (max(refusals) + 1)
        for code, (status, reason, text, *fields) in refusals.items():
            body = text.encode("latin-1") + b"\n"
            table[code] = (
                status,
                f"HTTP/1.1 {status} {reason}\r\n".encode("latin-1"),
                f"Content-Type: text/plain; charset=iso-8859-1\r\nContent-Length: {len(body)}\r\n"
                f"{''.join(field + chr(13) + chr(10) for field in fields)}Connection: close\r\n\r\n".encode("latin-1"),
                body,
            )
        return tuple(table)

    # --- a turn of the loop: glance or wait, then serve ---

    def glance(self, int most):
        """Begin a turn with events that are there already, while there is much to do. 0: it is time for wait().

        Spares a busy loop to reckon how long it may sleep, but not for long: deadlines are looked at then. The GIL
        is kept: to let go of it costs more than to look, and where other threads want it, to get it back costs a
        wake-up.
        """
        if not self.busy or monotonic_ns() - self.slept_ns >= LOOK_NS:
            return 0
        self.gather(most, 0)
        if self.found:
            self.begin_turn()
        return self.found

    def wait(self, double span, int most):
        """Wait at most `span` seconds (-1: for ever) for events, at most `most`, and begin a turn. Returns how many."""
        self.fill(span, most)
        self.begin_turn()
        return self.found

    def serve(self, settle):
        """Give what is ready its turn. True: this thread has lost the reactor; whoever leads next goes on where it was.

        settle: called with (member, outcome) where a member is not done and does not wait for an event either; true
        when that has lost the reactor.
        """
        cdef uint32_t mask
        cdef int outcome
        while self.served < self.found:
            mask = self.events[self.served].events
            member = self.members.get(self.events[self.served].data.fd)
            self.served += 1
            if member is None:
                continue
            outcome = (<Member>member).turn(mask) if isinstance(member, Member) else member.turn(mask)
            if outcome != OUTCOME_KEEP and outcome != OUTCOME_GONE and settle(member, outcome):
                return True
        return False

    def waiting_events(self):
        """What is ready and has not had its turn: so many."""
        return self.found - self.served

    cdef int fill(self, double span, int most) except -1:
        if self.busy or span == 0:
            self.gather(most, 0)
        else:
            self.found = 0
        if self.found == 0 and span != 0:
            self.gather(most, -1 if span < 0 else <int>(span * 1000 + 0.999) if span < 3600 else 3600000)
        return 0

    cdef int gather(self, int most, int milliseconds) except -1:
        """What is ready, into `events`."""
        cdef int64_t woke_ns
        cdef int n
        if most > EVENTS:
            most = EVENTS
        self.found = self.served = 0
        self.asked = most
        if milliseconds == 0:
            n = epoll_wait(self.epoll, self.events, most, 0)
            self.busy = n > 0
        else:
            with nogil:
                n = epoll_wait(self.epoll, self.events, most, milliseconds)
                woke_ns = monotonic_ns()
            self.woke_ns = woke_ns
            self.busy = n > 1
        if n < 0:
            if errno != EINTR:
                raise OSError(errno, "epoll_wait")
            n = 0
        self.found = n
        return 0

    cdef void begin_turn(self) noexcept:
        """Look at the clocks."""
        cdef int64_t before = self.ready_ns
        self.look()
        self.ready_ns = self.now
        # Kept from looking by its own work, or by other threads that had the GIL.
        self.lagged = self.slept_ns - before > LAG_NS or (self.woke_ns > before and self.now - self.woke_ns > LAG_NS)
        if self.found < self.asked:
            self.told_ns = self.now
            self.full_polls = 0
            return
        # There may be more than this poll had room for. epoll tells of all in turn (man 7 epoll), so after as many
        # full polls as hold every connection, whatever was there at the first of them has been told.
        if self.full_polls == 0:
            self.full_since_ns = self.now
        self.full_polls += 1
        if self.full_polls * self.asked >= self.slot.connections + EVENTS:
            self.told_ns = self.full_since_ns
            self.full_polls = 0

    def resume(self):
        """Another thread goes on with a turn that began earlier: what is ready has been so since then."""
        self.look()

    cdef void look(self) noexcept:
        cdef timespec t
        self.now = monotonic_ns()
        clock_gettime(CLOCK_REALTIME_COARSE, &t)
        if t.tv_sec != self.stamp_second:
            self.stamp_second = t.tv_sec
            self.restamp()
        self.slot.beat_ns = self.now

    cdef void restamp(self) noexcept:
        # RFC 9110 5.6.7 IMF-fixdate; strftime would follow the locale.
        cdef tm parts
        cdef time_t second = <time_t>self.stamp_second
        gmtime_r(&second, &parts)
        self.stamp_len = self.server_len + snprintf(
            self.stamp + self.server_len, 64, b"Date: %s, %02d %s %04d %02d:%02d:%02d GMT\r\n",
            DAYS[parts.tm_wday], parts.tm_mday, MONTHS[parts.tm_mon], 1900 + parts.tm_year,
            parts.tm_hour, parts.tm_min, parts.tm_sec,
        )

    # --- what is told; whatever is raised by that goes to sys.unraisablehook ---

    cdef void notice(self, str text) noexcept:
        self.on_notice(text)

    cdef void tell_refusal(self, object remote, int code) noexcept:
        self.on_refusal(remote, code)

    # --- deadlines ---

    cdef void enqueue(self, Member member, int wait) noexcept:
        """Give member a new deadline; it had at most one."""
        cdef Queue *queue = &self.queues[wait]
        cdef Link *link = &member.link
        unlink(link)
        link.deadline = self.now + queue.span
        link.owner = <void *>member
        link.before = queue.ends.before
        link.after = &queue.ends
        link.before.after = link
        queue.ends.before = link

    def wait_span(self):
        """Seconds until the next deadline, 0 when one has passed, -1 when there is none."""
        cdef int64_t first = 0
        cdef Link *link
        cdef int i
        for i in range(WAITS):
            link = self.queues[i].ends.after
            if link != &self.queues[i].ends and (first == 0 or link.deadline < first):
                first = link.deadline
        self.slept_ns = monotonic_ns()
        if first == 0:
            return -1.0
        cdef int64_t left = first - self.slept_ns
        return left / 1e9 if left > 0 else 0.0

    def expire(self):
        """Act on every deadline that had passed when the loop last knew all that had come.

        Not by a later clock: a request may have held the loop since, and what came meanwhile is not read yet. Nor may
        what is ready be more than one poll could tell.
        """
        cdef Link *link
        cdef Member member
        cdef int i
        for i in range(WAITS):
            while True:
                link = self.queues[i].ends.after
                if link == &self.queues[i].ends or link.deadline > self.told_ns:
                    break
                member = <Member>link.owner
                unlink(link)
                member.expired()

    def waiting(self, int wait):
        """The members in one queue (a Wait number), the one with the earliest deadline first."""
        cdef list found = []
        cdef Queue *queue = self.queue(wait)
        cdef Link *link = queue.ends.after
        while link != &queue.ends:
            found.append(<Member>link.owner)
            link = link.after
        return found

    def resting(self, int wait, double seconds):
        """The members that have been in one queue (a Wait number) for so long at least."""
        cdef list found = []
        cdef Queue *queue = self.queue(wait)
        cdef int64_t latest = monotonic_ns() - <int64_t>(seconds * 1e9) + queue.span
        cdef Link *link = queue.ends.after
        while link != &queue.ends and link.deadline <= latest:
            found.append(<Member>link.owner)
            link = link.after
        return found

    def share_turn(self, Baton owner not None):
        """Threads share the reactor: who leads is decided by this baton."""
        self.lead_owner = owner
        self.lead = &owner.state

    def held(self):
        """Connections that are open."""
        return self.slot.connections

    def running(self):
        """Requests inside the application."""
        return self.slot.running

    def answered(self):
        """Requests that this worker has answered so far."""
        return self.slot.requests

    def first_waiting(self, int wait):
        """The member in one queue that has waited longest, or None."""
        cdef Queue *queue = self.queue(wait)
        cdef Link *link = queue.ends.after
        return None if link == &queue.ends else <Member>link.owner

    def set_span(self, int wait, double seconds):
        """Change how long later deadlines of one kind are; the queue must keep its order, so only where it is empty
        or the new span is not shorter than what is left of the last one."""
        self.queue(wait).span = <int64_t>(seconds * 1e9)

    cdef Queue *queue(self, int wait) except NULL:
        if not 0 <= wait < WAITS:
            raise IndexError(f"queue {wait} of {WAITS}")
        return &self.queues[wait]

    # --- request slots ---

    cdef RequestSlot *take_request(self, int *index, Member member) noexcept:
        if self.free_count == 0:
            # More requests than slots (a worker class that runs more than it said): the last one is shared.
            index[0] = -1
            return self.scoreboard.request_slot(self.worker, self.scoreboard.requests_per_worker - 1)
        self.free_count -= 1
        index[0] = self.free_requests[self.free_count]
        self.runners[index[0]] = <PyObject *>member
        return self.scoreboard.request_slot(self.worker, index[0])

    cdef void free_request(self, RequestSlot *slot, int index) noexcept:
        request_end(slot)
        if index >= 0:
            self.runners[index] = NULL
            self.unanswered[index] = -1
            self.free_requests[self.free_count] = index
            self.free_count += 1

    def overdue(self):
        """The members whose request has run past its deadline, the longest first."""
        cdef list found = []
        cdef RequestSlot *slot
        cdef int i
        cdef int64_t now = monotonic_ns()
        for i in range(self.scoreboard.requests_per_worker):
            slot = self.scoreboard.request_slot(self.worker, i)
            if self.runners[i] != NULL and slot.start_ns and 0 < slot.deadline_ns <= now:
                found.append((slot.start_ns, i))
        found.sort()
        return [<Member>self.runners[index] for _, index in found]

    def answer_at_abort(self, int code):
        """When this process is aborted, answer with refusal `code` whom no response has begun for."""
        if not (0 <= code < len(self.refusals) and self.refusals[code]):
            raise ValueError(f"no refusal has the code {code}")
        cdef tuple answer = <tuple>self.refusals[code]
        cdef bytes text = answer[1] + answer[2] + answer[3]
        if rescue_install(self.unanswered, self.scoreboard.requests_per_worker, text, len(text)) != 0:
            raise OSError(errno, "sigaction")
        Py_INCREF(self)  # the handler reads our table until the process is gone

    def running_members(self):
        """The members whose request the application has."""
        cdef int i
        return [<Member>self.runners[i] for i in range(self.scoreboard.requests_per_worker) if self.runners[i] != NULL]

    def runner(self, int64_t thread):
        """The member whose request that thread runs (its native id; 0: any), or None."""
        cdef int i
        for i in range(self.scoreboard.requests_per_worker):
            if self.runners[i] != NULL and thread in (0, self.scoreboard.request_slot(self.worker, i).thread):
                return <Member>self.runners[i]
        return None

    def remaining(self, Member member):
        """Seconds until the deadline of the request that member runs, below 0 when it has passed; inf: it has none."""
        cdef RequestSlot *slot = self.slot_of(member)
        return (slot.deadline_ns - monotonic_ns()) / 1e9 if slot != NULL and slot.deadline_ns else float("inf")

    def extend(self, Member member, double seconds):
        """Give the request that member runs so many seconds from now on, if it has less."""
        cdef RequestSlot *slot = self.slot_of(member)
        cdef int64_t deadline = monotonic_ns() + <int64_t>(seconds * 1e9)
        if slot != NULL and 0 < slot.deadline_ns < deadline:
            slot.deadline_ns = deadline

    cdef RequestSlot *slot_of(self, Member member) noexcept:
        cdef int i
        for i in range(self.scoreboard.requests_per_worker):
            if self.runners[i] == <PyObject *>member:
                return self.scoreboard.request_slot(self.worker, i)
        return NULL
