/*
 * The workloads: which compounds a cycle is made of, and what their replies must hold.
 * Compounds and sa_cachethis are the Linux 6.1 client's unless the name says otherwise
 * (open_close has the smallest one that opens a file). Must not know sockets or time.
 */
#include <stdio.h>

#include "loadgen.h"

enum { FILE_SIZE = IO_SIZE_MAX, READDIR_SIZE = 64 << 10, WRITE_LT = 2, NF4DIR = 2 };

/* nfs4_fattr_bitmap of the Linux client. */
static void put_getattr(struct request *q)
{
    request_op(q, OP_GETATTR);
    put_u32(&q->w, 2);
    put_u32(&q->w, 0x0010011a);
    put_u32(&q->w, 0x00b0a23a);
}

/* Its cache consistency bitmap: change, size, time_metadata, time_modify. */
static void put_getattr_consistency(struct request *q)
{
    request_op(q, OP_GETATTR);
    put_u32(&q->w, 2);
    put_u32(&q->w, 0x00000018);
    put_u32(&q->w, 0x00300000);
}

static void put_access(struct request *q)
{
    request_op(q, OP_ACCESS);
    put_u32(&q->w, 0x2d); /* READ, MODIFY, EXTEND, EXECUTE */
}

static void build_null(const struct run *run, const struct connection *c, const struct slot *s,
                       struct request *q)
{
    request_begin(run, q);
    request_sequence(c, s, q, 0);
    request_end(q);
}

static void build_getattr(const struct run *run, const struct connection *c, const struct slot *s,
                          struct request *q)
{
    request_begin(run, q);
    request_sequence(c, s, q, 0);
    request_putfh(q, &s->fh);
    put_getattr(q);
    request_end(q);
}

static void build_access(const struct run *run, const struct connection *c, const struct slot *s,
                         struct request *q)
{
    request_begin(run, q);
    request_sequence(c, s, q, 0);
    request_putfh(q, &s->fh);
    put_access(q);
    put_getattr_consistency(q);
    request_end(q);
}

static void build_lookup(const struct run *run, const struct connection *c, const struct slot *s,
                         struct request *q)
{
    request_begin(run, q);
    request_sequence(c, s, q, 0);
    request_putfh(q, &run->dir);
    request_op(q, OP_LOOKUP);
    put_string(&q->w, s->name);
    request_op(q, OP_GETFH);
    put_getattr(q);
    request_end(q);
}

static void build_readdir(const struct run *run, const struct connection *c, const struct slot *s,
                          struct request *q)
{
    request_begin(run, q);
    request_sequence(c, s, q, 0);
    request_putfh(q, &run->dir);
    request_op(q, OP_READDIR);
    put_u64(&q->w, 0); /* cookie */
    put_u64(&q->w, 0); /* its verifier */
    put_u32(&q->w, READDIR_SIZE / 2);
    put_u32(&q->w, READDIR_SIZE);
    put_u32(&q->w, 2);
    put_u32(&q->w, 0x0018091a); /* encode_readdir with readdirplus: filehandle and rdattr_error too */
    put_u32(&q->w, 0x00b0a23a);
    request_end(q);
}

static void build_open(const struct run *run, const struct connection *c, const struct slot *s,
                       struct request *q)
{
    request_begin(run, q);
    request_sequence(c, s, q, 1);
    request_putfh(q, &run->dir);
    request_open(run, c, s, q, 0);
    request_op(q, OP_GETFH);
    request_end(q);
}

static void build_open_linux(const struct run *run, const struct connection *c, const struct slot *s,
                             struct request *q)
{
    request_begin(run, q);
    request_sequence(c, s, q, 1);
    request_putfh(q, &run->dir);
    request_open(run, c, s, q, 0);
    request_op(q, OP_GETFH);
    put_access(q);
    put_getattr(q);
    request_end(q);
}

static void build_create(const struct run *run, const struct connection *c, const struct slot *s,
                         struct request *q)
{
    request_begin(run, q);
    request_sequence(c, s, q, 1);
    request_putfh(q, &run->dir);
    request_open(run, c, s, q, 1);
    request_op(q, OP_GETFH);
    request_end(q);
}

/* SEQUENCE and PUTFH of the slot's file, whose handle is patched in each time. */
static void begin_on_file(const struct run *run, const struct connection *c, const struct slot *s,
                          struct request *q, int cachethis)
{
    request_begin(run, q);
    request_sequence(c, s, q, cachethis);
    q->fh_at = q->w.len + 4;
    request_putfh(q, &s->fh);
}

static void put_close(const struct slot *s, struct request *q)
{
    request_op(q, OP_CLOSE);
    put_u32(&q->w, 0);
    request_stateid(q, s->stateid);
}

static void build_close(const struct run *run, const struct connection *c, const struct slot *s,
                        struct request *q)
{
    begin_on_file(run, c, s, q, 1);
    put_close(s, q);
    request_end(q);
}

static void build_close_linux(const struct run *run, const struct connection *c, const struct slot *s,
                              struct request *q)
{
    begin_on_file(run, c, s, q, 1);
    put_close(s, q);
    put_getattr_consistency(q);
    request_end(q);
}

static void build_remove(const struct run *run, const struct connection *c, const struct slot *s,
                         struct request *q)
{
    request_begin(run, q);
    request_sequence(c, s, q, 1);
    request_putfh(q, &run->dir);
    request_op(q, OP_REMOVE);
    put_string(&q->w, s->name);
    request_end(q);
}

static void build_mkdir(const struct run *run, const struct connection *c, const struct slot *s,
                        struct request *q)
{
    request_begin(run, q);
    request_sequence(c, s, q, 1);
    request_putfh(q, &run->dir);
    request_op(q, OP_CREATE);
    put_u32(&q->w, NF4DIR);
    put_string(&q->w, s->name);
    request_mode(q, 0755);
    request_op(q, OP_GETFH);
    put_getattr(q);
    request_end(q);
}

static void build_lock(const struct run *run, const struct connection *c, const struct slot *s,
                       struct request *q)
{
    request_begin(run, q);
    request_sequence(c, s, q, 1);
    request_putfh(q, &s->fh);
    request_op(q, OP_LOCK);
    put_u32(&q->w, WRITE_LT);
    put_u32(&q->w, 0); /* no reclaim */
    put_u64(&q->w, 0);
    put_u64(&q->w, 4096);
    put_u32(&q->w, 0); /* a lock owner the server knows */
    request_stateid(q, s->stateid);
    put_u32(&q->w, 0);
    request_end(q);
}

static void build_unlock(const struct run *run, const struct connection *c, const struct slot *s,
                         struct request *q)
{
    request_begin(run, q);
    request_sequence(c, s, q, 1);
    request_putfh(q, &s->fh);
    request_op(q, OP_LOCKU);
    put_u32(&q->w, WRITE_LT);
    put_u32(&q->w, 0);
    request_stateid(q, s->stateid);
    put_u64(&q->w, 0);
    put_u64(&q->w, 4096);
    request_end(q);
}

static void build_read(const struct run *run, const struct connection *c, const struct slot *s,
                       struct request *q)
{
    request_begin(run, q);
    request_sequence(c, s, q, 0);
    request_putfh(q, &s->fh);
    request_op(q, OP_READ);
    request_stateid(q, s->stateid);
    q->offset_at = q->w.len;
    put_u64(&q->w, 0);
    put_u32(&q->w, run->workload->io_size);
    request_end(q);
}

static void build_write(const struct run *run, const struct connection *c, const struct slot *s,
                        struct request *q)
{
    request_begin(run, q);
    request_sequence(c, s, q, 0);
    request_putfh(q, &s->fh);
    request_op(q, OP_WRITE);
    request_stateid(q, s->stateid);
    q->offset_at = q->w.len;
    put_u64(&q->w, 0);
    put_u32(&q->w, run->workload->stable);
    request_payload(q, run->payload, run->workload->io_size);
    put_getattr_consistency(q);
    request_end(q);
}

#define IO(name, size, stable, build) {name, NEEDS_FILE | NEEDS_OPEN | NEEDS_DATA, size, stable, 1, {build}}

static const struct workload workloads[] = {
    {"null", 0, 0, 0, 1, {build_null}},
    {"getattr", NEEDS_FILE, 0, 0, 1, {build_getattr}},
    {"access", NEEDS_FILE, 0, 0, 1, {build_access}},
    {"lookup", NEEDS_FILE, 0, 0, 1, {build_lookup}},
    {"readdir", NEEDS_ENTRIES, 0, 0, 1, {build_readdir}},
    {"open_close", NEEDS_FILE, 0, 0, 2, {build_open, build_close}},
    {"open_close_linux", NEEDS_FILE, 0, 0, 2, {build_open_linux, build_close_linux}},
    {"create_close_remove", 0, 0, 0, 3, {build_create, build_close, build_remove}},
    {"mkdir_rmdir", 0, 0, 0, 2, {build_mkdir, build_remove}},
    {"lock_unlock", NEEDS_FILE | NEEDS_OPEN | NEEDS_LOCK, 0, 0, 2, {build_lock, build_unlock}},
    IO("read_4k", 4 << 10, 0, build_read),
    IO("read_64k", 64 << 10, 0, build_read),
    IO("read_1m", 1 << 20, 0, build_read),
    IO("write_4k", 4 << 10, 0, build_write),
    IO("write_64k", 64 << 10, 0, build_write),
    IO("write_1m", 1 << 20, 0, build_write),
    IO("write_4k_sync", 4 << 10, 2, build_write),
    IO("write_64k_sync", 64 << 10, 2, build_write),
    IO("write_1m_sync", 1 << 20, 2, build_write),
};

const struct workload *workload_find(const char *name)
{
    for (size_t i = 0; i < sizeof workloads / sizeof *workloads; i++)
        if (!strcmp(workloads[i].name, name))
            return &workloads[i];
    return NULL;
}

void workload_list(void)
{
    for (size_t i = 0; i < sizeof workloads / sizeof *workloads; i++)
        printf("%s\n", workloads[i].name);
}

/* Data read must be the payload's: its first and last eight bytes are compared. */
static void check_read(const struct run *run, const struct slot *s, const struct reply *got)
{
    const uint8_t *expected = run->payload + s->position;

    if (got->data_len != run->workload->io_size)
        die("READ of %u bytes answered %u", run->workload->io_size, got->data_len);
    if (memcmp(got->data, expected, 8) ||
        memcmp(got->data + got->data_len - 8, expected + got->data_len - 8, 8))
        die("READ at %llu answered other data than were written", (unsigned long long)s->position);
}

/* Checks what the reply of one step tells beyond its statuses and keeps what the next step needs. */
void workload_advance(const struct run *run, struct slot *s, int step, const struct reply *got)
{
    const struct workload *w = run->workload;

    if (got->has_stateid)
        memcpy(s->stateid, got->stateid, STATEID_SIZE);
    if (got->has_fh)
        s->fh = got->fh;
    if (w->steps[step] == build_readdir && (got->entries != READDIR_ENTRIES || !got->eof))
        die("READDIR answered %u entries of %d, eof %u", got->entries, READDIR_ENTRIES, got->eof);
    if (!w->io_size)
        return;
    if (w->steps[step] == build_read)
        check_read(run, s, got);
    else if (got->data_len != w->io_size || got->committed < w->stable)
        die("WRITE of %u bytes answered %u, committed %u", w->io_size, got->data_len, got->committed);
    s->position = (s->position + w->io_size) % FILE_SIZE;
}
