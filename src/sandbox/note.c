/* Notes between launcher and init: one SEQPACKET packet each, struct sandbox_note and then text.
 *
 * When the other end closes with something unread, the kernel says ECONNRESET once, to whatever we
 * do next, and only then gives what was sent to us before. So it is no answer, and we ask again. */
#include "sandbox/sandbox_int.h"

#include <errno.h>
#include <sys/socket.h>
#include <sys/uio.h>

#define MAX_FDS GVM_MAX_FRAME_FDS

union control {
    struct cmsghdr align;
    char room[CMSG_SPACE(sizeof(int) * MAX_FDS)];
};

int sandbox_send(int fd, enum sandbox_note_type type, int value, const void *text, size_t n,
                 const int *fds, unsigned nfds)
{
    struct sandbox_note note = {(uint32_t)type, value};
    struct iovec iov[2] = {{&note, sizeof(note)}, {(void *)(uintptr_t)text, n}};
    struct msghdr mh = {.msg_iov = iov, .msg_iovlen = n ? 2 : 1};
    union control control = {0};
    if (nfds > MAX_FDS)
        return -E2BIG;
    if (nfds) {
        mh.msg_control = control.room;
        mh.msg_controllen = CMSG_SPACE(sizeof(int) * nfds);
        struct cmsghdr *c = CMSG_FIRSTHDR(&mh);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof(int) * nfds);
        memcpy(CMSG_DATA(c), fds, sizeof(int) * nfds);
    }
    ssize_t sent;
    do
        sent = sendmsg(fd, &mh, MSG_NOSIGNAL);
    while (sent < 0 && (errno == EINTR || errno == ECONNRESET));
    return sent < 0 ? -errno : 0;
}

static void take_fds(struct msghdr *mh, int *fds, unsigned *nfds)
{
    unsigned room = nfds ? *nfds : 0, got = 0;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(mh); c; c = CMSG_NXTHDR(mh, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        unsigned n = (unsigned)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
        for (unsigned i = 0; i < n; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(fd));
            if (got < room)
                fds[got++] = fd;
            else
                gvm_close(&fd);
        }
    }
    if (nfds)
        *nfds = got;
}

ssize_t sandbox_recv(int fd, struct sandbox_note *ret, char *text, size_t cap, int *fds,
                     unsigned *nfds)
{
    struct sandbox_note note = {0};
    struct iovec iov[2] = {{&note, sizeof(note)}, {text, cap}};
    union control control;
    struct msghdr mh = {.msg_iov = iov,
                        .msg_iovlen = cap ? 2 : 1,
                        .msg_control = control.room,
                        .msg_controllen = sizeof(control.room)};
    ssize_t n;
    do
        n = recvmsg(fd, &mh, MSG_CMSG_CLOEXEC);
    while (n < 0 && (errno == EINTR || errno == ECONNRESET));
    if (n < 0)
        return -errno;
    take_fds(&mh, fds, nfds);
    if (n == 0)
        return -EPIPE;
    if ((size_t)n < sizeof(note) || (mh.msg_flags & MSG_TRUNC))
        return -EPROTO;
    size_t len = (size_t)n - sizeof(note);
    if (cap)
        text[len] = '\0';
    *ret = note;
    return (ssize_t)len;
}
