/*
 * Makes the directory and files that a workload needs, opens and locks what it needs open and
 * locked, builds each slot's requests, and removes everything again. Must not know the event loop.
 */
#include <fcntl.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "loadgen.h"

enum { FILL_SIZE = 64 << 10, WRITE_LT = 2, NF4DIR = 2 };

static void name_slots(struct run *run, struct connection *c)
{
    c->slot_count = run->options.slots;
    c->slots = calloc(c->slot_count, sizeof *c->slots);
    if (!c->slots)
        die("out of memory");
    for (uint32_t i = 0; i < c->slot_count; i++) {
        struct slot *s = &c->slots[i];

        s->index = i;
        s->slotid = i;
        if (run->options.sharing == SHARE_SESSION)
            s->slotid += (uint32_t)c->index * c->slot_count;
        snprintf(s->name, sizeof s->name, "file-%d-%u", c->index, i);
        snprintf(s->owner, sizeof s->owner, "open id:%d-%d-%u", (int)getpid(), c->index, i);
    }
}

/* The exported directory, one component at a time. */
static void find_root(struct run *run)
{
    struct connection *c = &run->connections[0];
    struct request q;
    struct reply got;
    char *copy = strdup(run->options.path), *save = NULL;

    request_begin(run, &q);
    request_sequence(c, &c->slots[0], &q, 0);
    request_op(&q, OP_PUTROOTFH);
    request_op(&q, OP_GETFH);
    call(c, &c->slots[0], &q, &got, "root");
    for (char *part = strtok_r(copy, "/", &save); part; part = strtok_r(NULL, "/", &save)) {
        struct filehandle above = got.fh;

        request_begin(run, &q);
        request_sequence(c, &c->slots[0], &q, 0);
        request_putfh(&q, &above);
        request_op(&q, OP_LOOKUP);
        put_string(&q.w, part);
        request_op(&q, OP_GETFH);
        call(c, &c->slots[0], &q, &got, part);
    }
    run->root = got.fh;
    free(copy);
}

static void make_directory(struct run *run)
{
    struct connection *c = &run->connections[0];
    struct request q;
    struct reply got;

    snprintf(run->dir_name, sizeof run->dir_name, "loadgen-%d-%ld", (int)getpid(), (long)time(NULL));
    request_begin(run, &q);
    request_sequence(c, &c->slots[0], &q, 1);
    request_putfh(&q, &run->root);
    request_op(&q, OP_CREATE);
    put_u32(&q.w, NF4DIR);
    put_string(&q.w, run->dir_name);
    request_mode(&q, 0755);
    request_op(&q, OP_GETFH);
    call(c, &c->slots[0], &q, &got, "make directory");
    run->dir = got.fh;
}

static void create_file(struct run *run, struct connection *c, struct slot *s)
{
    struct request q;
    struct reply got;

    request_begin(run, &q);
    request_sequence(c, s, &q, 1);
    request_putfh(&q, &run->dir);
    request_open(run, c, s, &q, 1);
    request_op(&q, OP_GETFH);
    call(c, s, &q, &got, "create file");
    s->fh = got.fh;
    memcpy(s->stateid, got.stateid, STATEID_SIZE);
    memcpy(s->open_stateid, got.stateid, STATEID_SIZE);
    s->is_open = 1;
}

static void close_file(struct run *run, struct connection *c, struct slot *s)
{
    struct request q;
    struct reply got;

    if (!s->is_open)
        return;
    request_begin(run, &q);
    request_sequence(c, s, &q, 1);
    request_putfh(&q, &s->fh);
    request_op(&q, OP_CLOSE);
    put_u32(&q.w, 0);
    put_fixed(&q.w, s->open_stateid, STATEID_SIZE);
    call(c, s, &q, &got, "close file");
    s->is_open = 0;
}

static void remove_name(struct run *run, struct connection *c, struct slot *s,
                        const struct filehandle *dir, const char *name)
{
    struct request q;
    struct reply got;

    request_begin(run, &q);
    request_sequence(c, s, &q, 1);
    request_putfh(&q, dir);
    request_op(&q, OP_REMOVE);
    put_string(&q.w, name);
    call(c, s, &q, &got, "remove");
}

static void fill_file(struct run *run, struct connection *c, struct slot *s)
{
    struct request q;
    struct reply got;

    for (uint64_t at = 0; at < IO_SIZE_MAX; at += FILL_SIZE) {
        request_begin(run, &q);
        request_sequence(c, s, &q, 0);
        request_putfh(&q, &s->fh);
        request_op(&q, OP_WRITE);
        put_fixed(&q.w, s->open_stateid, STATEID_SIZE);
        put_u64(&q.w, at);
        put_u32(&q.w, 0);
        request_payload(&q, run->payload + at, FILL_SIZE);
        call(c, s, &q, &got, "fill file");
        if (got.data_len != FILL_SIZE)
            die("fill file: WRITE of %d bytes answered %u", FILL_SIZE, got.data_len);
    }
    /* I/O names the newest state of the open: sequence id 0 (RFC 8881 8.2.2), as Linux does. */
    memset(s->stateid, 0, 4);
}

/* Takes the lock once, so that the load finds a lock owner and its stateid; and gives it back. */
static void lock_once(struct run *run, struct connection *c, struct slot *s)
{
    struct request q;
    struct reply got;

    request_begin(run, &q);
    request_sequence(c, s, &q, 1);
    request_putfh(&q, &s->fh);
    request_op(&q, OP_LOCK);
    put_u32(&q.w, WRITE_LT);
    put_u32(&q.w, 0);
    put_u64(&q.w, 0);
    put_u64(&q.w, 4096);
    put_u32(&q.w, 1); /* a new lock owner */
    put_u32(&q.w, 0);
    put_fixed(&q.w, s->open_stateid, STATEID_SIZE);
    put_u32(&q.w, 0);
    put_u64(&q.w, c->clientid);
    put_string(&q.w, s->owner);
    call(c, s, &q, &got, "first lock");
    memcpy(s->stateid, got.stateid, STATEID_SIZE);
    request_begin(run, &q);
    request_sequence(c, s, &q, 1);
    request_putfh(&q, &s->fh);
    request_op(&q, OP_LOCKU);
    put_u32(&q.w, WRITE_LT);
    put_u32(&q.w, 0);
    put_fixed(&q.w, s->stateid, STATEID_SIZE);
    put_u64(&q.w, 0);
    put_u64(&q.w, 4096);
    call(c, s, &q, &got, "first unlock");
    memcpy(s->stateid, got.stateid, STATEID_SIZE);
}

static void prepare_slot(struct run *run, struct connection *c, struct slot *s)
{
    const struct workload *w = run->workload;

    if (w->needs & NEEDS_FILE)
        create_file(run, c, s);
    if (w->needs & NEEDS_DATA)
        fill_file(run, c, s);
    if (w->needs & NEEDS_LOCK)
        lock_once(run, c, s);
    if (!(w->needs & NEEDS_OPEN))
        close_file(run, c, s);
    for (int i = 0; i < w->step_count; i++)
        w->steps[i](run, c, s, &s->requests[i]);
}

/* Makes or removes the entries of the directory to be listed. */
static void each_entry(struct run *run, int make)
{
    struct connection *c = &run->connections[0];
    struct slot *s = &c->slots[0];
    char name[sizeof s->name];

    memcpy(name, s->name, sizeof name);
    for (int i = 0; i < READDIR_ENTRIES; i++) {
        snprintf(s->name, sizeof s->name, "entry-%03d", i);
        if (make) {
            create_file(run, c, s);
            close_file(run, c, s);
        } else {
            remove_name(run, c, s, &run->dir, s->name);
        }
    }
    memcpy(s->name, name, sizeof name);
}

/* Everything before the load. Connections are blocking until the engine takes them. */
void setup(struct run *run)
{
    run->payload = malloc(IO_SIZE_MAX);
    run->connections = calloc(run->options.connections, sizeof *run->connections);
    if (!run->payload || !run->connections)
        die("out of memory");
    for (uint32_t i = 0; i < IO_SIZE_MAX; i += 4)
        set_be32(run->payload + i, i * 2654435761u);
    for (uint32_t i = 0; i < run->options.connections; i++) {
        run->connections[i].index = (int)i;
        name_slots(run, &run->connections[i]);
        session_open(run, &run->connections[i], &run->connections[0]);
    }
    find_root(run);
    make_directory(run);
    if (run->workload->needs & NEEDS_ENTRIES)
        each_entry(run, 1);
    for (uint32_t i = 0; i < run->options.connections; i++)
        for (uint32_t j = 0; j < run->options.slots; j++)
            prepare_slot(run, &run->connections[i], &run->connections[i].slots[j]);
}

/* Closes, removes and destroys what setup made, in reverse. */
void teardown(struct run *run)
{
    for (uint32_t i = run->options.connections; i-- > 0;) {
        struct connection *c = &run->connections[i];

        fcntl(c->fd, F_SETFL, 0);
        for (uint32_t j = 0; j < c->slot_count; j++) {
            struct slot *s = &c->slots[j];

            close_file(run, c, s);
            if (run->workload->needs & NEEDS_FILE)
                remove_name(run, c, s, &run->dir, s->name);
            for (int k = 0; k < run->workload->step_count; k++)
                request_clear(&s->requests[k]);
        }
    }
    if (run->workload->needs & NEEDS_ENTRIES)
        each_entry(run, 0);
    remove_name(run, &run->connections[0], &run->connections[0].slots[0], &run->root, run->dir_name);
    for (uint32_t i = run->options.connections; i-- > 0;) {
        session_close(run, &run->connections[i], &run->connections[0]);
        free(run->connections[i].slots);
    }
    free(run->connections);
    free(run->payload);
}
