/* How much the ledger adds to what the disk costs. Each figure stands beside a bare loop that does
 * the same input and output without hashes, tiles, signatures or checks, interleaved in one run.
 *
 *   single    one durable entry: the writer against pwrite + fdatasync on a preallocated file
 *   waiting   64 waiting writers: the ledger process against a bare process of the same shape:
 *             frames over a socket, one write and one fdatasync for all that wait, an answer each
 *   stream    writers that do not wait: entries a second through the same two processes, frames of
 *             64 entries, the last of which is waited for
 *   heads     from an entry's durability (its answer) to a checkpoint that counts it, as somebody
 *             sees it who watches the directory: at rest, and during a stream
 *   verify    entries a second on one core, plain, packed and with private members; with all cores;
 *             resident memory of a verification of a tenth of the log and of the whole
 *
 * usage: bench_ledger [DIR [PART]...]     (a directory on the disk to measure; default: the current
 * one, and everything)
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <openssl/evp.h>
#include "ipc/ipc.h"
#include "ledger/ledger_int.h"

enum {
    REPEATS = 5,
    SINGLE = 150,
    WAITERS = 64,
    ROUNDS = 100,
    HEADS = 200,
    BULK = 400000,
    FRAME = 64,
    LINE = 256
};
static const char origin[] = "gvm.bench/ledger";
static const uint8_t seed[32] = {7};
static EVP_PKEY *signing_key;
static struct gvm_vkey vkey;
static char base[3072];

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static struct gvm_str line(uint64_t i)
{
    static char buf[LINE + 1];
    int n = snprintf(
        buf, sizeof buf,
        "{\"v\":1,\"t\":\"2026-11-23T23:13:00.%09" PRIu64 "Z\",\"kind\":\"http.decision\",\"run\":"
        "\"20261123T231300-abcdef\",\"agent\":\"coder\",\"id\":\"r.%" PRIu64
        "\",\"method\":\"GET\",\"host\":\"api.example.com\",\"path\":\"/v1/items\",\"x\":\"",
        i % 1000000000, i);
    memset(buf + n, 'x', (size_t)(LINE - n));
    memcpy(buf + LINE - 2, "\"}", 2);
    return (struct gvm_str){buf, LINE};
}

/* A decision as the proxy writes it: three members are private. */
static struct gvm_str private_line(uint64_t i)
{
    static char buf[2 * LINE];
    int n = snprintf(buf, sizeof buf,
                     "{\"v\":2,\"t\":\"2026-11-23T23:13:00.%09" PRIu64
                     "Z\",\"kind\":\"http.decision\",\"run\":\"20261123T231300-abcdef\",\"agent\":"
                     "\"coder\",\"id\":\"r.%" PRIu64
                     "\",\"method\":\"GET\",\"decision\":\"Allow\",\"rule\":\"read items\","
                     "\"private\":\"%44s\",\"salt\":\"%24s\",\"host\":\"api.example.com\","
                     "\"path\":\"/v1/items/%" PRIu64 "\",\"query\":\"sha256:%064" PRIx64 "\"}",
                     i % 1000000000, i, "", "", i, i);
    return (struct gvm_str){buf, (size_t)n};
}

static char *fresh_dir(const char *name)
{
    static char path[4096];
    (void)snprintf(path, sizeof path, "%s/%s", base, name);
    if (mkdir(path, 0700) < 0)
        die(path);
    return path;
}

/* Another one each time, and none is removed before the end: for seconds after it has removed
 * thousands of files, ext4 finds room for a new one slowly. */
static char *next_dir(void)
{
    static unsigned n;
    char name[32];
    (void)snprintf(name, sizeof name, "log%u", n++);
    return fresh_dir(name);
}

static struct gvm_m_signed sign(const struct gvm_m_sign *head)
{
    struct gvm_m_signed out = {.size = head->size};
    char root[GVM_B64_LEN(32) + 1], text[512];
    size_t n = 64;
    gvm_b64(root, head->root, 32);
    int len = snprintf(text, sizeof text, "%s\n%" PRIu64 "\n%s\n", origin, head->size, root);
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    if (!ctx || EVP_DigestSignInit(ctx, NULL, NULL, NULL, signing_key) != 1 ||
        EVP_DigestSign(ctx, out.signature, &n, (uint8_t *)text, (size_t)len) != 1)
        die("sign");
    EVP_MD_CTX_free(ctx);
    memcpy(out.key_id, vkey.id, 4);
    return out;
}

static double seconds(int64_t from)
{
    return (double)(gvm_mono_ns() - from) / 1e9;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static double median(double *v, size_t n)
{
    qsort(v, n, sizeof *v, by_size);
    return v[n / 2];
}

/* ---- the writer, alone ---- */

static struct ledger_writer *open_writer(const char *dir)
{
    struct gvm_err err = {0};
    struct ledger_writer_opts opts = {.origin = origin};
    struct ledger_writer *w = NULL;
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || ledger_writer_open(fd, &opts, &w, &err) < 0) {
        fprintf(stderr, "%s\n", err.text);
        exit(1);
    }
    return w;
}

static void must(int r)
{
    if (r < 0) {
        errno = -r;
        die("ledger");
    }
}

static int bare_file(const char *dir)
{
    char path[4200];
    (void)snprintf(path, sizeof path, "%s/bare", dir);
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0 || fallocate(fd, 0, 0, SEGMENT_STEP) < 0)
        die(path);
    return fd;
}

/* Microseconds of one durable entry: p50 of `n`, ours and bare taking turns. */
static void one_entry(double *ret_ours, double *ret_bare)
{
    static double ours[SINGLE], bare[SINGLE];
    struct gvm_err err = {0};
    struct ledger_writer *w = open_writer(next_dir());
    int fd = bare_file(base);
    off_t off = 0;
    for (int i = 0; i < SINGLE; i++) {
        struct gvm_str l = line((uint64_t)i);
        int64_t t = gvm_mono_ns();
        if (pwrite(fd, l.p, l.n, off) != (ssize_t)l.n || fdatasync(fd) < 0)
            die("bare");
        bare[i] = seconds(t) * 1e6;
        off += (off_t)l.n;
        t = gvm_mono_ns();
        must(ledger_writer_add(w, l));
        must(ledger_writer_commit(w, &err));
        ours[i] = seconds(t) * 1e6; /* here the asker has its answer */
        must(ledger_writer_settle(w, &err));
    }
    close(fd);
    ledger_writer_close(w);
    *ret_ours = median(ours, SINGLE);
    *ret_bare = median(bare, SINGLE);
}

static double cpu_seconds(const struct rusage *u)
{
    return (double)(u->ru_utime.tv_sec + u->ru_stime.tv_sec) +
           (double)(u->ru_utime.tv_usec + u->ru_stime.tv_usec) / 1e6;
}

/* Entries a second of `threads` threads, and of CPU time; in a process of its own, whose peak
 * memory is *ret_kb. */
static double verify_rate(const char *name, unsigned threads, uint64_t want, double *ret_cpu,
                          long *ret_kb)
{
    int pair[2];
    double rate = 0;
    struct rusage u;
    must(pipe2(pair, O_CLOEXEC) < 0 ? -errno : 0);
    pid_t pid = fork();
    if (pid == 0) {
        char path[4200];
        struct gvm_err err = {0};
        struct gvm_verify_opts opts = {.key = &vkey, .threads = threads};
        struct gvm_verify_report rep = {0};
        (void)snprintf(path, sizeof path, "%s/%s", base, name);
        int64_t t = gvm_mono_ns();
        must(gvm_ledger_verify(path, &opts, &rep, &err));
        rate = (double)rep.entries / seconds(t);
        if (!rep.ok || rep.entries < want) {
            fprintf(stderr, "does not verify: %s\n", rep.reason);
            _exit(1);
        }
        _exit(write(pair[1], &rate, sizeof rate) != sizeof rate);
    }
    close(pair[1]);
    if (read(pair[0], &rate, sizeof rate) != sizeof rate || wait4(pid, NULL, 0, &u) != pid)
        exit(1);
    close(pair[0]);
    *ret_cpu = (double)want / cpu_seconds(&u);
    *ret_kb = u.ru_maxrss;
    return rate;
}

/* A log written by the writer alone, without waiting for the disk: for the verifier to read. */
static void make_log(const char *name, uint64_t n, struct gvm_str (*entry)(uint64_t), bool pack)
{
    struct gvm_err err = {0};
    struct gvm_m_sign head;
    struct ledger_writer *w = open_writer(fresh_dir(name));
    for (uint64_t i = 0; i < n; i++) {
        must(ledger_writer_add(w, entry(i)));
        if (w->count < BATCH_ENTRIES && i + 1 < n)
            continue;
        must(ledger_writer_commit(w, &err));
        must(ledger_writer_settle(w, &err));
    }
    if (ledger_writer_head(w, &head)) {
        struct gvm_m_signed sig = sign(&head);
        must(ledger_writer_publish(w, &head, &sig, true, &err));
    }
    while (pack && ledger_writer_idle(w))
        ;
    ledger_writer_close(w);
}

static void bench_verify(void)
{
    double rate[4][REPEATS], cpu[4][REPEATS], skip;
    long small = 0, large = 0, kb;
    make_log("small", BULK / 10, line, false);
    make_log("plain", BULK, line, false);
    make_log("private", BULK, private_line, false);
    make_log("packed", BULK, line, true);
    (void)verify_rate("plain", 1, BULK, &skip, &kb);
    static const struct {
        const char *what, *log;
        unsigned threads;
    } ways[4] = {{"verify, one core", "plain", 1},
                 {"  private members", "private", 1},
                 {"  packed segments", "packed", 1},
                 {"verify, all cores", "plain", 16}};
    for (int i = 0; i < REPEATS; i++) {
        for (unsigned k = 0; k < 4; k++)
            rate[k][i] =
                verify_rate(ways[k].log, ways[k].threads, BULK, &cpu[k][i], k ? &kb : &large) / 1e3;
        (void)verify_rate("small", 1, BULK / 10, &skip, &small);
    }
    for (unsigned k = 0; k < 4; k++)
        printf("%-28s %15.1f k entries/s, %.1f k a second of CPU\n", ways[k].what,
               median(rate[k], REPEATS), median(cpu[k], REPEATS) / 1e3);
    printf("%-28s %8ld KiB for %d entries, %ld KiB for %d\n", "memory of a verification", small,
           BULK / 10, large, BULK);
}

/* ---- 64 waiting writers, over a socket ---- */

/* What the ledger process does, without the ledger. */
static void bare_server(int sock)
{
    int fd = bare_file(base);
    static uint8_t frame[GVM_MAX_FRAME], batch[2 << 20];
    uint64_t ids[1024], index = 0;
    off_t off = 0, have = SEGMENT_STEP;
    for (;;) {
        struct pollfd p = {.fd = sock, .events = POLLIN};
        (void)poll(&p, 1, -1);
        size_t n = 0, count = 0;
        ssize_t got;
        while (count < 1024 && n < (1 << 20) &&
               (got = recv(sock, frame, sizeof frame, MSG_DONTWAIT)) > 0) {
            struct gvm_frame head;
            size_t skip = sizeof head + sizeof(struct gvm_m_append);
            memcpy(&head, frame, sizeof head);
            ids[count++] = head.id;
            memcpy(batch + n, frame + skip, (size_t)got - skip);
            n += (size_t)got - skip;
            batch[n++] = '\n';
        }
        if (!count)
            _exit(0);
        if (off + (off_t)n > have && fallocate(fd, 0, have, SEGMENT_STEP) == 0)
            have += SEGMENT_STEP;
        if (pwrite(fd, batch, n, off) != (ssize_t)n || fdatasync(fd) < 0)
            _exit(1);
        off += (off_t)n;
        for (size_t i = 0; i < count; i++) {
            if (!ids[i])
                continue; /* nobody waits */
            struct {
                struct gvm_frame head;
                struct gvm_m_appended body;
            } out = {{GVM_MSG_APPENDED, gvm_catalogue(), sizeof out.body, ids[i]}, {0, 0, index++}};
            (void)!send(sock, &out, sizeof out, MSG_NOSIGNAL);
        }
    }
}

/* What the keys process does. */
static void serve_keys(struct gvm_chan *keys)
{
    struct gvm_msg m;
    while (gvm_chan_recv(keys, &m) == 1) {
        struct gvm_m_sign want;
        memcpy(&want, m.data, sizeof want);
        struct gvm_m_signed sig = sign(&want);
        must(gvm_chan_send(keys, GVM_MSG_SIGNED, m.id, &sig, sizeof sig, NULL, 0));
    }
}

/* WAITERS entries are always under way; each answer sends the next. Entries a second. */
static double drive(struct gvm_chan *proxy, struct gvm_chan *keys)
{
    struct gvm_m_append head = {0};
    struct gvm_msg m;
    uint64_t sent = 0, done = 0;
    int64_t t = gvm_mono_ns();
    while (done < WAITERS * ROUNDS) {
        while (sent < done + WAITERS && sent < WAITERS * ROUNDS) {
            struct gvm_str l = line(sent++);
            must(
                gvm_chan_send2(proxy, GVM_MSG_APPEND, sent, &head, sizeof head, l.p, l.n, NULL, 0));
        }
        struct pollfd p[2] = {{.fd = gvm_chan_fd(proxy), .events = POLLIN},
                              {.fd = keys ? gvm_chan_fd(keys) : -1, .events = POLLIN}};
        (void)poll(p, 2, 1000);
        if (keys)
            serve_keys(keys);
        int r;
        while ((r = gvm_chan_recv(proxy, &m)) == 1)
            done += m.type == GVM_MSG_APPENDED;
        must(r);
    }
    return WAITERS * ROUNDS / seconds(t);
}

static struct gvm_chan *give_peer(struct gvm_chan *parent, enum gvm_role role)
{
    int pair[2];
    struct gvm_m_peer peer = {.role = role};
    must(gvm_ipc_pair(pair));
    must(gvm_chan_send(parent, GVM_MSG_PEER, 0, &peer, sizeof peer, &pair[1], 1));
    close(pair[1]);
    return gvm_chan_new(pair[0], role, GVM_ROLE_LEDGER, 4 << 20);
}

/* One server, ours or the bare one, and the channels to it. */
struct server {
    pid_t pid;
    int dir;
    struct gvm_chan *parent, *proxy, *keys;
};

static struct server start_ours(void)
{
    int pair[2];
    struct gvm_msg m;
    struct gvm_err err = {0};
    char json[128];
    struct server s = {.dir = open(next_dir(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
    must(gvm_ipc_pair(pair));
    s.pid = fork();
    if (s.pid == 0) {
        close(pair[0]);
        _exit(gvm_ledger_main(pair[1]));
    }
    close(pair[1]);
    s.parent = gvm_chan_new(pair[0], GVM_ROLE_PARENT, GVM_ROLE_LEDGER, 1 << 20);
    int n = snprintf(json, sizeof json, "{\"origin\":\"%s\"}", origin);
    must(gvm_chan_call(s.parent, GVM_MSG_START, json, (size_t)n, &s.dir, 1, 10000, NULL, NULL, &m,
                       &err));
    s.proxy = give_peer(s.parent, GVM_ROLE_PROXY);
    s.keys = give_peer(s.parent, GVM_ROLE_KEYS);
    return s;
}

static struct server start_bare(void)
{
    int pair[2];
    struct server s = {.dir = -1};
    must(gvm_ipc_pair(pair));
    s.pid = fork();
    if (s.pid == 0) {
        close(pair[0]);
        bare_server(pair[1]);
    }
    close(pair[1]);
    s.proxy = gvm_chan_new(pair[0], GVM_ROLE_PROXY, GVM_ROLE_LEDGER, 4 << 20);
    return s;
}

/* Microseconds of CPU it took in all. */
static double end_server(struct server *s)
{
    struct rusage u;
    gvm_chan_free(s->parent);
    gvm_chan_free(s->proxy);
    /* The last head is signed before the end. */
    for (pid_t got = 0; got == 0; got = wait4(s->pid, NULL, WNOHANG, &u)) {
        if (s->keys)
            serve_keys(s->keys);
        (void)usleep(1000);
    }
    gvm_chan_free(s->keys);
    gvm_close(&s->dir);
    return cpu_seconds(&u) * 1e6;
}

static double waiting(struct server s, double *ret_cpu)
{
    double rate = drive(s.proxy, s.keys);
    *ret_cpu = end_server(&s) / (WAITERS * ROUNDS);
    return rate;
}

/* ---- writers that do not wait ---- */

/* Until the channel takes more, and what comes meanwhile. True when an answer was among it. */
static bool wait_room(struct gvm_chan *proxy, struct gvm_chan *keys)
{
    struct gvm_msg m;
    bool answered = false;
    short want = gvm_chan_wants_write(proxy) ? POLLIN | POLLOUT : POLLIN;
    struct pollfd p[2] = {{.fd = gvm_chan_fd(proxy), .events = want},
                          {.fd = keys ? gvm_chan_fd(keys) : -1, .events = POLLIN}};
    (void)poll(p, 2, 1000);
    if (p[0].revents & POLLOUT)
        must(gvm_chan_flush(proxy));
    if (keys)
        serve_keys(keys);
    while (gvm_chan_recv(proxy, &m) == 1)
        answered |= m.type == GVM_MSG_APPENDED;
    return answered;
}

static double stream(struct server s, double *ret_cpu)
{
    static char frame[FRAME * (LINE + 1)];
    struct gvm_m_append no_wait = {.flags = GVM_APPEND_NO_WAIT}, wait = {0};
    int64_t t = gvm_mono_ns();
    for (uint64_t i = 0; i + 1 < BULK;) {
        size_t n = 0;
        for (unsigned k = 0; k < FRAME && i + 1 < BULK; k++, i++) {
            memcpy(frame + n, line(i).p, LINE);
            frame[n + LINE] = '\n';
            n += LINE + 1;
        }
        while (gvm_chan_wants_write(s.proxy))
            (void)wait_room(s.proxy, s.keys);
        must(gvm_chan_send2(s.proxy, GVM_MSG_APPEND, 0, &no_wait, sizeof no_wait, frame, n - 1,
                            NULL, 0));
        if (s.keys)
            serve_keys(s.keys);
    }
    struct gvm_str l = line(BULK - 1);
    must(gvm_chan_send2(s.proxy, GVM_MSG_APPEND, 1, &wait, sizeof wait, l.p, l.n, NULL, 0));
    while (!wait_room(s.proxy, s.keys))
        ;
    double rate = BULK / seconds(t);
    *ret_cpu = end_server(&s) / BULK;
    return rate;
}

/* ---- heads ---- */

static uint64_t head_size(int dir)
{
    char note[1024];
    struct gvm_checkpoint cp;
    struct gvm_err err = {0};
    GVM_AUTOCLOSE int fd = openat(dir, "checkpoint", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? 0 : read(fd, note, sizeof note);
    return n > 0 && gvm_checkpoint_parse((struct gvm_str){note, (size_t)n}, &cp, &err) == 0
               ? cp.size
               : 0;
}

/* Sends frames that nobody waits for while they go out, until `until`. */
static void fill(struct server s, int64_t until, uint64_t *i)
{
    static char frame[FRAME * (LINE + 1)];
    struct gvm_m_append no_wait = {.flags = GVM_APPEND_NO_WAIT};
    while (gvm_mono_ns() < until) {
        if (gvm_chan_wants_write(s.proxy)) {
            (void)wait_room(s.proxy, s.keys);
            continue;
        }
        for (unsigned k = 0; k < FRAME; k++) {
            memcpy(frame + k * (LINE + 1), line((*i)++).p, LINE);
            frame[k * (LINE + 1) + LINE] = '\n';
        }
        must(gvm_chan_send2(s.proxy, GVM_MSG_APPEND, 0, &no_wait, sizeof no_wait, frame,
                            sizeof frame - 1, NULL, 0));
        serve_keys(s.keys);
    }
}

/* One entry that is waited for: its index. */
static uint64_t one_durable(struct server s, struct gvm_str l)
{
    struct gvm_m_append wait = {0};
    struct gvm_m_appended done;
    struct gvm_msg m;
    must(gvm_chan_send2(s.proxy, GVM_MSG_APPEND, 1, &wait, sizeof wait, l.p, l.n, NULL, 0));
    for (;;) {
        struct pollfd p[2] = {{.fd = gvm_chan_fd(s.proxy),
                               .events = gvm_chan_wants_write(s.proxy) ? POLLIN | POLLOUT : POLLIN},
                              {.fd = gvm_chan_fd(s.keys), .events = POLLIN}};
        (void)poll(p, 2, 1000);
        if (p[0].revents & POLLOUT)
            must(gvm_chan_flush(s.proxy));
        serve_keys(s.keys);
        while (gvm_chan_recv(s.proxy, &m) == 1)
            if (m.type == GVM_MSG_APPENDED) {
                memcpy(&done, m.data, sizeof done);
                must(-done.error);
                return done.index;
            }
    }
}

/* Milliseconds from the answer to a head that counts the entry. */
static double until_head(struct server s, int watch, uint64_t index)
{
    char events[4096];
    int64_t t = gvm_mono_ns();
    while (head_size(s.dir) <= index) {
        struct pollfd p[2] = {{.fd = watch, .events = POLLIN},
                              {.fd = gvm_chan_fd(s.keys), .events = POLLIN}};
        (void)poll(p, 2, 1000);
        serve_keys(s.keys);
        (void)!read(watch, events, sizeof events);
    }
    return seconds(t) * 1e3;
}

static void bench_heads(void)
{
    static double ms[HEADS];
    for (int busy = 0; busy < 2; busy++) {
        char path[64];
        struct server s = start_ours();
        (void)snprintf(path, sizeof path, "/proc/self/fd/%d", s.dir);
        int watch = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
        if (watch < 0 || inotify_add_watch(watch, path, IN_MOVED_TO) < 0)
            die(path);
        uint64_t i = 0;
        for (unsigned k = 0; k < HEADS; k++) {
            int64_t next = gvm_mono_ns() + 15000000;
            if (busy)
                fill(s, next, &i);
            ms[k] = until_head(s, watch, one_durable(s, line(i++)));
            while (!busy && gvm_mono_ns() < next)
                (void)usleep(1000);
        }
        close(watch);
        (void)end_server(&s);
        double p50 = median(ms, HEADS);
        printf("%-28s p50 %.1f ms, p99 %.1f ms, most %.1f ms\n",
               busy ? "  during a stream" : "head behind durability", p50, ms[HEADS * 99 / 100],
               ms[HEADS - 1]);
        fflush(stdout);
    }
}

/* ---- */

static void compare(const char *what, const char *unit, double *ours, double *bare)
{
    double ratio[REPEATS];
    for (int i = 0; i < REPEATS; i++)
        ratio[i] = ours[i] / bare[i];
    double o = median(ours, REPEATS), b = median(bare, REPEATS);
    printf("%-28s ours %10.1f  bare %10.1f %-10s ratio %.2f\n", what, o, b, unit,
           median(ratio, REPEATS));
    fflush(stdout);
}

static void run_part(const char *part)
{
    double ours[REPEATS], bare[REPEATS], cpu[2][REPEATS];
    bool wait = strcmp(part, "waiting") == 0;
    if (strcmp(part, "verify") == 0) {
        bench_verify();
    } else if (strcmp(part, "heads") == 0) {
        bench_heads();
    } else if (strcmp(part, "single") == 0) {
        for (int i = 0; i < REPEATS; i++)
            one_entry(&ours[i], &bare[i]);
        compare("one durable entry, p50", "us", ours, bare);
    } else {
        for (int i = 0; i < REPEATS; i++) {
            ours[i] = (wait ? waiting : stream)(start_ours(), &cpu[0][i]) / 1e3;
            bare[i] = (wait ? waiting : stream)(start_bare(), &cpu[1][i]) / 1e3;
        }
        compare(wait ? "64 waiting writers" : "writers that do not wait", "k/s", ours, bare);
        compare("  CPU of the log's process", "us/entry", cpu[0], cpu[1]);
    }
}

int main(int argc, char **argv)
{
    static const char *const all[] = {"single", "waiting", "stream", "heads", "verify", NULL};
    struct gvm_err err = {0};
    (void)snprintf(base, sizeof base, "%s/bench-ledger-XXXXXX", argc > 1 ? argv[1] : ".");
    signing_key = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, seed, 32);
    if (!mkdtemp(base) || !signing_key || gvm_vkey_from_seed(seed, origin, &vkey, &err) < 0)
        die(base);
    const char *const *part = argc > 2 ? (const char *const *)argv + 2 : all;
    for (; *part; part++)
        run_part(*part);
    EVP_PKEY_free(signing_key);
    return gvm_remove_tree_at(AT_FDCWD, base, &err) < 0;
}
