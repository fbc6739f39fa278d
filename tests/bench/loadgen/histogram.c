/*
 * A latency histogram with a relative error below 1 %: 128 buckets for each power of two.
 * Owns its counters; must not know what was measured.
 */
#include "loadgen.h"

enum { SUB_BITS = 7, SUB = 1 << SUB_BITS, BUCKETS = (64 - SUB_BITS) * SUB };

static uint64_t counts[BUCKETS];
static uint64_t total;

void histogram_clear(void)
{
    memset(counts, 0, sizeof counts);
    total = 0;
}

void histogram_add(uint64_t ns)
{
    int shift = ns < SUB ? 0 : 63 - __builtin_clzll(ns) - (SUB_BITS - 1);

    counts[(unsigned)shift * (SUB / 2) + (ns >> shift)]++;
    total++;
}

/* The middle of the bucket that holds the quantile, microseconds; 0 when nothing was added. */
double histogram_quantile_us(double q)
{
    uint64_t rank = (uint64_t)(q * (double)total), seen = 0;

    if (rank >= total && total)
        rank = total - 1;
    for (unsigned i = 0; i < BUCKETS && total; i++) {
        seen += counts[i];
        if (seen > rank) {
            unsigned shift = i < SUB ? 0 : i / (SUB / 2) - 1;
            uint64_t low = (uint64_t)(i - shift * (SUB / 2)) << shift;

            return ((double)low + (double)(1ull << shift) / 2) / 1000;
        }
    }
    return 0;
}
