/* The last word of a worker that is being aborted: an answer for clients that have got none.
 *
 * A request that holds the GIL cannot be interrupted, and its connection is known to nobody else. So a
 * handler of SIGABRT, which needs no GIL, sends the prepared answer; then the handler from before
 * (faulthandler's stack dump) goes on. Only async-signal-safe calls (man 7 signal-safety).
 */
#ifndef PREFORK_RESCUE_H
#define PREFORK_RESCUE_H

#include <signal.h>
#include <stddef.h>
#include <sys/socket.h>
#include <unistd.h>

static const volatile int *rescue_table; /* descriptors, -1: none */
static volatile int rescue_size;
static char rescue_text[512];
static volatile size_t rescue_text_len;
static struct sigaction rescue_before;

static void rescue_handle(int number, siginfo_t *info, void *context) {
    int size = info->si_pid == getpid() ? 0 : rescue_size; /* abort(3) by the application: nothing was late */
    (void)context;
    rescue_size = 0;
    for (int i = 0; i < size; i++) {
        int descriptor = rescue_table[i];
        if (descriptor >= 0) {
            (void)send(descriptor, rescue_text, rescue_text_len, MSG_NOSIGNAL | MSG_DONTWAIT);
            shutdown(descriptor, SHUT_WR);
        }
    }
    sigaction(number, &rescue_before, NULL);
    raise(number); /* delivered when this handler returns */
}

/* table must live as long as the process. text is cut to what fits. */
static inline int rescue_install(const volatile int *table, int size, const char *text, size_t len) {
    struct sigaction action;
    rescue_table = table;
    rescue_text_len = len < sizeof rescue_text ? len : sizeof rescue_text;
    for (size_t i = 0; i < rescue_text_len; i++)
        rescue_text[i] = text[i];
    rescue_size = size;
    action.sa_sigaction = rescue_handle;
    action.sa_flags = SA_SIGINFO;
    sigemptyset(&action.sa_mask);
    return sigaction(SIGABRT, &action, &rescue_before);
}

#endif
