/* Who runs the reactor, told without the GIL. See baton.pyx for the rules. */
#ifndef PREFORK_BATON_H
#define PREFORK_BATON_H

#include <errno.h>
#include <poll.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

/* state = epoch * 4 + one of these. The epoch grows with each change of leader. */
enum { BATON_LOOP = 0, BATON_APP = 1, BATON_PASSED = 2, BATON_MASK = 3 };

enum {
    BATON_GAP_MAX = 10000000, /* ns: that nothing ended for a while says no more than this */
    BATON_BACKLOG = 4,        /* requests left waiting, summed over the offers since the last turn given */
};

typedef struct {
    _Atomic uint64_t state;
    _Atomic int64_t since;  /* monotonic ns at which the leader entered the application */
    _Atomic uint64_t count; /* requests begun */
    _Atomic int parked;     /* threads waiting for the turn */
    _Atomic int asleep;     /* the monitor waits for the bell, nothing else */
    _Atomic int starved;    /* the monitor waits for a thread to park */
    _Atomic int quit;
    int64_t threshold; /* ns */
    int bell;          /* eventfd that wakes the monitor */
    /* The GIL guards these. */
    int score;       /* 0..256: how slow recent requests were */
    int backlog;     /* what offer() has left to the threads that come back */
    int64_t done;    /* monotonic ns at which the last slow request was over */
    int64_t gap;     /* ns between the ends of slow requests, of late */
    uint64_t passed; /* hand-overs, by monitor or leader */
    sem_t turn;
} baton;

static inline int64_t baton_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static inline void baton_ring(baton *b) {
    uint64_t one = 1;
    ssize_t n = write(b->bell, &one, sizeof one);
    (void)n; /* EAGAIN: it rings already */
}

/* The leader is about to call the application. Returns what leave() wants. */
static inline uint64_t baton_enter(baton *b, int64_t now) {
    uint64_t state = atomic_load_explicit(&b->state, memory_order_relaxed);
    atomic_store_explicit(&b->since, now, memory_order_relaxed);
    atomic_store_explicit(&b->count, atomic_load_explicit(&b->count, memory_order_relaxed) + 1,
                          memory_order_relaxed);
    /* Sequentially consistent, so that either we see the monitor asleep or it sees us in the application. */
    atomic_store(&b->state, (state & ~(uint64_t)BATON_MASK) | BATON_APP);
    if (atomic_load(&b->asleep) && atomic_exchange(&b->asleep, 0))
        baton_ring(b);
    return (state & ~(uint64_t)BATON_MASK) | BATON_APP;
}

/* Back from the application. 1: still the leader; 0: the reactor is another thread's by now. */
static inline int baton_leave(baton *b, uint64_t entered) {
    return atomic_compare_exchange_strong(&b->state, &entered, entered & ~(uint64_t)BATON_MASK);
}

static inline void baton_judge(baton *b, int64_t span) {
    if (span >= b->threshold) {
        int64_t now = baton_now();
        int64_t gap = now - b->done < BATON_GAP_MAX ? now - b->done : BATON_GAP_MAX;
        b->score += (256 - b->score) / 4;
        b->gap += (gap - b->gap) / 16;
        b->done = now;
    } else {
        b->score -= (b->score + 7) / 8;
    }
}

static inline int baton_pass(baton *b, uint64_t from) {
    if (atomic_load(&b->parked) == 0)
        return 0;
    if (!atomic_compare_exchange_strong(&b->state, &from, ((from | BATON_MASK) + 1) | BATON_PASSED))
        return 0;
    b->passed++;
    sem_post(&b->turn);
    return 1;
}

static inline void baton_begin(baton *b) {
    atomic_store(&b->state, BATON_PASSED);
    sem_post(&b->turn);
}

/* The leader gives the turn away before it runs a request. 0: nobody is free to take it. */
static inline int baton_give(baton *b) {
    return baton_pass(b, atomic_load(&b->state));
}

/* The same, unless a thread is about to come back that will seize the turn, which wakes nobody: with many requests
 * under way one ends every moment. Each of those begins one request, as it ended one, so what has once piled up
 * stays; that is why a thread more is woken where `waiting`, the events left for whoever leads next, add up. */
static inline int baton_offer(baton *b, int waiting) {
    int64_t soon = b->threshold / 8;
    if (b->gap < soon && baton_now() - b->done < soon) {
        b->backlog += waiting;
        if (b->backlog < BATON_BACKLOG)
            return 0;
    }
    b->backlog = 0;
    return baton_give(b);
}

/* A thread that is awake and free takes the turn, while the leader is inside the application or while whoever was
 * woken for it is still on the way: cheaper than to park and be woken. 1: leader now. */
static inline int baton_seize(baton *b) {
    uint64_t state = atomic_load(&b->state);
    if ((state & BATON_MASK) == BATON_LOOP)
        return 0;
    return atomic_compare_exchange_strong(&b->state, &state, (state | BATON_MASK) + 1);
}

/* Wait until the turn can be seized. Called without the GIL. 0: quit. */
static inline int baton_park(baton *b) {
    atomic_fetch_add(&b->parked, 1);
    if (atomic_load(&b->starved) && atomic_exchange(&b->starved, 0))
        baton_ring(b);
    while (sem_wait(&b->turn) != 0 && errno == EINTR)
        ;
    atomic_fetch_sub(&b->parked, 1);
    return !atomic_load(&b->quit);
}

/* The monitor: hands the reactor over when one request holds the leader. Called without the GIL, returns at quit. */
static inline void baton_monitor(baton *b) {
    uint64_t seen = 0;
    while (!atomic_load(&b->quit)) {
        uint64_t state = atomic_load(&b->state), count = atomic_load(&b->count), rung;
        int64_t wait = b->threshold;
        struct pollfd bell = {.fd = b->bell, .events = POLLIN};
        struct timespec span;
        int forever = 0;
        if ((state & BATON_MASK) == BATON_APP) {
            wait = b->threshold - (baton_now() - atomic_load(&b->since));
            if (wait <= 0) {
                if (baton_pass(b, state))
                    continue;
                /* Nobody is parked, or the request is over. */
                wait = b->threshold;
                atomic_store(&b->starved, 1);
                forever = atomic_load(&b->parked) == 0;
            }
        } else if (count == seen) {
            atomic_store(&b->asleep, 1);
            if ((atomic_load(&b->state) & BATON_MASK) == BATON_APP && atomic_exchange(&b->asleep, 0))
                continue;
            forever = 1;
        }
        seen = count;
        span.tv_sec = wait / 1000000000;
        span.tv_nsec = wait % 1000000000;
        ppoll(&bell, 1, forever ? NULL : &span, NULL);
        if (bell.revents & POLLIN) {
            ssize_t n = read(b->bell, &rung, sizeof rung);
            (void)n;
        }
        atomic_store(&b->asleep, 0);
        atomic_store(&b->starved, 0);
    }
}

#endif
