/*
 * The load itself: an epoll loop over nonblocking connections that keeps one request outstanding
 * in every slot, and counts the cycles completed within the measured window.
 * Owns time and counters; must not know what the requests mean.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "loadgen.h"

enum {
    IOV_COUNT_MAX = 512,
    READ_ROOM_MIN = 256 << 10,
    READ_SIZE = 256 << 10,
    EVENTS_MAX = 64,
    WAIT_MS = 100
};

enum phase { WARMING, MEASURING, DRAINING };

struct engine {
    struct run *run;
    enum phase phase;
    uint64_t now, start_ns, end_ns, last_reply_ns;
    uint32_t active; /* slots with a request outstanding */
    double server_cpu_s, own_cpu_s;
    struct reply reply;
};

uint64_t now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* CPU seconds used so far by the given processes; 0 for one that cannot be read. */
static double server_cpu(const struct options *o)
{
    double ticks = 0;

    for (int i = 0; i < o->pid_count; i++) {
        char path[40], text[1024], *after;
        unsigned long user = 0, system = 0;
        FILE *f;
        size_t n;

        snprintf(path, sizeof path, "/proc/%d/stat", o->pids[i]);
        f = fopen(path, "r");
        if (!f)
            continue;
        n = fread(text, 1, sizeof text - 1, f);
        fclose(f);
        text[n] = 0;
        after = strrchr(text, ')'); /* the command's name may hold anything */
        if (after && sscanf(after + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu",
                            &user, &system) == 2)
            ticks += (double)user + (double)system;
    }
    return ticks / (double)sysconf(_SC_CLK_TCK);
}

static double own_cpu(void)
{
    struct rusage u;

    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static void queue_part(struct connection *c, const uint8_t *data, size_t len)
{
    if (!len)
        return;
    c->tx[c->tx_end].iov_base = (void *)data;
    c->tx[c->tx_end++].iov_len = len;
}

static void queue_request(struct connection *c, struct slot *s)
{
    struct request *q = &s->requests[s->step];

    request_patch(q, s);
    queue_part(c, q->w.data, q->head_len);
    if (q->payload) {
        queue_part(c, q->payload, q->payload_len);
        queue_part(c, q->w.data + q->head_len, q->w.len - q->head_len);
    }
}

static void watch(int epoll, struct connection *c, int op, int wants_write)
{
    struct epoll_event event = {.events = EPOLLIN | (wants_write ? EPOLLOUT : 0), .data.ptr = c};

    if (epoll_ctl(epoll, op, c->fd, &event))
        die("epoll_ctl: %s", strerror(errno));
    c->wants_write = wants_write;
}

/* Writes what is queued, as far as the socket takes it. */
static void flush(int epoll, struct connection *c)
{
    while (c->tx_start < c->tx_end) {
        size_t count = c->tx_end - c->tx_start;
        ssize_t n = writev(c->fd, c->tx + c->tx_start, (int)(count < IOV_COUNT_MAX ? count : IOV_COUNT_MAX));

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
            /* Slots wait for a reply before they queue again, so a shift keeps the queue bounded. */
            memmove(c->tx, c->tx + c->tx_start, (c->tx_end - c->tx_start) * sizeof *c->tx);
            c->tx_end -= c->tx_start;
            c->tx_start = 0;
            if (!c->wants_write)
                watch(epoll, c, EPOLL_CTL_MOD, 1);
            return;
        }
        if (n < 0)
            die("writev: %s", strerror(errno));
        while (n) {
            struct iovec *part = &c->tx[c->tx_start];
            size_t gone = (size_t)n < part->iov_len ? (size_t)n : part->iov_len;

            part->iov_base = (uint8_t *)part->iov_base + gone;
            part->iov_len -= gone;
            n -= (ssize_t)gone;
            if (!part->iov_len)
                c->tx_start++;
        }
    }
    c->tx_start = c->tx_end = 0;
    if (c->wants_write)
        watch(epoll, c, EPOLL_CTL_MOD, 0);
}

/* One reply: checked, counted, and the slot's next request queued. */
static void take_reply(struct engine *e, struct connection *c, const uint8_t *record, size_t len)
{
    struct reply *got = &e->reply;
    const struct workload *w = e->run->workload;
    uint32_t index = len >= 4 ? get_be32(record) & 0xff : 0;
    struct slot *s;

    if (index >= c->slot_count)
        die("a reply carries xid %08x, which was never sent", get_be32(record));
    s = &c->slots[index];
    reply_parse(record, len, s->xid, got);
    reply_require(&s->requests[s->step], got, w->name);
    if (got->seqid != s->seqid || got->slotid != s->slotid ||
        memcmp(got->sessionid, c->sessionid, SESSIONID_SIZE))
        die("%s: SEQUENCE answered slot %u sequence %u, not slot %u sequence %u (or another session)",
            w->name, got->slotid, got->seqid, s->slotid, s->seqid);
    workload_advance(e->run, s, s->step, got);
    if (++s->step == w->step_count) {
        s->step = 0;
        if (e->phase == MEASURING) {
            e->run->result.cycles++;
            histogram_add(e->now - s->begun_ns);
        } else if (e->phase == DRAINING) {
            e->active--;
            return;
        }
        s->begun_ns = e->now;
    }
    queue_request(c, s);
}

/* Joins the fragments of a record in place. Returns its mark's size, or 0 while it is incomplete. */
static size_t whole_record(struct connection *c, size_t *len)
{
    uint8_t *at = c->rx + c->rx_start;
    size_t have = c->rx_end - c->rx_start;
    uint32_t mark, next;

    if (have < 4)
        return 0;
    mark = get_be32(at);
    *len = mark & 0x7fffffff;
    while (!(mark & 0x80000000u)) {
        if (have < 4 + *len + 4)
            return 0;
        next = get_be32(at + 4 + *len);
        memmove(at + 4 + *len, at + 4 + *len + 4, have - 8 - *len);
        c->rx_end -= 4;
        have -= 4;
        *len += next & 0x7fffffff;
        mark = (next & 0x80000000u) | (uint32_t)*len;
        set_be32(at, mark);
    }
    if (*len + 4 > c->rx_cap)
        die("a reply of %zu bytes", *len);
    return have >= 4 + *len ? 4 : 0;
}

static void make_room(struct connection *c)
{
    if (c->rx_start == c->rx_end) {
        c->rx_start = c->rx_end = 0;
    } else if (c->rx_cap - c->rx_end < READ_ROOM_MIN) {
        memmove(c->rx, c->rx + c->rx_start, c->rx_end - c->rx_start);
        c->rx_end -= c->rx_start;
        c->rx_start = 0;
    }
}

/*
 * How much to read: of a reply that has begun, its rest alone; so the buffer empties after it and
 * the next one lands in the same, cached, memory.
 */
static size_t read_size(const struct connection *c)
{
    size_t have = c->rx_end - c->rx_start, whole, room = c->rx_cap - c->rx_end;
    size_t size = READ_SIZE;

    if (have >= 4) {
        whole = 4 + (get_be32(c->rx + c->rx_start) & 0x7fffffff);
        if (whole > have && whole - have > READ_SIZE / 4)
            size = whole - have;
    }
    return size < room ? size : room;
}

static void receive(struct engine *e, int epoll, struct connection *c)
{
    size_t len = 0, head;
    ssize_t n;

    make_room(c);
    n = recv(c->fd, c->rx + c->rx_end, read_size(c), 0);
    if (n == 0)
        die("the server closed the connection under load");
    if (n < 0) {
        if (errno == EAGAIN || errno == EINTR)
            return;
        die("recv: %s", strerror(errno));
    }
    c->rx_end += (size_t)n;
    e->now = now_ns();
    while ((head = whole_record(c, &len))) {
        e->last_reply_ns = e->now;
        take_reply(e, c, c->rx + c->rx_start + head, len);
        c->rx_start += head + len;
    }
    flush(epoll, c);
}

static void change_phase(struct engine *e)
{
    struct result *r = &e->run->result;

    if (e->phase == WARMING && e->now >= e->start_ns) {
        e->phase = MEASURING;
        e->start_ns = now_ns();
        e->end_ns = e->start_ns + (uint64_t)(e->run->options.seconds * 1e9);
        e->server_cpu_s = server_cpu(&e->run->options);
        e->own_cpu_s = own_cpu();
        r->cycles = 0;
        histogram_clear();
    } else if (e->phase == MEASURING && e->now >= e->end_ns) {
        r->seconds = (double)(e->now - e->start_ns) / 1e9;
        r->server_cpu_s = server_cpu(&e->run->options) - e->server_cpu_s;
        r->own_cpu_s = own_cpu() - e->own_cpu_s;
        e->phase = DRAINING;
    }
    if (e->active && e->now > e->last_reply_ns + STALL_LIMIT_S * 1000000000ull)
        die("no reply for %d s with %u requests outstanding", STALL_LIMIT_S, e->active);
}

static void start(struct engine *e, int epoll)
{
    struct run *run = e->run;

    for (uint32_t i = 0; i < run->options.connections; i++) {
        struct connection *c = &run->connections[i];

        c->tx_cap = (size_t)c->slot_count * 3;
        c->tx = calloc(c->tx_cap, sizeof *c->tx);
        if (!c->tx || fcntl(c->fd, F_SETFL, O_NONBLOCK))
            die("cannot make connection %u nonblocking: %s", i, strerror(errno));
        watch(epoll, c, EPOLL_CTL_ADD, 0);
        for (uint32_t j = 0; j < c->slot_count; j++) {
            c->slots[j].begun_ns = e->now;
            queue_request(c, &c->slots[j]);
        }
        e->active += c->slot_count;
        flush(epoll, c);
    }
}

/* Loads the server for the warm-up and the window, then lets every slot finish its cycle. */
void engine_run(struct run *run)
{
    struct engine e = {.run = run};
    int epoll = epoll_create1(EPOLL_CLOEXEC);

    if (epoll < 0)
        die("epoll_create1: %s", strerror(errno));
    e.now = e.last_reply_ns = now_ns();
    e.start_ns = e.now + (uint64_t)(run->options.warmup * 1e9);
    start(&e, epoll);
    while (e.active) {
        struct epoll_event events[EVENTS_MAX];
        int n = epoll_wait(epoll, events, EVENTS_MAX, WAIT_MS);

        if (n < 0 && errno != EINTR)
            die("epoll_wait: %s", strerror(errno));
        if (n <= 0)
            e.now = now_ns();
        for (int i = 0; i < n; i++) {
            struct connection *c = events[i].data.ptr;

            if (events[i].events & ~(uint32_t)EPOLLOUT)
                receive(&e, epoll, c);
            else
                flush(epoll, c);
        }
        change_phase(&e);
    }
    close(epoll);
    run->result.p50_us = histogram_quantile_us(0.50);
    run->result.p99_us = histogram_quantile_us(0.99);
    run->result.max_us = histogram_quantile_us(1.00);
}
