/* Channels: one SOCK_SEQPACKET socket each. The kernel keeps frames whole, so the theory is short:
 * what arrives is one frame or a reason to hang up; what cannot leave at once waits in order, up to
 * a bound, with its own copies of the descriptors. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ipc/ipc.h"

/* A frame that waits. */
struct waiting {
    struct waiting *next;
    size_t len; /* of bytes[]: frame header and payload */
    unsigned nfds;
    int fds[GVM_MAX_FRAME_FDS];
    uint8_t bytes[];
};

struct gvm_chan {
    int fd;
    enum gvm_role self, peer;
    struct waiting *head, **tail;
    size_t queued, max_queued;
    uint64_t next_id; /* for gvm_chan_call() */
    uint8_t *in;      /* one frame, allocated at the first recv */
};

union fd_space {
    struct cmsghdr align;
    char bytes[CMSG_SPACE(GVM_MAX_FRAME_FDS * sizeof(int))];
};

void gvm_msg_done(struct gvm_msg *m)
{
    for (unsigned i = 0; i < m->nfds; i++)
        gvm_close(&m->fds[i]);
    m->nfds = 0;
}

struct gvm_chan *gvm_chan_new(int fd, enum gvm_role self, enum gvm_role peer, size_t max_queued)
{
    struct gvm_chan *c = gvm_calloc(1, sizeof *c);
    if (!c)
        return NULL;
    *c = (struct gvm_chan){.fd = fd, .self = self, .peer = peer, .max_queued = max_queued};
    c->tail = &c->head;
    return c;
}

static void free_waiting(struct waiting *w)
{
    for (unsigned i = 0; i < w->nfds; i++)
        gvm_close(&w->fds[i]);
    explicit_bzero(w->bytes, w->len); /* CRED_HEADERS carries secrets */
    free(w);
}

void gvm_chan_free(struct gvm_chan *c)
{
    if (!c)
        return;
    while (c->head) {
        struct waiting *next = c->head->next;
        free_waiting(c->head);
        c->head = next;
    }
    gvm_close(&c->fd);
    if (c->in)
        explicit_bzero(c->in, GVM_MAX_FRAME);
    free(c->in);
    free(c);
}

int gvm_chan_fd(const struct gvm_chan *c)
{
    return c->fd;
}

enum gvm_role gvm_chan_peer(const struct gvm_chan *c)
{
    return c->peer;
}

bool gvm_chan_wants_write(const struct gvm_chan *c)
{
    return c->head != NULL;
}

/* 0 sent, -EAGAIN no room now, -EPIPE gone, other negative errno: this frame cannot be sent. */
static int transmit(int fd, struct iovec *iov, size_t niov, const int *fds, unsigned nfds)
{
    union fd_space space = {0};
    struct msghdr mh = {.msg_iov = iov, .msg_iovlen = niov};
    if (nfds) {
        mh.msg_control = space.bytes;
        mh.msg_controllen = CMSG_SPACE(nfds * sizeof(int));
        struct cmsghdr *c = CMSG_FIRSTHDR(&mh);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(nfds * sizeof(int));
        memcpy(CMSG_DATA(c), fds, nfds * sizeof(int));
    }
    while (sendmsg(fd, &mh, MSG_NOSIGNAL | MSG_DONTWAIT) < 0) {
        if (errno == EINTR)
            continue;
        if (errno == EAGAIN || errno == ENOBUFS)
            return -EAGAIN;
        return errno == ECONNRESET || errno == ENOTCONN || errno == ECONNREFUSED ? -EPIPE : -errno;
    }
    return 0;
}

int gvm_chan_flush(struct gvm_chan *c)
{
    while (c->head) {
        struct waiting *w = c->head;
        struct iovec iov = {w->bytes, w->len};
        int r = transmit(c->fd, &iov, 1, w->fds, w->nfds);
        if (r == -EAGAIN)
            return 0;
        if (r < 0)
            return -EPIPE; /* a frame promised to the caller is lost: the channel is no good */
        c->head = w->next;
        if (!c->head)
            c->tail = &c->head;
        c->queued -= w->len;
        free_waiting(w);
    }
    return 0;
}

static int keep(struct gvm_chan *c, const struct iovec *iov, size_t niov, const int *fds,
                unsigned nfds)
{
    size_t len = 0;
    for (size_t i = 0; i < niov; i++)
        len += iov[i].iov_len;
    if (c->queued + len > c->max_queued)
        return -ENOBUFS;
    struct waiting *w = gvm_calloc(1, sizeof *w + len);
    if (!w)
        return -ENOMEM;
    for (size_t i = 0; i < niov; i++) {
        if (iov[i].iov_len)
            memcpy(w->bytes + w->len, iov[i].iov_base, iov[i].iov_len);
        w->len += iov[i].iov_len;
    }
    for (; w->nfds < nfds; w->nfds++) {
        int copy = fcntl(fds[w->nfds], F_DUPFD_CLOEXEC, 3);
        if (copy < 0) {
            int r = -errno;
            free_waiting(w);
            return r;
        }
        w->fds[w->nfds] = copy;
    }
    *c->tail = w;
    c->tail = &w->next;
    c->queued += len;
    return 0;
}

static bool allowed(const struct gvm_msg_row *row, enum gvm_role from, enum gvm_role to, size_t len,
                    unsigned nfds)
{
    return row && (row->from & 1u << from) && (row->to & 1u << to) && len >= row->min &&
           len <= row->max && nfds <= row->max_fds;
}

int gvm_chan_send2(struct gvm_chan *c, enum gvm_msg_type type, uint64_t id, const void *a,
                   size_t alen, const void *b, size_t blen, const int *fds, unsigned nfds)
{
    if (alen > GVM_MAX_FRAME || blen > GVM_MAX_FRAME ||
        !allowed(gvm_msg_row(type), c->self, c->peer, alen + blen, nfds))
        return -EMSGSIZE;
    struct gvm_frame f = {.type = (uint16_t)type,
                          .catalogue = gvm_catalogue(),
                          .len = (uint32_t)(alen + blen),
                          .id = id};
    struct iovec iov[3] = {
        {&f, sizeof f}, {(void *)(uintptr_t)a, alen}, {(void *)(uintptr_t)b, blen}};
    if (c->head) {
        int r = gvm_chan_flush(c);
        if (r < 0)
            return r;
    }
    int r = c->head ? -EAGAIN : transmit(c->fd, iov, 3, fds, nfds);
    return r == -EAGAIN ? keep(c, iov, 3, fds, nfds) : r;
}

int gvm_chan_send(struct gvm_chan *c, enum gvm_msg_type type, uint64_t id, const void *data,
                  size_t len, const int *fds, unsigned nfds)
{
    return gvm_chan_send2(c, type, id, data, len, NULL, 0, fds, nfds);
}

int gvm_chan_fail(struct gvm_chan *c, uint64_t id, const struct gvm_err *err)
{
    struct gvm_m_failed f = {.code = err->code > 0 ? err->code : EIO};
    return gvm_chan_send2(c, GVM_MSG_FAILED, id, &f, sizeof f, err->text,
                          strnlen(err->text, sizeof err->text), NULL, 0);
}

/* Takes the descriptors out of the control data. -EPROTO for anything else found there. */
static int collect_fds(struct msghdr *mh, struct gvm_msg *m)
{
    int r = mh->msg_flags & MSG_CTRUNC ? -EPROTO : 0;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(mh); c; c = CMSG_NXTHDR(mh, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) {
            r = -EPROTO;
            continue;
        }
        size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < n; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof fd);
            if (m->nfds < GVM_MAX_FRAME_FDS)
                m->fds[m->nfds++] = fd;
            else
                gvm_close(&fd);
        }
    }
    return r;
}

static int check(const struct gvm_chan *c, size_t got, int flags, struct gvm_msg *m)
{
    struct gvm_frame f;
    if ((flags & MSG_TRUNC) || got < sizeof f)
        return -EPROTO;
    memcpy(&f, c->in, sizeof f);
    if (f.catalogue != gvm_catalogue())
        return -EPROTONOSUPPORT;
    if (f.len != got - sizeof f || !allowed(gvm_msg_row(f.type), c->peer, c->self, f.len, m->nfds))
        return -EPROTO;
    m->type = (enum gvm_msg_type)f.type;
    m->id = f.id;
    m->data = c->in + sizeof f;
    m->len = f.len;
    return 1;
}

/* -EPIPE at the end. A peer that closed with our frames unread shows ECONNRESET once, before what
 * it had sent; that must still be delivered. */
static ssize_t receive(int fd, struct msghdr *mh, size_t control)
{
    for (int resets = 0;;) {
        mh->msg_controllen = control;
        ssize_t n = recvmsg(fd, mh, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
        if (n >= 0)
            return n > 0 ? n : -EPIPE;
        if (errno == EINTR || (errno == ECONNRESET && resets++ == 0))
            continue;
        return errno == EAGAIN ? -EAGAIN : -EPIPE;
    }
}

int gvm_chan_recv(struct gvm_chan *c, struct gvm_msg *ret)
{
    if (!c->in && !(c->in = malloc(GVM_MAX_FRAME)))
        return -ENOMEM;
    union fd_space space;
    struct iovec iov = {c->in, GVM_MAX_FRAME};
    struct msghdr mh = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = space.bytes};
    ssize_t n = receive(c->fd, &mh, sizeof space.bytes);
    if (n < 0)
        return n == -EAGAIN ? 0 : (int)n;
    struct gvm_msg m = {0};
    int r = collect_fds(&mh, &m);
    if (r == 0)
        r = check(c, (size_t)n, mh.msg_flags, &m);
    if (r < 0) {
        gvm_msg_done(&m);
        return r;
    }
    *ret = m;
    return 1;
}

/* ---- the simple client ---- */

static int wait_for(struct gvm_chan *c, int64_t deadline)
{
    int left = -1;
    if (deadline >= 0) {
        int64_t ms = (deadline - gvm_mono_ns() + 999999) / 1000000;
        left = ms <= 0 ? 0 : ms > 86400000 ? 86400000 : (int)ms;
    }
    struct pollfd p = {.fd = c->fd, .events = (short)(POLLIN | (c->head ? POLLOUT : 0))};
    int n = poll(&p, 1, left);
    if (n < 0)
        return errno == EINTR ? 0 : -errno;
    if (n == 0)
        return deadline >= 0 && gvm_mono_ns() >= deadline ? -ETIMEDOUT : 0;
    return p.revents & POLLOUT ? gvm_chan_flush(c) : 0;
}

/* Turns a FAILED answer into an error. */
static int answered(struct gvm_msg *m, struct gvm_msg *ret, struct gvm_err *err)
{
    if (m->type != GVM_MSG_FAILED) {
        *ret = *m;
        return 0;
    }
    struct gvm_m_failed f;
    memcpy(&f, m->data, sizeof f);
    gvm_err_set(err, f.code > 0 ? f.code : EIO, "%.*s", (int)(m->len - sizeof f),
                (const char *)m->data + sizeof f);
    gvm_msg_done(m);
    return f.code > 0 ? -f.code : -EIO;
}

static int call_failed(const struct gvm_chan *c, int r, struct gvm_err *err)
{
    if (r == -EPROTONOSUPPORT)
        return gvm_err_set(err, EPROTONOSUPPORT, "the %s process is of another version",
                           gvm_role_name(c->peer));
    if (r == -ETIMEDOUT)
        return gvm_err_set(err, ETIMEDOUT, "the %s process did not answer in time",
                           gvm_role_name(c->peer));
    if (r == -EPIPE)
        return gvm_err_set(err, EPIPE, "the %s process closed the connection",
                           gvm_role_name(c->peer));
    return gvm_err_sys(err, -r, "cannot talk to the %s process", gvm_role_name(c->peer));
}

int gvm_chan_call(struct gvm_chan *c, enum gvm_msg_type type, const void *data, size_t len,
                  const int *fds, unsigned nfds, int timeout_ms,
                  void (*other)(void *arg, const struct gvm_msg *m), void *arg, struct gvm_msg *ret,
                  struct gvm_err *err)
{
    uint64_t id = ++c->next_id;
    int64_t deadline = timeout_ms < 0 ? -1 : gvm_mono_ns() + (int64_t)timeout_ms * 1000000;
    int r = gvm_chan_send(c, type, id, data, len, fds, nfds);
    while (r == 0) {
        struct gvm_msg m;
        r = gvm_chan_recv(c, &m);
        if (r == 0) {
            r = wait_for(c, deadline);
        } else if (r == 1) {
            if (m.id == id)
                return answered(&m, ret, err);
            if (other)
                other(arg, &m);
            gvm_msg_done(&m);
            r = 0;
        }
    }
    return call_failed(c, r, err);
}
