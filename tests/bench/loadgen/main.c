/*
 * loadgen: a wire-level NFSv4.1 load on one server, one workload a run, one line of JSON out.
 * Owns the command line and the exit codes: 0 done, 1 failed, 2 wrong usage.
 */
#include <getopt.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include "loadgen.h"

enum { SETUP_LIMIT_S = 60 };

static const char usage_text[] =
    "usage: loadgen --address HOST:PORT --workload NAME [options]\n"
    "  --path PATH         the exported directory in the server's name space (default /)\n"
    "  --connections N     TCP connections (default 2, at most 64)\n"
    "  --slots N           slots of each, one request outstanding in each (default 16, at most 256)\n"
    "  --seconds S         the measured window (default 2)\n"
    "  --warmup S          load before it (default 0.3)\n"
    "  --share WHAT        what connections share: client (a session each, the default), session, nothing\n"
    "  --one-owner         an open owner for each connection, as one Linux user has, not for each slot\n"
    "  --minor 1|2         the minor version (default 1)\n"
    "  --uid N --gid N     the AUTH_SYS caller (default 0)\n"
    "  --server-pid A,B    report the CPU time these processes use in the window\n"
    "  --list              print the workloads' names\n";

void die(const char *format, ...)
{
    va_list args;

    fputs("loadgen: ", stderr);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    exit(1);
}

static void usage(const char *why)
{
    fprintf(stderr, "loadgen: %s\n%s", why, usage_text);
    exit(2);
}

static void out_of_time(int signal_number)
{
    static const char text[] = "loadgen: the run took too long and was given up\n";

    (void)signal_number;
    if (write(2, text, sizeof text - 1) < 0)
        _exit(1);
    _exit(1);
}

static uint32_t number(const char *text, uint32_t low, uint32_t high)
{
    char *end;
    unsigned long v = strtoul(text, &end, 10);

    if (*end || end == text || v < low || v > high)
        usage("a number is out of range");
    return (uint32_t)v;
}

static double duration(const char *text)
{
    char *end;
    double v = strtod(text, &end);

    if (*end || end == text || !(v >= 0 && v <= 3600))
        usage("a duration is out of range");
    return v;
}

static void set_address(struct options *o, char *text)
{
    char *colon = strrchr(text, ':');

    if (!colon)
        usage("--address takes HOST:PORT");
    *colon = 0;
    o->host = text;
    o->port = colon + 1;
}

static void set_pids(struct options *o, char *text)
{
    char *save = NULL;

    for (char *part = strtok_r(text, ",", &save); part; part = strtok_r(NULL, ",", &save)) {
        if (o->pid_count == PIDS_MAX)
            usage("too many --server-pid");
        o->pids[o->pid_count++] = (int)number(part, 1, INT32_MAX);
    }
}

static enum sharing sharing_of(const char *text)
{
    if (!strcmp(text, "client"))
        return SHARE_CLIENT;
    if (!strcmp(text, "session"))
        return SHARE_SESSION;
    if (strcmp(text, "nothing"))
        usage("--share takes client, session or nothing");
    return SHARE_NOTHING;
}

static void read_options(struct run *run, int argc, char **argv)
{
    static const struct option known[] = {
        {"address", 1, NULL, 'a'}, {"workload", 1, NULL, 'w'}, {"path", 1, NULL, 'p'},
        {"connections", 1, NULL, 'c'}, {"slots", 1, NULL, 's'}, {"seconds", 1, NULL, 't'},
        {"warmup", 1, NULL, 'W'}, {"share", 1, NULL, 'S'}, {"one-owner", 0, NULL, 'o'},
        {"minor", 1, NULL, 'm'}, {"uid", 1, NULL, 'u'}, {"gid", 1, NULL, 'g'},
        {"server-pid", 1, NULL, 'P'}, {"list", 0, NULL, 'l'}, {"help", 0, NULL, 'h'}, {0}};
    struct options *o = &run->options;
    int c;

    while ((c = getopt_long(argc, argv, "h", known, NULL)) != -1) {
        switch (c) {
        case 'a': set_address(o, optarg); break;
        case 'w':
            run->workload = workload_find(optarg);
            if (!run->workload)
                usage("no such workload");
            break;
        case 'p': o->path = optarg; break;
        case 'c': o->connections = number(optarg, 1, CONNECTIONS_MAX); break;
        case 's': o->slots = number(optarg, 1, SLOTS_MAX); break;
        case 't': o->seconds = duration(optarg); break;
        case 'W': o->warmup = duration(optarg); break;
        case 'S': o->sharing = sharing_of(optarg); break;
        case 'o': o->one_owner = 1; break;
        case 'm': o->minor = number(optarg, 1, 2); break;
        case 'u': o->uid = number(optarg, 0, UINT32_MAX); break;
        case 'g': o->gid = number(optarg, 0, UINT32_MAX); break;
        case 'P': set_pids(o, optarg); break;
        case 'l': workload_list(); exit(0);
        case 'h': fputs(usage_text, stdout); exit(0);
        default: usage("unknown option");
        }
    }
    if (optind != argc || !o->host || !run->workload)
        usage("--address and --workload are needed, and nothing else without an option's name");
}

int main(int argc, char **argv)
{
    struct run run = {.options = {.path = "/", .connections = 2, .slots = 16, .minor = 1,
                                  .seconds = 2, .warmup = 0.3}};
    const struct result *r = &run.result;
    double seconds;

    read_options(&run, argc, argv);
    signal(SIGALRM, out_of_time);
    signal(SIGPIPE, SIG_IGN);
    alarm((unsigned)(run.options.seconds + run.options.warmup) + SETUP_LIMIT_S);
    setup(&run);
    engine_run(&run);
    teardown(&run);
    seconds = r->seconds > 0 ? r->seconds : 1;
    printf("{\"workload\": \"%s\", \"connections\": %u, \"slots\": %u, \"cycles\": %llu, \"seconds\": %.6f, "
           "\"rate\": %.1f, \"bytes_per_cycle\": %u, \"p50_us\": %.1f, \"p99_us\": %.1f, \"max_us\": %.1f, "
           "\"server_cpu_s\": %.2f, \"own_cpu_s\": %.3f}\n",
           run.workload->name, run.options.connections, run.options.slots,
           (unsigned long long)r->cycles, r->seconds,
           (double)r->cycles / seconds, run.workload->io_size, r->p50_us, r->p99_us, r->max_us,
           r->server_cpu_s, r->own_cpu_s);
    return 0;
}
