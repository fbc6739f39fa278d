/*
 * Connections, clients and sessions, and calls made one at a time before and after the load.
 * Owns blocking socket work; must not know the workloads.
 */
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "loadgen.h"

enum {
    RX_CAP = 8 << 20,         /* several of the largest replies */
    REPLY_LIMIT_S = 10,
    RETRY_PAUSE_MS = 50,
    RETRY_MAX = 600,          /* 30 s of GRACE or DELAY during setup */
    RETRY_SESSION_MAX = 20,   /* a client is still busy right after its session went: 1 s */
    SEND_SIZE_MAX = 1049620,  /* the Linux client's ca_maxrequestsize and ca_maxresponsesize */
    REPLY_SIZE_MAX = 1049480,
    CACHED_SIZE_MAX = 4096,
    HEADERS_SIZE = 512,       /* what a READ or WRITE has beside its data, at most */
    DIRECTION_FORE = 1
};

static void dial(const struct run *run, struct connection *c)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list;
    struct timeval limit = {.tv_sec = REPLY_LIMIT_S};
    int failed, one = 1;

    failed = getaddrinfo(run->options.host, run->options.port, &hints, &list);
    if (failed)
        die("%s:%s: %s", run->options.host, run->options.port, gai_strerror(failed));
    c->fd = socket(list->ai_family, list->ai_socktype | SOCK_CLOEXEC, 0);
    if (c->fd < 0)
        die("socket: %s", strerror(errno));
    setsockopt(c->fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    setsockopt(c->fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (connect(c->fd, list->ai_addr, list->ai_addrlen))
        die("connect to %s:%s: %s", run->options.host, run->options.port, strerror(errno));
    freeaddrinfo(list);
    c->rx_cap = RX_CAP;
    c->rx = malloc(c->rx_cap);
    if (!c->rx)
        die("out of memory");
}

static void send_all(struct connection *c, const uint8_t *data, size_t len)
{
    while (len) {
        ssize_t n = send(c->fd, data, len, MSG_NOSIGNAL);

        if (n < 0)
            die("send: %s", strerror(errno));
        data += n;
        len -= (size_t)n;
    }
}

static void receive_all(struct connection *c, uint8_t *data, size_t len, const char *what)
{
    while (len) {
        ssize_t n = recv(c->fd, data, len, 0);

        if (n == 0)
            die("%s: the server closed the connection", what);
        if (n < 0)
            die("%s: no reply: %s", what, strerror(errno));
        data += n;
        len -= (size_t)n;
    }
}

static void exchange(struct connection *c, struct slot *s, struct request *q, struct reply *out,
                     const char *what)
{
    size_t len = 0;
    uint32_t mark;

    request_patch(q, s);
    send_all(c, q->w.data, q->head_len);
    if (q->payload) {
        send_all(c, q->payload, q->payload_len);
        send_all(c, q->w.data + q->head_len, q->w.len - q->head_len);
    }
    do {
        uint8_t head[4];

        receive_all(c, head, 4, what);
        mark = get_be32(head);
        if (len + (mark & 0x7fffffff) > c->rx_cap)
            die("%s: a reply of more than %zu bytes", what, c->rx_cap);
        receive_all(c, c->rx + len, mark & 0x7fffffff, what);
        len += mark & 0x7fffffff;
    } while (!(mark & 0x80000000u));
    reply_parse(c->rx, len, s->xid, out);
}

/*
 * Sends a request, waits for its reply and requires NFS4_OK of every operation. GRACE, DELAY and
 * (after a session) CLIENTID_BUSY are tried again. Frees the request.
 */
void call(struct connection *c, struct slot *s, struct request *q, struct reply *out,
          const char *what)
{
    struct timespec pause = {.tv_nsec = RETRY_PAUSE_MS * 1000000L};

    request_end(q);
    for (int i = 0; i < RETRY_MAX; i++) {
        exchange(c, s, q, out, what);
        if (out->status != NFS4ERR_GRACE && out->status != NFS4ERR_DELAY &&
            !(out->status == NFS4ERR_CLIENTID_BUSY && i < RETRY_SESSION_MAX))
            break;
        nanosleep(&pause, NULL);
    }
    reply_require(q, out, what);
    request_clear(q);
}

static void exchange_id(const struct run *run, struct connection *c)
{
    struct request q;
    struct reply got;
    char owner[64];
    struct timespec t;

    clock_gettime(CLOCK_REALTIME, &t);
    snprintf(owner, sizeof owner, "loadgen-%d-%d", (int)getpid(), c->index);
    request_begin(run, &q);
    request_op(&q, OP_EXCHANGE_ID);
    put_u64(&q.w, (uint64_t)t.tv_sec << 32 | (uint64_t)t.tv_nsec); /* the client's instance */
    put_string(&q.w, owner);
    put_u32(&q.w, 0x101); /* SUPP_MOVED_REFER and BIND_PRINC_STATEID, as Linux */
    put_u32(&q.w, 0);     /* SP4_NONE */
    put_u32(&q.w, 0);
    call(c, &c->slots[0], &q, &got, "exchange id");
    c->clientid = got.clientid;
    c->create_seqid = got.client_seqid;
}

static void put_channel(struct request *q, uint32_t slots)
{
    put_u32(&q->w, 0);
    put_u32(&q->w, SEND_SIZE_MAX);
    put_u32(&q->w, REPLY_SIZE_MAX);
    put_u32(&q->w, CACHED_SIZE_MAX);
    put_u32(&q->w, OPS_MAX);
    put_u32(&q->w, slots);
    put_u32(&q->w, 0);
}

static void create_session(const struct run *run, struct connection *c, struct connection *client,
                           uint32_t slots)
{
    struct request q;
    struct reply got;

    request_begin(run, &q);
    request_op(&q, OP_CREATE_SESSION);
    put_u64(&q.w, client->clientid);
    put_u32(&q.w, client->create_seqid);
    put_u32(&q.w, 0); /* no back channel, so that no delegation is given */
    put_channel(&q, slots);
    put_channel(&q, 1);
    put_u32(&q.w, 0x40000000);
    put_u32(&q.w, 1);
    put_u32(&q.w, 0); /* AUTH_NONE */
    call(c, &c->slots[0], &q, &got, "create session");
    client->create_seqid++;
    c->clientid = client->clientid;
    memcpy(c->sessionid, got.sessionid, SESSIONID_SIZE);
    if (got.max_requests < slots)
        die("the session has %u slots of %u asked for: use fewer --slots", got.max_requests, slots);
    if (got.max_request_size < run->workload->io_size + HEADERS_SIZE ||
        got.max_response_size < run->workload->io_size + HEADERS_SIZE)
        die("the session allows requests of %u and replies of %u bytes: too small for %s",
            got.max_request_size, got.max_response_size, run->workload->name);
}

static void bind_connection(const struct run *run, struct connection *c, const struct connection *first)
{
    struct request q;
    struct reply got;

    c->clientid = first->clientid;
    memcpy(c->sessionid, first->sessionid, SESSIONID_SIZE);
    request_begin(run, &q);
    request_op(&q, OP_BIND_CONN_TO_SESSION);
    put_fixed(&q.w, c->sessionid, SESSIONID_SIZE);
    put_u32(&q.w, DIRECTION_FORE);
    put_u32(&q.w, 0);
    call(c, &c->slots[0], &q, &got, "bind connection");
}

static void reclaim_complete(const struct run *run, struct connection *c)
{
    struct request q;
    struct reply got;

    request_begin(run, &q);
    request_sequence(c, &c->slots[0], &q, 0);
    request_op(&q, OP_RECLAIM_COMPLETE);
    put_u32(&q.w, 0);
    call(c, &c->slots[0], &q, &got, "reclaim complete");
}

/* Connects, and makes or joins the client and the session that the sharing asks for. */
void session_open(struct run *run, struct connection *c, struct connection *first)
{
    enum sharing sharing = run->options.sharing;
    int own_client = c == first || sharing == SHARE_NOTHING;

    dial(run, c);
    if (sharing == SHARE_SESSION && c != first) {
        bind_connection(run, c, first);
        return;
    }
    if (own_client)
        exchange_id(run, c);
    create_session(run, c, own_client ? c : first,
                   run->options.slots * (sharing == SHARE_SESSION ? run->options.connections : 1));
    if (own_client)
        reclaim_complete(run, c);
}

/* Ends what session_open made; the first connection of a shared client must be the last. */
void session_close(struct run *run, struct connection *c, struct connection *first)
{
    enum sharing sharing = run->options.sharing;
    struct request q;
    struct reply got;

    if (c == first || sharing != SHARE_SESSION) {
        request_begin(run, &q);
        request_op(&q, OP_DESTROY_SESSION);
        put_fixed(&q.w, c->sessionid, SESSIONID_SIZE);
        call(c, &c->slots[0], &q, &got, "destroy session");
    }
    if (c == first || sharing == SHARE_NOTHING) {
        request_begin(run, &q);
        request_op(&q, OP_DESTROY_CLIENTID);
        put_u64(&q.w, c->clientid);
        call(c, &c->slots[0], &q, &got, "destroy clientid");
    }
    close(c->fd);
    free(c->rx);
    free(c->tx);
}
