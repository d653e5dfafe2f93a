#define UNIT_FAIL_ALLOC
#include "../unit.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ipc/ipc.h"

/* Two ends; `a` speaks as control, `b` as the parent. */
struct ends {
    struct gvm_chan *a, *b;
};

static struct ends ends(enum gvm_role ra, enum gvm_role rb, size_t queue)
{
    int fds[2];
    assert_int_equal(gvm_ipc_pair(fds), 0);
    assert_int_equal(fcntl(fds[0], F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    struct ends e = {gvm_chan_new(fds[0], ra, rb, queue), gvm_chan_new(fds[1], rb, ra, queue)};
    assert_true(e.a && e.b);
    return e;
}

static void done(struct ends e)
{
    gvm_chan_free(e.a);
    gvm_chan_free(e.b);
}

static void frames_arrive_whole(void **state)
{
    struct ends e = ends(GVM_ROLE_CONTROL, GVM_ROLE_PARENT, 1 << 20);
    struct gvm_msg m;
    assert_int_equal(gvm_chan_recv(e.b, &m), 0);
    assert_int_equal(gvm_chan_send(e.a, GVM_MSG_POLICY_LOAD, 7, "{\"config\":null}", 15, NULL, 0),
                     0);
    assert_int_equal(gvm_chan_send2(e.a, GVM_MSG_POLICY_LOAD, 8, "{}", 2, "  ", 2, NULL, 0), 0);
    assert_int_equal(gvm_chan_recv(e.b, &m), 1);
    assert_int_equal(m.type, GVM_MSG_POLICY_LOAD);
    assert_int_equal(m.id, 7);
    assert_str(gvm_msg_str(&m), "{\"config\":null}");
    gvm_msg_done(&m);
    assert_int_equal(gvm_chan_recv(e.b, &m), 1);
    assert_str(gvm_msg_str(&m), "{}  ");
    assert_int_equal(gvm_chan_recv(e.b, &m), 0);
    gvm_chan_free(e.a);
    assert_int_equal(gvm_chan_recv(e.b, &m), -EPIPE);
    assert_int_equal(gvm_chan_send(e.b, GVM_MSG_STOP, 0, NULL, 0, NULL, 0), -EPIPE);
    gvm_chan_free(e.b);
}

static void what_the_catalogue_forbids_is_not_sent(void **state)
{
    struct ends e = ends(GVM_ROLE_CONTROL, GVM_ROLE_PARENT, 1 << 20);
    assert_int_equal(gvm_chan_send(e.a, GVM_MSG_STOP, 0, NULL, 0, NULL, 0),
                     -EMSGSIZE); /* the parent's */
    assert_int_equal(gvm_chan_send(e.a, GVM_MSG_READY, 0, "x", 1, NULL, 0),
                     -EMSGSIZE); /* too long */
    assert_int_equal(gvm_chan_send(e.a, GVM_MSG_POLICY_LOAD, 0, "", 0, NULL, 0), -EMSGSIZE);
    assert_int_equal(gvm_chan_send(e.a, GVM_MSG_NONE, 0, NULL, 0, NULL, 0), -EMSGSIZE);
    assert_int_equal(gvm_chan_send(e.a, GVM_MSG_MAX, 0, NULL, 0, NULL, 0), -EMSGSIZE);
    int fd = 0;
    assert_int_equal(gvm_chan_send(e.a, GVM_MSG_READY, 0, NULL, 0, &fd, 1), -EMSGSIZE);
    assert_int_equal(gvm_chan_send(e.a, GVM_MSG_READY, 0, NULL, 0, NULL, 0), 0);
    done(e);
}

/* A peer that was taken over may send anything: each of these must end the connection. */
static void what_the_catalogue_forbids_is_refused(void **state)
{
    const struct gvm_frame ok = {.type = GVM_MSG_READY};
    struct {
        struct gvm_frame f;
        size_t extra; /* bytes behind the header */
        unsigned nfds;
        int r;
    } rows[] = {
        {ok, 0, 0, 1},
        {{.type = GVM_MSG_NONE}, 0, 0, -EPROTO},
        {{.type = GVM_MSG_MAX}, 0, 0, -EPROTO},
        {{.type = 0xffff}, 0, 0, -EPROTO},
        {{.type = GVM_MSG_STOP}, 0, 0, -EPROTO},                 /* not control's to send */
        {{.type = GVM_MSG_RUN_FINISH, .len = 2}, 2, 0, -EPROTO}, /* a client's */
        {{.type = GVM_MSG_READY, .len = 1}, 0, 0, -EPROTO},      /* claims more than there is */
        {{.type = GVM_MSG_READY}, 1, 0, -EPROTO},                /* more than it claims */
        {{.type = GVM_MSG_READY, .len = 1}, 1, 0, -EPROTO},      /* row says empty */
        {{.type = GVM_MSG_READY, .len = UINT32_MAX}, 0, 0, -EPROTO},
        {{.type = GVM_MSG_READY}, 0, 1, -EPROTO},            /* no descriptors allowed */
        {{.type = GVM_MSG_FAILED, .len = 3}, 3, 0, -EPROTO}, /* shorter than its struct */
        {{.type = GVM_MSG_POLICY_LOAD, .len = 2}, 2, 0, 1},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct ends e = ends(GVM_ROLE_CONTROL, GVM_ROLE_PARENT, 1 << 20);
        uint8_t packet[64] = {0};
        rows[i].f.catalogue = gvm_catalogue();
        memcpy(packet, &rows[i].f, sizeof rows[i].f);
        struct iovec iov = {packet, sizeof rows[i].f + rows[i].extra};
        union {
            struct cmsghdr h;
            char bytes[CMSG_SPACE(sizeof(int))];
        } space = {0};
        struct msghdr mh = {.msg_iov = &iov, .msg_iovlen = 1};
        int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
        if (rows[i].nfds) {
            mh.msg_control = space.bytes;
            mh.msg_controllen = sizeof space.bytes;
            space.h.cmsg_level = SOL_SOCKET;
            space.h.cmsg_type = SCM_RIGHTS;
            space.h.cmsg_len = CMSG_LEN(sizeof(int));
            memcpy(CMSG_DATA(&space.h), &fd, sizeof fd);
        }
        assert_true(sendmsg(gvm_chan_fd(e.a), &mh, 0) > 0);
        close(fd);
        int before = open("/dev/null", O_RDONLY | O_CLOEXEC);
        close(before);
        struct gvm_msg m;
        assert_int_equal(gvm_chan_recv(e.b, &m), rows[i].r);
        int after = open("/dev/null", O_RDONLY | O_CLOEXEC); /* refused descriptors were closed */
        assert_int_equal(before, after);
        close(after);
        done(e);
    }
}

/* Another version's numbers mean other things: it is told apart, whatever it says. */
static void another_version_is_told_apart(void **state)
{
    struct ends e = ends(GVM_ROLE_CONTROL, GVM_ROLE_PARENT, 1 << 20);
    struct gvm_frame f = {.type = GVM_MSG_READY, .catalogue = gvm_catalogue() ^ 1};
    struct gvm_msg m;
    struct gvm_err err = {0};
    assert_true(gvm_catalogue() != 0);
    assert_int_equal(send(gvm_chan_fd(e.a), &f, sizeof f, 0), sizeof f);
    assert_int_equal(gvm_chan_recv(e.b, &m), -EPROTONOSUPPORT);
    assert_int_equal(send(gvm_chan_fd(e.b), &f, sizeof f, 0), sizeof f);
    assert_int_equal(
        gvm_chan_call(e.a, GVM_MSG_STATUS, NULL, 0, NULL, 0, 1000, NULL, NULL, &m, &err),
        -EPROTONOSUPPORT);
    assert_non_null(strstr(err.text, "another version"));
    done(e);
}

static void short_and_huge_packets(void **state)
{
    static uint8_t big[GVM_MAX_FRAME + 100];
    struct ends e = ends(GVM_ROLE_CONTROL, GVM_ROLE_PARENT, 1 << 20);
    struct gvm_msg m;
    struct gvm_frame f = {
        .type = GVM_MSG_POLICY_LOAD, .catalogue = gvm_catalogue(), .len = sizeof big - sizeof f};
    memcpy(big, &f, sizeof f);
    assert_true(send(gvm_chan_fd(e.a), big, 15, 0) == 15);
    assert_int_equal(gvm_chan_recv(e.b, &m), -EPROTO);
    assert_true(send(gvm_chan_fd(e.a), big, sizeof big, 0) == sizeof big);
    assert_int_equal(gvm_chan_recv(e.b, &m), -EPROTO);
    done(e);
}

static void descriptors_travel(void **state)
{
    struct ends e = ends(GVM_ROLE_PARENT, GVM_ROLE_CONTROL, 1 << 20);
    int p[2];
    assert_int_equal(pipe(p), 0);
    struct gvm_m_peer peer = {.role = GVM_ROLE_PROXY};
    assert_int_equal(gvm_chan_send(e.a, GVM_MSG_PEER, 0, &peer, sizeof peer, &p[1], 1), 0);
    close(p[1]);
    struct gvm_msg m;
    assert_int_equal(gvm_chan_recv(e.b, &m), 1);
    assert_int_equal(m.nfds, 1);
    assert_int_equal(fcntl(m.fds[0], F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    int kept = gvm_steal_fd(&m.fds[0]);
    gvm_msg_done(&m);
    assert_int_equal(write(kept, "x", 1), 1);
    close(kept);
    char c;
    assert_int_equal(read(p[0], &c, 1), 1);
    assert_int_equal(read(p[0], &c, 1), 0); /* every copy is closed */
    close(p[0]);
    done(e);
}

/* More than the socket takes: the rest waits, in order, with its descriptors, up to the bound. */
static void waiting_frames_keep_their_order(void **state)
{
    struct ends e = ends(GVM_ROLE_PARENT, GVM_ROLE_CONTROL, 4 << 10);
    struct gvm_m_peer peer = {.role = 0};
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    uint32_t sent = 0;
    int r;
    while ((r = gvm_chan_send(e.a, GVM_MSG_PEER, sent, &peer, sizeof peer, &fd, 1)) == 0) {
        peer.role = ++sent;
        assert_true(sent < 100000);
    }
    close(fd);
    assert_int_equal(r, -ENOBUFS);
    assert_true(gvm_chan_wants_write(e.a));
    uint32_t got = 0;
    for (;;) {
        struct gvm_msg m;
        while (gvm_chan_recv(e.b, &m) == 1) {
            struct gvm_m_peer p;
            memcpy(&p, m.data, sizeof p);
            assert_int_equal(p.role, got);
            assert_int_equal(m.id, got);
            assert_int_equal(m.nfds, 1);
            got++;
            gvm_msg_done(&m);
        }
        if (!gvm_chan_wants_write(e.a))
            break;
        assert_int_equal(gvm_chan_flush(e.a), 0);
    }
    assert_int_equal(got, sent);
    done(e);
}

static void last_words_are_heard(void **state)
{
    /* The peer answers and dies with our next request unread: the answer must still come. */
    struct ends e = ends(GVM_ROLE_CONTROL, GVM_ROLE_PARENT, 1 << 20);
    assert_int_equal(gvm_chan_send(e.b, GVM_MSG_STOP, 0, NULL, 0, NULL, 0), 0);
    assert_int_equal(gvm_chan_send(e.a, GVM_MSG_READY, 0, NULL, 0, NULL, 0), 0);
    gvm_chan_free(e.b);
    struct gvm_msg m;
    assert_int_equal(gvm_chan_recv(e.a, &m), 1);
    assert_int_equal(m.type, GVM_MSG_STOP);
    assert_int_equal(gvm_chan_recv(e.a, &m), -EPIPE);
    gvm_chan_free(e.a);
}

/* ---- calls ---- */

static void *server(void *arg)
{
    struct gvm_chan *c = arg;
    struct gvm_msg m;
    for (unsigned served = 0; served < 3;) {
        int r = gvm_chan_recv(c, &m);
        if (r < 0)
            break;
        if (r == 0) {
            usleep(1000);
            continue;
        }
        struct gvm_err err = {0};
        gvm_err_set(&err, EBUSY, "2 agents are running");
        if (served == 0) {
            (void)!gvm_chan_send(c, GVM_MSG_APPROVAL_NEWS, 0, "{}", 2, NULL, 0);
            (void)!gvm_chan_send(c, GVM_MSG_INFO, m.id, "{\"a\":1}", 7, NULL, 0);
        } else if (served == 1) {
            gvm_chan_fail(c, m.id, &err);
        } /* the third gets no answer */
        served++;
        gvm_msg_done(&m);
    }
    return NULL;
}

static void count_news(void *arg, const struct gvm_msg *m)
{
    *(unsigned *)arg += m->type == GVM_MSG_APPROVAL_NEWS;
}

static void calls(void **state)
{
    struct ends e = ends(GVM_ROLE_CLIENT, GVM_ROLE_CONTROL, 1 << 20);
    pthread_t t;
    pthread_create(&t, NULL, server, e.b);
    unsigned news = 0;
    struct gvm_msg m;
    struct gvm_err err = {0};
    assert_int_equal(gvm_chan_call(e.a, GVM_MSG_CLIENT_STATUS, NULL, 0, NULL, 0, 5000, count_news,
                                   &news, &m, &err),
                     0);
    assert_int_equal(m.type, GVM_MSG_INFO);
    assert_str(gvm_msg_str(&m), "{\"a\":1}");
    gvm_msg_done(&m);
    assert_int_equal(news, 1);
    assert_int_equal(
        gvm_chan_call(e.a, GVM_MSG_CLIENT_STOP, NULL, 0, NULL, 0, 5000, NULL, NULL, &m, &err),
        -EBUSY);
    assert_string_equal(err.text, "2 agents are running");
    assert_int_equal(
        gvm_chan_call(e.a, GVM_MSG_CLIENT_STATUS, NULL, 0, NULL, 0, 60, NULL, NULL, &m, &err),
        -ETIMEDOUT);
    pthread_join(t, NULL);
    gvm_chan_free(e.b);
    assert_int_equal(
        gvm_chan_call(e.a, GVM_MSG_CLIENT_STATUS, NULL, 0, NULL, 0, 1000, NULL, NULL, &m, &err),
        -EPIPE);
    gvm_chan_free(e.a);
}

/* ---- sockets by path ---- */

static void listening_and_connecting(void **state)
{
    char dir[300] = "/tmp/gvm-ipc-XXXXXX", path[400];
    assert_non_null(mkdtemp(dir));
    struct gvm_err err = {0};
    for (int deep = 0; deep < 2; deep++) {
        if (deep) { /* longer than sun_path */
            size_t n = strlen(dir);
            dir[n] = '/';
            memset(dir + n + 1, 'd', 150);
            dir[n + 151] = '\0';
            assert_int_equal(mkdir(dir, 0700), 0);
        }
        snprintf(path, sizeof path, "%s/gvmd.sock", dir);
        int l = -1, c = -1, a = -1;
        assert_int_equal(gvm_ipc_connect(path, &c, &err), -ENOENT);
        assert_int_equal(gvm_ipc_listen(path, &l, &err), 0);
        struct stat st;
        assert_int_equal(stat(path, &st), 0);
        assert_int_equal(st.st_mode & 0777, 0600);
        assert_int_equal(gvm_ipc_accept(l, &a), -EAGAIN);
        assert_int_equal(gvm_ipc_connect(path, &c, &err), 0);
        assert_int_equal(gvm_ipc_accept(l, &a), 0);
        assert_int_equal(send(c, "x", 1, 0), 1);
        close(l);
        close(c);
        close(a);
        assert_int_equal(gvm_ipc_connect(path, &c, &err), -ECONNREFUSED);
        assert_int_equal(gvm_ipc_listen(path, &l, &err), 0); /* a dead socket is cleared away */
        close(l);
        unlink(path);
        int file = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        close(file);
        assert_int_equal(gvm_ipc_listen(path, &l, &err), -EEXIST); /* a file is not */
        unlink(path);
    }
    rmdir(dir);
    *strrchr(dir, '/') = '\0';
    rmdir(dir);
}

static void the_catalogue_is_complete(void **state)
{
    for (unsigned t = GVM_MSG_NONE + 1; t < GVM_MSG_MAX; t++) {
        const struct gvm_msg_row *row = gvm_msg_row(t);
        assert_non_null(row);
        assert_true(row->from && row->to && row->min <= row->max &&
                    row->max_fds <= GVM_MAX_FRAME_FDS);
        assert_true(row->max + sizeof(struct gvm_frame) <= GVM_MAX_FRAME);
    }
    assert_null(gvm_msg_row(GVM_MSG_NONE));
    assert_null(gvm_msg_row(GVM_MSG_MAX));
    assert_null(gvm_msg_row(65535));
    assert_string_equal(gvm_role_name(GVM_ROLE_LEDGER), "ledger");
    assert_string_equal(gvm_role_name((enum gvm_role)99), "unknown");
}

static void every_allocation_may_fail(void **state)
{
    if (!unit_can_fail)
        return; /* AddressSanitizer has its own allocator */
    for (long n = 1; n < 50; n++) {
        int fds[2];
        assert_int_equal(gvm_ipc_pair(fds), 0);
        struct gvm_msg m;
        unit_fail_at = n;
        struct gvm_chan *a = gvm_chan_new(fds[0], GVM_ROLE_PARENT, GVM_ROLE_CONTROL, 1 << 20);
        struct gvm_chan *b = gvm_chan_new(fds[1], GVM_ROLE_CONTROL, GVM_ROLE_PARENT, 1 << 20);
        int r = a && b ? 0 : -ENOMEM;
        int fd = 2;
        struct gvm_m_peer p = {0};
        for (int i = 0; r == 0 && i < 1000; i++)
            r = gvm_chan_send(a, GVM_MSG_PEER, 0, &p, sizeof p, &fd, 1);
        if (r == 0)
            r = gvm_chan_recv(b, &m) == 1 ? 0 : -ENOMEM;
        if (r == 0)
            gvm_msg_done(&m);
        bool reached = unit_fail_at == 0;
        unit_fail_at = 0;
        if (!a)
            close(fds[0]);
        if (!b)
            close(fds[1]);
        gvm_chan_free(a);
        gvm_chan_free(b);
        if (!reached) {
            assert_int_equal(r, 0);
            return;
        }
        assert_int_equal(r, -ENOMEM);
        n += n > 5 ? 8 : 0;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frames_arrive_whole),
        cmocka_unit_test(what_the_catalogue_forbids_is_not_sent),
        cmocka_unit_test(what_the_catalogue_forbids_is_refused),
        cmocka_unit_test(another_version_is_told_apart),
        cmocka_unit_test(short_and_huge_packets),
        cmocka_unit_test(descriptors_travel),
        cmocka_unit_test(waiting_frames_keep_their_order),
        cmocka_unit_test(last_words_are_heard),
        cmocka_unit_test(calls),
        cmocka_unit_test(listening_and_connecting),
        cmocka_unit_test(the_catalogue_is_complete),
        cmocka_unit_test(every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
