/*
 * Reads replies: RPC header (RFC 5531), COMPOUND4res and the results of the operations that the
 * workloads use (RFC 8881 section 18). Owns the names of operations and statuses; must not know
 * which workload asked. Anything that does not parse ends the run.
 */
#include <stdio.h>

#include "loadgen.h"

/* Every workload that lists asks for type, size, file handle, owner, times and more. */
enum { ENTRY_ATTRIBUTES_MIN = 128 };

static const struct {
    uint32_t number;
    const char *name;
} ops[] = {
    {OP_ACCESS, "ACCESS"}, {OP_CLOSE, "CLOSE"}, {OP_CREATE, "CREATE"}, {OP_GETATTR, "GETATTR"},
    {OP_GETFH, "GETFH"}, {OP_LOCK, "LOCK"}, {OP_LOCKU, "LOCKU"}, {OP_LOOKUP, "LOOKUP"},
    {OP_OPEN, "OPEN"}, {OP_PUTFH, "PUTFH"}, {OP_PUTROOTFH, "PUTROOTFH"}, {OP_READ, "READ"},
    {OP_READDIR, "READDIR"}, {OP_REMOVE, "REMOVE"}, {OP_WRITE, "WRITE"},
    {OP_BIND_CONN_TO_SESSION, "BIND_CONN_TO_SESSION"}, {OP_EXCHANGE_ID, "EXCHANGE_ID"},
    {OP_CREATE_SESSION, "CREATE_SESSION"}, {OP_DESTROY_SESSION, "DESTROY_SESSION"},
    {OP_SEQUENCE, "SEQUENCE"}, {OP_DESTROY_CLIENTID, "DESTROY_CLIENTID"},
    {OP_RECLAIM_COMPLETE, "RECLAIM_COMPLETE"},
}, statuses[] = {
    {1, "NFS4ERR_PERM"}, {2, "NFS4ERR_NOENT"}, {5, "NFS4ERR_IO"}, {13, "NFS4ERR_ACCESS"},
    {17, "NFS4ERR_EXIST"}, {20, "NFS4ERR_NOTDIR"}, {22, "NFS4ERR_INVAL"}, {28, "NFS4ERR_NOSPC"},
    {30, "NFS4ERR_ROFS"}, {66, "NFS4ERR_NOTEMPTY"}, {70, "NFS4ERR_STALE"}, {10001, "NFS4ERR_BADHANDLE"},
    {10003, "NFS4ERR_BAD_COOKIE"}, {10004, "NFS4ERR_NOTSUPP"}, {10005, "NFS4ERR_TOOSMALL"},
    {10006, "NFS4ERR_SERVERFAULT"}, {10008, "NFS4ERR_DELAY"}, {10010, "NFS4ERR_DENIED"},
    {10011, "NFS4ERR_EXPIRED"}, {10012, "NFS4ERR_LOCKED"}, {10013, "NFS4ERR_GRACE"},
    {10015, "NFS4ERR_SHARE_DENIED"}, {10016, "NFS4ERR_WRONGSEC"}, {10018, "NFS4ERR_RESOURCE"},
    {10020, "NFS4ERR_NOFILEHANDLE"}, {10021, "NFS4ERR_MINOR_VERS_MISMATCH"},
    {10022, "NFS4ERR_STALE_CLIENTID"}, {10023, "NFS4ERR_STALE_STATEID"}, {10024, "NFS4ERR_OLD_STATEID"},
    {10025, "NFS4ERR_BAD_STATEID"}, {10026, "NFS4ERR_BAD_SEQID"}, {10036, "NFS4ERR_BADXDR"},
    {10037, "NFS4ERR_LOCKS_HELD"}, {10038, "NFS4ERR_OPENMODE"}, {10044, "NFS4ERR_OP_ILLEGAL"},
    {10052, "NFS4ERR_BADSESSION"}, {10053, "NFS4ERR_BADSLOT"}, {10055, "NFS4ERR_CONN_NOT_BOUND_TO_SESSION"},
    {10063, "NFS4ERR_SEQ_MISORDERED"}, {10065, "NFS4ERR_REQ_TOO_BIG"}, {10066, "NFS4ERR_REP_TOO_BIG"},
    {10067, "NFS4ERR_REP_TOO_BIG_TO_CACHE"}, {10068, "NFS4ERR_RETRY_UNCACHED_REP"},
    {10070, "NFS4ERR_TOO_MANY_OPS"}, {10071, "NFS4ERR_OP_NOT_IN_SESSION"}, {10074, "NFS4ERR_CLIENTID_BUSY"},
    {10076, "NFS4ERR_SEQ_FALSE_RETRY"}, {10078, "NFS4ERR_DEADSESSION"},
};

const char *op_name(uint32_t op)
{
    static char number[24];

    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++)
        if (ops[i].number == op)
            return ops[i].name;
    snprintf(number, sizeof number, "operation %u", op);
    return number;
}

const char *status_name(uint32_t status)
{
    static char number[24];

    for (size_t i = 0; i < sizeof statuses / sizeof *statuses; i++)
        if (statuses[i].number == status)
            return statuses[i].name;
    snprintf(number, sizeof number, "nfsstat4 %u", status);
    return number;
}

static void parse_open(struct reader *r, struct reply *out)
{
    uint32_t delegation, why;

    memcpy(out->stateid, take(r, STATEID_SIZE), STATEID_SIZE);
    out->has_stateid = 1;
    (void)take(r, 20 + 4); /* change_info4 and rflags */
    skip_words(r);         /* attrset */
    delegation = take_u32(r);
    if (delegation == 3) { /* OPEN_DELEGATE_NONE_EXT: contention and resource carry a bool */
        why = take_u32(r);
        if (why == 1 || why == 2)
            (void)take_u32(r);
    } else if (delegation) {
        die("OPEN granted a delegation (type %u) to a client without a back channel", delegation);
    }
}

static void parse_readdir(struct reader *r, struct reply *out)
{
    uint32_t attributes_len;

    (void)take(r, 8); /* cookie verifier */
    while (take_u32(r) && !r->bad) {
        (void)take_u64(r);
        skip_opaque(r);
        skip_words(r);
        (void)take_opaque(r, &attributes_len);
        if (attributes_len < ENTRY_ATTRIBUTES_MIN && !r->bad)
            die("READDIR answered an entry with %u bytes of attributes", attributes_len);
        out->entries++;
    }
    out->eof = take_u32(r);
}

static void parse_exchange_id(struct reader *r, struct reply *out)
{
    uint32_t how;

    out->clientid = take_u64(r);
    out->client_seqid = take_u32(r);
    (void)take_u32(r); /* flags */
    how = take_u32(r);
    if (how)
        die("EXCHANGE_ID answered state protection %u, not SP4_NONE", how);
    (void)take_u64(r); /* so_minor_id */
    skip_opaque(r);
    skip_opaque(r);
    for (uint32_t n = take_u32(r); n && !r->bad; n--) {
        skip_opaque(r);
        skip_opaque(r);
        (void)take(r, 12);
    }
}

static void parse_create_session(struct reader *r, struct reply *out)
{
    memcpy(out->sessionid, take(r, SESSIONID_SIZE), SESSIONID_SIZE);
    (void)take(r, 8); /* sequence id and flags */
    for (int channel = 0; channel < 2; channel++) {
        uint32_t request_size, response_size, requests;

        (void)take_u32(r); /* header padding */
        request_size = take_u32(r);
        response_size = take_u32(r);
        (void)take_u32(r);
        (void)take_u32(r);
        requests = take_u32(r);
        skip_words(r);
        if (channel == 0) {
            out->max_request_size = request_size;
            out->max_response_size = response_size;
            out->max_requests = requests;
        }
    }
}

static void parse_sequence(struct reader *r, struct reply *out)
{
    memcpy(out->sessionid, take(r, SESSIONID_SIZE), SESSIONID_SIZE);
    out->seqid = take_u32(r);
    out->slotid = take_u32(r);
    (void)take(r, 12); /* highest and target slot, status flags */
}

static void parse_result(struct reader *r, uint32_t op, struct reply *out)
{
    const uint8_t *at;

    switch (op) {
    case OP_SEQUENCE:
        parse_sequence(r, out);
        break;
    case OP_PUTFH: case OP_PUTROOTFH: case OP_LOOKUP:
    case OP_RECLAIM_COMPLETE: case OP_DESTROY_SESSION: case OP_DESTROY_CLIENTID:
        break;
    case OP_GETFH:
        at = take_opaque(r, &out->fh.len);
        if (out->fh.len > FH_SIZE_MAX)
            die("GETFH answered a file handle of %u bytes", out->fh.len);
        memcpy(out->fh.data, at, out->fh.len);
        out->has_fh = 1;
        break;
    case OP_GETATTR:
        skip_words(r);
        skip_opaque(r);
        break;
    case OP_ACCESS:
        (void)take_u64(r);
        break;
    case OP_OPEN:
        parse_open(r, out);
        break;
    case OP_LOCK: case OP_LOCKU:
        memcpy(out->stateid, take(r, STATEID_SIZE), STATEID_SIZE);
        out->has_stateid = 1;
        break;
    case OP_CLOSE:
        (void)take(r, STATEID_SIZE);
        break;
    case OP_CREATE:
        (void)take(r, 20);
        skip_words(r);
        break;
    case OP_REMOVE:
        (void)take(r, 20);
        break;
    case OP_READ:
        out->eof = take_u32(r);
        out->data = take_opaque(r, &out->data_len);
        break;
    case OP_WRITE:
        out->data_len = take_u32(r);
        out->committed = take_u32(r);
        (void)take_u64(r);
        break;
    case OP_READDIR:
        parse_readdir(r, out);
        break;
    case OP_EXCHANGE_ID:
        parse_exchange_id(r, out);
        break;
    case OP_CREATE_SESSION:
        parse_create_session(r, out);
        break;
    case OP_BIND_CONN_TO_SESSION:
        (void)take(r, SESSIONID_SIZE + 8);
        break;
    default:
        die("the reply carries a result of %s, which was not asked for", op_name(op));
    }
}

/*
 * Reads one whole reply record (without its record mark). out->ops beyond the failing one are
 * absent, as RFC 8881 2.10.6.4 has it; the caller compares what is there with what it asked for.
 */
void reply_parse(const uint8_t *record, size_t len, uint32_t xid, struct reply *out)
{
    struct reader r = {record, record + len, 0};
    uint32_t stat, count;

    out->status = out->failed_op = out->op_count = 0;
    out->has_stateid = out->has_fh = 0;
    out->entries = out->data_len = 0;
    if (take_u32(&r) != xid)
        die("a reply carries xid %08x where %08x is outstanding", get_be32(record), xid);
    if (take_u32(&r) != 1)
        die("the server sent a call on a connection without a back channel");
    stat = take_u32(&r);
    if (stat) {
        stat = take_u32(&r);
        die("RPC call denied: reject_stat %u, then %u (authentication or version)", stat, take_u32(&r));
    }
    (void)take_u32(&r);
    skip_opaque(&r); /* verifier */
    stat = take_u32(&r);
    if (stat)
        die("RPC call not accepted: accept_stat %u", stat);
    out->status = take_u32(&r);
    skip_opaque(&r); /* tag */
    count = take_u32(&r);
    for (uint32_t i = 0; i < count && !r.bad; i++) {
        uint32_t op = take_u32(&r), status = take_u32(&r);

        out->op_count++;
        if (status != NFS4_OK) {
            out->failed_op = op;
            if (status != out->status)
                die("%s failed with %s but the compound says %u", op_name(op), status_name(status),
                    out->status);
            return;
        }
        parse_result(&r, op, out);
    }
    if (r.bad)
        die("a reply of %zu bytes ends within a result", len);
    if (r.p != r.end)
        die("a reply has %zu bytes left over", (size_t)(r.end - r.p));
}

/* Ends the run unless every operation of the request was answered NFS4_OK. */
void reply_require(const struct request *q, const struct reply *got, const char *what)
{
    if (got->status != NFS4_OK) {
        if (!got->op_count)
            die("%s: the whole compound failed with %s", what, status_name(got->status));
        die("%s: %s failed with %s", what, op_name(got->failed_op), status_name(got->status));
    }
    if (got->op_count != q->op_count)
        die("%s: %u results for %u operations", what, got->op_count, q->op_count);
}
