/*
 * Builds requests: RPC header with AUTH_SYS, COMPOUND4args and the operations with more than one
 * user, and remembers the places to patch. Owns the call's layout; must not know the workloads.
 */
#include <stdio.h>

#include "loadgen.h"

enum { RPC_CALL = 0, RPC_VERSION = 2, NFS_PROGRAM = 100003, NFS_V4 = 4, PROC_COMPOUND = 1, AUTH_SYS = 1 };

void request_begin(const struct run *run, struct request *q)
{
    struct writer *w = &q->w;

    memset(q, 0, sizeof *q);
    put_u32(w, 0); /* record mark, set by request_end */
    q->xid_at = w->len;
    put_u32(w, 0);
    put_u32(w, RPC_CALL);
    put_u32(w, RPC_VERSION);
    put_u32(w, NFS_PROGRAM);
    put_u32(w, NFS_V4);
    put_u32(w, PROC_COMPOUND);
    put_u32(w, AUTH_SYS);
    put_u32(w, 4 + 4 + 8 + 4 + 4 + 4); /* stamp, machine name, uid, gid, no further groups */
    put_u32(w, 0);
    put_string(w, "loadgen");
    put_u32(w, run->options.uid);
    put_u32(w, run->options.gid);
    put_u32(w, 0);
    put_u64(w, 0); /* verifier AUTH_NONE */
    put_u32(w, 0); /* tag */
    put_u32(w, run->options.minor);
    q->count_at = w->len;
    put_u32(w, 0);
}

void request_op(struct request *q, uint32_t op)
{
    if (q->op_count == OPS_MAX)
        die("more than %d operations in a compound", OPS_MAX);
    q->ops[q->op_count++] = (uint8_t)op;
    put_u32(&q->w, op);
}

void request_sequence(const struct connection *c, const struct slot *s, struct request *q, int cachethis)
{
    const struct slot *last = &c->slots[c->slot_count - 1];

    request_op(q, OP_SEQUENCE);
    put_fixed(&q->w, c->sessionid, SESSIONID_SIZE);
    q->seqid_at = q->w.len;
    put_u32(&q->w, 0);
    put_u32(&q->w, s->slotid);
    put_u32(&q->w, last->slotid); /* the highest slot in use */
    put_u32(&q->w, (uint32_t)cachethis);
}

void request_putfh(struct request *q, const struct filehandle *fh)
{
    request_op(q, OP_PUTFH);
    put_opaque(&q->w, fh->data, fh->len);
}

void request_stateid(struct request *q, const uint8_t *stateid)
{
    q->stateid_at = q->w.len;
    put_fixed(&q->w, stateid, STATEID_SIZE);
}

/* The createattrs of a new object: its mode alone. */
void request_mode(struct request *q, uint32_t mode)
{
    put_u32(&q->w, 2);
    put_u32(&q->w, 0);
    put_u32(&q->w, 1u << 1); /* FATTR4_MODE */
    put_u32(&q->w, 4);
    put_u32(&q->w, mode);
}

/* OPEN by name in the current directory, for reading and writing, as the slot's owner. */
void request_open(const struct run *run, const struct connection *c, const struct slot *s,
                  struct request *q, int create)
{
    const char *owner = run->options.one_owner ? c->slots[0].owner : s->owner;

    request_op(q, OP_OPEN);
    put_u32(&q->w, 0); /* seqid, unused since 4.1 */
    put_u32(&q->w, 3); /* OPEN4_SHARE_ACCESS_BOTH */
    put_u32(&q->w, 0);
    put_u64(&q->w, c->clientid);
    put_string(&q->w, owner);
    put_u32(&q->w, (uint32_t)create);
    if (create) {
        put_u32(&q->w, 0); /* UNCHECKED4 */
        request_mode(q, 0644);
    }
    put_u32(&q->w, 0); /* CLAIM_NULL */
    put_string(&q->w, s->name);
}

/* The data of a WRITE: sent from where they are. Their size must be a multiple of 4. */
void request_payload(struct request *q, const uint8_t *data, size_t len)
{
    put_u32(&q->w, (uint32_t)len);
    q->head_len = q->w.len;
    q->payload = data;
    q->payload_len = len;
}

static void set_record_mark(struct request *q)
{
    set_be32(q->w.data, 0x80000000u | (uint32_t)(q->w.len + q->payload_len - 4));
}

void request_end(struct request *q)
{
    set_be32(q->w.data + q->count_at, q->op_count);
    if (!q->payload)
        q->head_len = q->w.len;
    set_record_mark(q);
}

void request_clear(struct request *q)
{
    free(q->w.data);
    q->w.data = NULL;
}

/* Exchanges a patched file handle for one of another size; what stands behind it moves. */
static void resize_fh(struct request *q, const struct filehandle *fh)
{
    uint32_t old_len = get_be32(q->w.data + q->fh_at);
    size_t old_size = (old_len + 3u) & ~3u, new_size = (fh->len + 3u) & ~3u;
    size_t tail_at = q->fh_at + 4 + old_size, tail_len = q->w.len - tail_at;

    if (new_size > old_size)
        (void)put_room(&q->w, new_size - old_size);
    else
        q->w.len -= old_size - new_size;
    memmove(q->w.data + q->fh_at + 4 + new_size, q->w.data + tail_at, tail_len);
    if (q->stateid_at > q->fh_at)
        q->stateid_at = q->stateid_at + new_size - old_size;
    if (new_size)
        memset(q->w.data + q->fh_at + 4 + new_size - 4, 0, 4);
    set_be32(q->w.data + q->fh_at, fh->len);
    q->head_len = q->w.len;
    set_record_mark(q);
}

/* Makes a built request the slot's next one: new xid and sequence id, current state. */
void request_patch(struct request *q, struct slot *s)
{
    uint8_t *data;

    s->xid = ++s->xid_count << 8 | s->index;
    if (q->fh_at) {
        if (get_be32(q->w.data + q->fh_at) != s->fh.len)
            resize_fh(q, &s->fh);
        memcpy(q->w.data + q->fh_at + 4, s->fh.data, s->fh.len);
    }
    data = q->w.data;
    set_be32(data + q->xid_at, s->xid);
    if (q->seqid_at)
        set_be32(data + q->seqid_at, ++s->seqid);
    if (q->stateid_at)
        memcpy(data + q->stateid_at, s->stateid, STATEID_SIZE);
    if (q->offset_at)
        set_be64(data + q->offset_at, s->position);
}
