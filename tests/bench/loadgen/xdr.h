/*
 * XDR writing into a growing buffer and bounds-checked reading out of a record.
 * Owns byte order and padding; must not know what a message means.
 */
#ifndef LOADGEN_XDR_H
#define LOADGEN_XDR_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

struct writer {
    uint8_t *data;
    size_t len;
    size_t cap;
};

struct reader {
    const uint8_t *p;
    const uint8_t *end;
    int bad; /* set once something reached beyond the end; every later value is 0 */
};

static inline uint32_t get_be32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static inline void set_be32(uint8_t *p, uint32_t v)
{
    p[0] = (uint8_t)(v >> 24);
    p[1] = (uint8_t)(v >> 16);
    p[2] = (uint8_t)(v >> 8);
    p[3] = (uint8_t)v;
}

static inline void set_be64(uint8_t *p, uint64_t v)
{
    set_be32(p, (uint32_t)(v >> 32));
    set_be32(p + 4, (uint32_t)v);
}

static inline uint8_t *put_room(struct writer *w, size_t n)
{
    if (w->len + n > w->cap) {
        w->cap = (w->len + n) * 2 + 256;
        w->data = realloc(w->data, w->cap);
        if (!w->data)
            abort();
    }
    w->len += n;
    return w->data + w->len - n;
}

static inline void put_u32(struct writer *w, uint32_t v)
{
    set_be32(put_room(w, 4), v);
}

static inline void put_u64(struct writer *w, uint64_t v)
{
    set_be64(put_room(w, 8), v);
}

static inline void put_fixed(struct writer *w, const void *data, size_t n)
{
    memcpy(put_room(w, n), data, n);
}

static inline void put_opaque(struct writer *w, const void *data, size_t n)
{
    static const uint8_t zeros[4];

    put_u32(w, (uint32_t)n);
    put_fixed(w, data, n);
    put_fixed(w, zeros, (4 - n % 4) % 4);
}

static inline void put_string(struct writer *w, const char *text)
{
    put_opaque(w, text, strlen(text));
}

static inline const uint8_t *take(struct reader *r, size_t n)
{
    static const uint8_t nothing[64];
    const uint8_t *at = r->p;

    if ((size_t)(r->end - r->p) < n) {
        r->bad = 1;
        r->p = r->end;
        return nothing; /* callers that take more than 64 bytes check `bad` first */
    }
    r->p += n;
    return at;
}

static inline uint32_t take_u32(struct reader *r)
{
    return get_be32(take(r, 4));
}

static inline uint64_t take_u64(struct reader *r)
{
    uint64_t high = take_u32(r);

    return high << 32 | take_u32(r);
}

/* Returns the bytes of an opaque<> and stores their count, 0 when it was cut off. */
static inline const uint8_t *take_opaque(struct reader *r, uint32_t *n)
{
    uint32_t len = take_u32(r);
    const uint8_t *at = take(r, ((size_t)len + 3) & ~(size_t)3);

    *n = r->bad ? 0 : len;
    return at;
}

static inline void skip_opaque(struct reader *r)
{
    uint32_t n;

    (void)take_opaque(r, &n);
}

static inline void skip_words(struct reader *r)
{
    (void)take(r, (size_t)take_u32(r) * 4);
}

#endif
