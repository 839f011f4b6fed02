/*
 * The kernel's limit: what one process costs that takes HTTP requests from kept-alive connections and answers
 * each with a constant, and does nothing else. No server that parses, builds an environ and calls an application
 * can be below it; how far above it a server is, is what that server costs.
 *
 *     limit PORT BODY_BYTES REQUEST_BODY_BYTES
 *
 * A request ends at the blank line, a POST REQUEST_BODY_BYTES later. One that says "Connection: close" is answered
 * and closed.
 * It trusts its client (wrk, on loopback) and must never face a network.
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { EVENTS = 256, BUFFER = 1 << 16, MAX_FD = 1 << 16 };

static char buffer[BUFFER];
static size_t pending[MAX_FD]; /* bytes of an unfinished request that earlier reads took */

struct answer {
    char *bytes;
    size_t size;
};

static struct answer kept, closing; /* the second one says that the connection ends */
static size_t request_body;

static struct answer build_answer(size_t body, const char *more) {
    const char *head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %zu\r\n%s"
                       "Date: Thu, 01 Jan 2026 00:00:00 GMT\r\nServer: limit\r\n\r\n";
    struct answer answer = {.bytes = malloc(body + 256)};
    if (!answer.bytes)
        abort();
    int n = snprintf(answer.bytes, 256, head, body, more);
    memset(answer.bytes + n, 'x', body);
    if (body == 14)
        memcpy(answer.bytes + n, "Hello, World!\n", 14);
    answer.size = (size_t)n + body;
    return answer;
}

static int listen_on(int port) {
    int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((unsigned short)port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(fd, (struct sockaddr *)&address, sizeof address) || listen(fd, 2048)) {
        perror("limit");
        exit(1);
    }
    return fd;
}

static void accept_one(int epoll, int listener) {
    int one = 1, fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0)
        return;
    if (fd >= MAX_FD) {
        close(fd);
        return;
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
    pending[fd] = 0;
}

/* Waits for a slow reader: it is the only one that the big answers have. */
static int send_answer(int fd, const struct answer *answer) {
    for (size_t sent = 0; sent < answer->size;) {
        ssize_t n = send(fd, answer->bytes + sent, answer->size - sent, MSG_NOSIGNAL);
        if (n < 0 && errno != EAGAIN)
            return -1;
        if (n < 0)
            poll(&(struct pollfd){.fd = fd, .events = POLLOUT}, 1, -1);
        else
            sent += (size_t)n;
    }
    return 0;
}

static void serve(int fd) {
    ssize_t n = recv(fd, buffer, sizeof buffer, 0);
    if (n <= 0) {
        close(fd);
        return;
    }
    if (request_body && (pending[fd] || buffer[0] == 'P')) {
        /* The head is the first read's, the body may be in later ones: wrk sends them in one write. */
        char *blank = pending[fd] ? NULL : memmem(buffer, (size_t)n, "\r\n\r\n", 4);
        pending[fd] += (size_t)n - (blank ? (size_t)(blank - buffer) + 4 : 0);
        if (pending[fd] < request_body)
            return;
    }
    pending[fd] = 0;
    int closes = memmem(buffer, (size_t)n, "Connection: close", 17) != NULL;
    if (send_answer(fd, closes ? &closing : &kept) || closes)
        close(fd);
}

int main(int argc, char **argv) {
    if (argc != 4) {
        fprintf(stderr, "usage: limit PORT BODY_BYTES REQUEST_BODY_BYTES\n");
        return 2;
    }
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    kept = build_answer((size_t)atoll(argv[2]), "");
    closing = build_answer((size_t)atoll(argv[2]), "Connection: close\r\n");
    request_body = (size_t)atoll(argv[3]);
    int listener = listen_on(atoi(argv[1]));
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event events[EVENTS], event = {.events = EPOLLIN, .data.fd = listener};
    epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event);
    for (;;) {
        int n = epoll_wait(epoll, events, EVENTS, -1);
        for (int i = 0; i < n; i++) {
            if (events[i].data.fd == listener)
                accept_one(epoll, listener);
            else
                serve(events[i].data.fd);
        }
    }
}
