/*
 * The types that the parts of the load generator share.
 *
 * A run is: connections, each with slots; each slot goes round the steps of one
 * workload, one request outstanding at a time (RFC 8881 2.10.6.1).
 */
#ifndef LOADGEN_H
#define LOADGEN_H

#include <stdint.h>
#include <sys/uio.h>

#include "xdr.h"

enum {
    OP_ACCESS = 3, OP_CLOSE = 4, OP_CREATE = 6, OP_GETATTR = 9, OP_GETFH = 10, OP_LOCK = 12,
    OP_LOCKU = 14, OP_LOOKUP = 15, OP_OPEN = 18, OP_PUTFH = 22, OP_PUTROOTFH = 24, OP_READ = 25,
    OP_READDIR = 26, OP_REMOVE = 28, OP_WRITE = 38, OP_BIND_CONN_TO_SESSION = 41,
    OP_EXCHANGE_ID = 42, OP_CREATE_SESSION = 43, OP_DESTROY_SESSION = 44, OP_SEQUENCE = 53,
    OP_DESTROY_CLIENTID = 57, OP_RECLAIM_COMPLETE = 58
};

enum { NFS4_OK = 0, NFS4ERR_DELAY = 10008, NFS4ERR_GRACE = 10013, NFS4ERR_CLIENTID_BUSY = 10074 };

enum {
    SLOTS_MAX = 256,      /* the slot's number is the low byte of the xid */
    CONNECTIONS_MAX = 64,
    FH_SIZE_MAX = 128,    /* NFS4_FHSIZE */
    STATEID_SIZE = 16,    /* seqid and other */
    SESSIONID_SIZE = 16,
    OPS_MAX = 8,          /* the Linux client's own limit of operations in a compound */
    STEPS_MAX = 3,
    READDIR_ENTRIES = 100,
    IO_SIZE_MAX = 1 << 20,
    STALL_LIMIT_S = 10,   /* no reply at all for so long ends the run */
    PIDS_MAX = 32
};

struct filehandle {
    uint32_t len;
    uint8_t data[FH_SIZE_MAX];
};

/* A request built once; only the places whose offset is not 0 are patched afterwards. */
struct request {
    struct writer w;
    size_t xid_at, seqid_at, stateid_at, fh_at, offset_at;
    const uint8_t *payload; /* sent after the first head_len bytes of w; not copied */
    size_t payload_len, head_len;
    size_t count_at;        /* where the number of operations stands */
    uint8_t ops[OPS_MAX];
    uint32_t op_count;
};

/* What a reply told. */
struct reply {
    uint32_t status, failed_op, op_count;
    int has_stateid, has_fh;
    uint8_t stateid[STATEID_SIZE];
    struct filehandle fh;
    uint8_t sessionid[SESSIONID_SIZE];
    uint32_t seqid, slotid;
    uint32_t data_len, committed, entries, eof;
    const uint8_t *data;
    uint64_t clientid;
    uint32_t client_seqid, max_requests, max_request_size, max_response_size;
};

struct slot {
    uint32_t slotid, seqid, xid, xid_count;
    uint32_t index;       /* within its connection */
    int step;
    uint64_t begun_ns;    /* when the current cycle's first request was queued */
    uint64_t position;    /* bytes, for reads and writes */
    uint8_t stateid[STATEID_SIZE];
    uint8_t open_stateid[STATEID_SIZE];
    int is_open;
    struct filehandle fh; /* the slot's own file */
    char name[32], owner[48];
    struct request requests[STEPS_MAX];
};

struct connection {
    int fd, index;
    uint64_t clientid;
    uint32_t create_seqid; /* csa_sequence of the client's next CREATE_SESSION */
    uint8_t sessionid[SESSIONID_SIZE];
    uint32_t slot_count;
    struct slot *slots;
    uint8_t *rx;
    size_t rx_start, rx_end, rx_cap;
    struct iovec *tx;     /* a ring would save nothing: it empties at nearly every write */
    size_t tx_start, tx_end, tx_cap;
    int wants_write;
};

enum needs { NEEDS_FILE = 1, NEEDS_OPEN = 2, NEEDS_LOCK = 4, NEEDS_DATA = 8, NEEDS_ENTRIES = 16 };

struct run;
typedef void (*build_fn)(const struct run *run, const struct connection *c, const struct slot *s,
                         struct request *q);

struct workload {
    const char *name;
    int needs;
    uint32_t io_size;     /* bytes moved by a cycle, 0 for metadata */
    uint32_t stable;      /* stable_how4 of WRITE */
    int step_count;
    build_fn steps[STEPS_MAX];
};

enum sharing { SHARE_CLIENT, SHARE_SESSION, SHARE_NOTHING };

struct options {
    const char *host, *port, *path;
    uint32_t connections, slots, minor, uid, gid;
    double seconds, warmup;
    enum sharing sharing;
    int one_owner;
    int pid_count;
    int pids[PIDS_MAX];
};

struct result {
    uint64_t cycles;
    double seconds, server_cpu_s, own_cpu_s;
    double p50_us, p99_us, max_us;
};

struct run {
    struct options options;
    const struct workload *workload;
    struct connection *connections;
    struct filehandle root, dir; /* the exported directory, and this run's own in it */
    char dir_name[48];
    uint8_t *payload;            /* IO_SIZE_MAX bytes, the files' content */
    struct result result;
};

/* main.c */
void die(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));

/* reply.c */
const char *op_name(uint32_t op);
const char *status_name(uint32_t status);
void reply_parse(const uint8_t *record, size_t len, uint32_t xid, struct reply *out);
void reply_require(const struct request *q, const struct reply *got, const char *what);

/* request.c */
void request_begin(const struct run *run, struct request *q);
void request_op(struct request *q, uint32_t op);
void request_sequence(const struct connection *c, const struct slot *s, struct request *q, int cachethis);
void request_putfh(struct request *q, const struct filehandle *fh);
void request_stateid(struct request *q, const uint8_t *stateid);
void request_open(const struct run *run, const struct connection *c, const struct slot *s,
                  struct request *q, int create);
void request_mode(struct request *q, uint32_t mode);
void request_payload(struct request *q, const uint8_t *data, size_t len);
void request_end(struct request *q);
void request_clear(struct request *q);
void request_patch(struct request *q, struct slot *s);

/* workload.c */
const struct workload *workload_find(const char *name);
void workload_list(void);
void workload_advance(const struct run *run, struct slot *s, int step, const struct reply *got);

/* setup.c */
void setup(struct run *run);
void teardown(struct run *run);

/* session.c */
void call(struct connection *c, struct slot *s, struct request *q, struct reply *out, const char *what);
void session_open(struct run *run, struct connection *c, struct connection *first);
void session_close(struct run *run, struct connection *c, struct connection *first);

/* engine.c */
void engine_run(struct run *run);
uint64_t now_ns(void);

/* histogram.c */
void histogram_clear(void);
void histogram_add(uint64_t ns);
double histogram_quantile_us(double q);

#endif
