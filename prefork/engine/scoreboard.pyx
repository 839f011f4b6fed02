# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The shared slots of one server: a worker slot and its request slots for every worker that can be.

The master makes one Scoreboard before the first fork and every child inherits it. What a worker writes
here costs the request path a few stores; timeouts, status, metrics and crash reports read it, also when
the worker hangs or has died. Counters of dead workers are kept in a slot of their own, so totals never
run backwards.
"""

from collections import namedtuple
from enum import IntEnum

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.exc cimport PyErr_SetFromErrno
from libc.stdint cimport int64_t, uint64_t
from libc.string cimport memcpy, memset

cdef extern from "sys/mman.h" nogil:
    void *mmap(void *addr, size_t length, int prot, int flags, int fd, long offset)
    int munmap(void *addr, size_t length)
    int PROT_READ, PROT_WRITE, MAP_SHARED, MAP_ANONYMOUS
    void *MAP_FAILED

cdef extern from "sys/eventfd.h" nogil:
    int eventfd(unsigned int initval, int flags)
    int eventfd_write(int fd, uint64_t value)
    int eventfd_read(int fd, uint64_t *value)
    int EFD_NONBLOCK, EFD_CLOEXEC

cdef extern from "string.h" nogil:
    size_t strnlen(const char *s, size_t maxlen)

cdef extern from "unistd.h" nogil:
    int close(int fd)

cdef extern from "time.h" nogil:
    ctypedef int clockid_t
    cdef struct timespec:
        long tv_sec
        long tv_nsec
    clockid_t CLOCK_MONOTONIC
    clockid_t CLOCK_MONOTONIC_COARSE
    int clock_gettime(clockid_t, timespec *)

cdef extern from *:
    """
    /* A copy of a slot's text; 0 when the writer was in the middle of changing it. */
    static inline int prefork_slot_copy(const int64_t *sequence, char *method, const char *m, size_t m_size,
                                        char *target, const char *t, size_t t_size) {
        int64_t before = __atomic_load_n(sequence, __ATOMIC_ACQUIRE);
        memcpy(method, m, m_size);
        memcpy(target, t, t_size);
        __atomic_thread_fence(__ATOMIC_ACQUIRE);
        return !(before & 1) && before == __atomic_load_n(sequence, __ATOMIC_RELAXED);
    }
    #define prefork_load(p) __atomic_load_n((p), __ATOMIC_ACQUIRE)
    """
    int prefork_slot_copy(const int64_t *, char *, const char *, size_t, char *, const char *, size_t) noexcept nogil
    int64_t prefork_load(const int64_t *) noexcept nogil

cdef enum:
    LATELY_NS = 5000000


cdef int64_t now_ns() noexcept nogil:
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return <int64_t>now.tv_sec * 1000000000 + now.tv_nsec


cdef enum:
    LINE = 64  # a cache line: two writers never share one
    WORKER_STRIDE = (sizeof(WorkerSlot) + LINE - 1) // LINE * LINE
    REQUEST_STRIDE = (sizeof(RequestSlot) + LINE - 1) // LINE * LINE
    # A writer needs nanoseconds for its text, so a reader that meets it mid-way this often has met one
    # that died or was put aside there. Its application was not called yet: there is no request to show.
    COPY_ATTEMPTS = 64


class WorkerState(IntEnum):
    FREE = WORKER_FREE
    BOOTING = WORKER_BOOTING
    SERVING = WORKER_SERVING
    DRAINING = WORKER_DRAINING
    STOPPED = WORKER_STOPPED
    PARKED = WORKER_PARKED


WorkerView = namedtuple(
    "WorkerView",
    "worker pid generation state booted_ns beat_ns connections running accepted requests statuses "
    "client_faults app_faults bytes_in bytes_out latency_ns queue_ns latency queue",
)
RequestView = namedtuple("RequestView", "request start_ns deadline_ns thread method target")


def bucket_of(ns):
    """The histogram bucket that counts a span of ns nanoseconds."""
    return bucket(ns)


def bucket_bounds():
    """Where each histogram bucket begins, in microseconds; a bucket ends where the next begins."""
    cdef int i
    return tuple([i if i < 4 else (4 + (i & 3)) << (i // 4 - 1) for i in range(HISTOGRAM_BUCKETS)])


@cython.no_gc_clear  # __dealloc__ needs the descriptors in `nudges`
cdef class Scoreboard:
    """Scoreboard(workers, requests_per_worker): OSError when the kernel has no memory or descriptors.

    Methods that take a worker raise IndexError for a number outside 0..workers-1. Each slot has one
    writer at a time: the master from clear() until the child runs, then the worker, then the master again.
    """

    def __cinit__(self, int workers, int requests_per_worker):
        cdef int fd
        self.nudges = ()
        if workers < 1 or requests_per_worker < 1:
            raise ValueError("a scoreboard needs at least one worker and one request slot for each")
        self.workers = workers
        self.requests_per_worker = requests_per_worker
        # One worker slot more than workers: the totals of those that are gone.
        self.size = (<size_t>workers + 1) * WORKER_STRIDE
        self.size += <size_t>workers * <size_t>requests_per_worker * REQUEST_STRIDE
        self.memory = mmap(NULL, self.size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0)
        if self.memory == MAP_FAILED:
            self.memory = NULL
            PyErr_SetFromErrno(OSError)
        for _ in range(workers):
            fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)
            if fd < 0:
                PyErr_SetFromErrno(OSError)
            self.nudges += (fd,)

    def __dealloc__(self):
        cdef int fd
        for fd in self.nudges or ():  # None: it was never made
            close(fd)
        if self.memory != NULL:
            munmap(self.memory, self.size)

    # For the request path (declared in the .pxd; no bounds are checked).

    cdef WorkerSlot *worker_slot(self, int worker) noexcept nogil:
        return <WorkerSlot *>(<char *>self.memory + <size_t>worker * WORKER_STRIDE)

    cdef RequestSlot *request_slot(self, int worker, int request) noexcept nogil:
        cdef size_t index = <size_t>worker * <size_t>self.requests_per_worker + <size_t>request
        return <RequestSlot *>(
            <char *>self.memory + (<size_t>self.workers + 1) * WORKER_STRIDE + index * REQUEST_STRIDE
        )

    cdef int idlest(self, int worker) noexcept nogil:
        # The serving sibling that is free and holds the fewest connections; -1: none is. Free is who runs
        # nothing, or began its turn so lately that what it runs may well be over before it is looked at.
        # The search begins behind `worker`, so that equals are not always the first slot.
        cdef int best = -1, step, other
        cdef int64_t fewest = 0
        cdef int64_t lately = now_ns() - LATELY_NS
        cdef WorkerSlot *slot
        for step in range(1, self.workers):
            other = worker + step
            if other >= self.workers:
                other -= self.workers
            slot = self.worker_slot(other)
            if slot.state != WORKER_SERVING or (slot.running and slot.beat_ns < lately):
                continue
            if best < 0 or slot.connections < fewest:
                best = other
                fewest = slot.connections
        return best

    cdef WorkerSlot *checked_worker(self, int worker) except NULL:
        if not 0 <= worker < self.workers:
            raise IndexError(f"worker {worker} of {self.workers}")
        return self.worker_slot(worker)

    cdef RequestSlot *checked_request(self, int worker, int request) except NULL:
        self.checked_worker(worker)
        if not 0 <= request < self.requests_per_worker:
            raise IndexError(f"request slot {request} of {self.requests_per_worker}")
        return self.request_slot(worker, request)

    # Called by the master, and by a worker for itself.

    def clear(self, int worker):
        """Empty the slots of a worker that is gone, before the next one is forked; its totals are kept."""
        cdef WorkerSlot *slot = self.checked_worker(worker)
        fold(self.worker_slot(self.workers), slot)
        memset(slot, 0, sizeof(WorkerSlot))
        memset(self.request_slot(worker, 0), 0, <size_t>self.requests_per_worker * REQUEST_STRIDE)

    def set_worker(self, int worker, *, pid=None, generation=None, state=None, booted_ns=None):
        """Set the fields that are given; state is a WorkerState."""
        cdef WorkerSlot *slot = self.checked_worker(worker)
        if pid is not None:
            slot.pid = pid
        if generation is not None:
            slot.generation = generation
        if booted_ns is not None:
            slot.booted_ns = booted_ns
        if state is not None:
            prefork_store(&slot.state, WorkerState(state))

    def beat(self, int worker):
        """Say that this worker's loop has turned; CLOCK_MONOTONIC_COARSE, so a beat may lag 4 ms."""
        cdef timespec now
        cdef WorkerSlot *slot = self.checked_worker(worker)
        clock_gettime(CLOCK_MONOTONIC_COARSE, &now)
        slot.beat_ns = <int64_t>now.tv_sec * 1000000000 + now.tv_nsec

    def nudge(self, int worker):
        """Wake this worker for a connection that a busier sibling leaves to it."""
        self.checked_worker(worker)
        eventfd_write(<int>self.nudges[worker], 1)  # EAGAIN: 2**64 - 2 nudges wait already

    def nudged(self, int worker):
        """Whether the worker was nudged since it last asked; takes the nudges away."""
        cdef uint64_t count = 0
        self.checked_worker(worker)
        return eventfd_read(<int>self.nudges[worker], &count) == 0 and count > 0

    def idlest_sibling(self, int worker):
        """The slot of the serving sibling that runs nothing and holds fewest connections, or -1."""
        self.checked_worker(worker)
        return self.idlest(worker)

    # Called by whoever wants to know: master, status, metrics, tests.

    def worker(self, int worker):
        """What the slot says now, as a WorkerView; histograms are tuples of counts, see bucket_bounds()."""
        return view(worker, self.checked_worker(worker))

    def totals(self):
        """Every worker's counters since the server began, the dead ones' too; pid and times are 0."""
        cdef WorkerSlot total
        cdef WorkerSlot *slot
        cdef int i
        memcpy(&total, self.worker_slot(self.workers), sizeof(WorkerSlot))
        for i in range(self.workers):
            slot = self.worker_slot(i)
            fold(&total, slot)
            total.connections += slot.connections
            total.running += slot.running
        return view(-1, &total)

    def requests(self, int worker):
        """The requests inside the application now, or when the worker died, as a list of RequestView."""
        cdef list found = []
        cdef RequestSlot copy
        cdef RequestSlot *slot
        cdef int i
        self.checked_worker(worker)
        for i in range(self.requests_per_worker):
            slot = self.request_slot(worker, i)
            if copy_request(slot, &copy):
                found.append(
                    RequestView(
                        i, copy.start_ns, copy.deadline_ns, copy.thread,
                        copy.method[:strnlen(copy.method, METHOD_SIZE - 1)].decode("latin-1"),
                        copy.target[:strnlen(copy.target, TARGET_SIZE - 1)].decode("latin-1"),
                    )
                )
        return found

    def busy_ns(self, int worker, int64_t now_ns):
        """Nanoseconds that requests have been inside the application, all together, those of now up to now_ns.

        Two readings, divided by the time between them, are how many ran at once on average. A request that
        ends while this looks may be missing; the next reading has it.
        """
        cdef WorkerSlot *slot = self.checked_worker(worker)
        cdef int64_t busy = slot.busy_ns
        cdef int64_t left = slot.running
        cdef int64_t start
        cdef int i
        for i in range(self.requests_per_worker):
            if left <= 0:
                break
            start = prefork_load(&self.request_slot(worker, i).start_ns)
            if start:
                busy += max(<int64_t>0, now_ns - start)
                left -= 1
        return busy

    def ended(self, int worker):
        """(method, target) of the last request of each slot of this worker in which none runs now."""
        cdef list found = []
        cdef RequestSlot copy
        cdef RequestSlot *slot
        cdef int i
        self.checked_worker(worker)
        for i in range(self.requests_per_worker):
            slot = self.request_slot(worker, i)
            if prefork_load(&slot.start_ns) == 0 and prefork_slot_copy(
                &slot.sequence, copy.method, slot.method, METHOD_SIZE, copy.target, slot.target, TARGET_SIZE
            ) and copy.method[0]:
                found.append((
                    copy.method[:strnlen(copy.method, METHOD_SIZE - 1)].decode("latin-1"),
                    copy.target[:strnlen(copy.target, TARGET_SIZE - 1)].decode("latin-1"),
                ))
        return found

    # The request path's writers, for Python: tests, and runners that are not compiled.

    def begin_request(self, int worker, int request, bytes method, bytes target, *, int64_t start_ns,
                      int64_t deadline_ns=0, int64_t thread=0):
        """Fill a request slot: the application is about to be called."""
        request_begin(
            self.checked_request(worker, request), start_ns, deadline_ns, thread,
            PyBytes_AS_STRING(method), <size_t>PyBytes_GET_SIZE(method),
            PyBytes_AS_STRING(target), <size_t>PyBytes_GET_SIZE(target),
        )

    def end_request(self, int worker, int request):
        """Free a request slot."""
        request_end(self.checked_request(worker, request))

    def set_load(self, int worker, *, int64_t connections, int64_t running, int64_t busy_ns=0):
        """Say how many connections a worker holds, how many requests it runs, and what those before took."""
        cdef WorkerSlot *slot = self.checked_worker(worker)
        slot.connections = connections
        slot.running = running
        slot.busy_ns = busy_ns

    def count(self, int worker, *, int status, int64_t latency_ns=0, int64_t queue_ns=0, uint64_t body_in=0,
              uint64_t body_out=0):
        """Count one request that is over."""
        cdef Exchange exchange
        memset(&exchange, 0, sizeof(Exchange))
        exchange.begin_ns = 1
        exchange.end_ns = 1 + latency_ns
        exchange.queue_ns = queue_ns
        exchange.body_in = body_in
        exchange.body_out = body_out
        exchange.status = status
        count_exchange(self.checked_worker(worker), &exchange)


cdef bint copy_request(const RequestSlot *slot, RequestSlot *copy) noexcept nogil:
    cdef int attempt
    for attempt in range(COPY_ATTEMPTS):
        copy.start_ns = prefork_load(&slot.start_ns)
        if copy.start_ns == 0:
            return False
        copy.deadline_ns = slot.deadline_ns
        copy.thread = slot.thread
        if prefork_slot_copy(
            &slot.sequence, copy.method, slot.method, METHOD_SIZE, copy.target, slot.target, TARGET_SIZE
        ):
            return True
    return False


cdef void fold(WorkerSlot *into, const WorkerSlot *slot) noexcept nogil:
    cdef int i
    into.accepted += slot.accepted
    into.requests += slot.requests
    for i in range(6):
        into.statuses[i] += slot.statuses[i]
    into.client_faults += slot.client_faults
    into.app_faults += slot.app_faults
    into.bytes_in += slot.bytes_in
    into.bytes_out += slot.bytes_out
    into.latency_ns += slot.latency_ns
    into.queue_ns += slot.queue_ns
    for i in range(HISTOGRAM_BUCKETS):
        into.latency[i] += slot.latency[i]
        into.queue[i] += slot.queue[i]


cdef object view(int worker, const WorkerSlot *slot):
    cdef int64_t state = prefork_load(&slot.state)
    cdef int i
    return WorkerView(
        worker, slot.pid, slot.generation, WorkerState(state), slot.booted_ns, slot.beat_ns,
        slot.connections, slot.running, slot.accepted, slot.requests,
        tuple([slot.statuses[i] for i in range(6)]),
        slot.client_faults, slot.app_faults, slot.bytes_in, slot.bytes_out, slot.latency_ns, slot.queue_ns,
        tuple([slot.latency[i] for i in range(HISTOGRAM_BUCKETS)]),
        tuple([slot.queue[i] for i in range(HISTOGRAM_BUCKETS)]),
    )
