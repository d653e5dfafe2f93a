/* What the proxy knows of names: the resolvers of /etc/resolv.conf and the text of /etc/hosts.
 *
 * A laptop changes its network under a daemon that runs for weeks. The files are replaced,
 * rewritten or links into other directories, depending on who manages them, so they are not watched
 * but looked at.
 */
#include <errno.h>
#include <sys/stat.h>

#include "daemon/daemon_int.h"

#define HOSTS_MAX (64u * 1024u) /* of /etc/hosts; leaves room for escapes in one frame */
#define RESOLVERS 3             /* as resolv.conf(5) */
#define LOOK_NS   (5 * 1000000000ll)

static const char *const paths[DAEMON_NAME_FILES] = {"/etc/resolv.conf", "/etc/hosts"};

static void put_resolvers(struct gvm_jw *w)
{
    struct gvm_buf text;
    gvm_buf_init(&text, HOSTS_MAX);
    (void)!gvm_read_file("/etc/resolv.conf", &text, NULL);
    gvm_jw_key(w, "resolvers");
    gvm_jw_array(w);
    struct gvm_str rest = gvm_buf_str(&text), line;
    unsigned n = 0;
    while (rest.n && n < RESOLVERS) {
        (void)gvm_str_cut(&rest, '\n', &line);
        if (!gvm_str_starts(line, GVM_STR("nameserver")))
            continue;
        line = gvm_str_trim((struct gvm_str){line.p + 10, line.n - 10});
        for (size_t i = 0; i < line.n; i++) {
            if (line.p[i] == ' ' || line.p[i] == '\t' || line.p[i] == '#' || line.p[i] == ';')
                line.n = i;
        }
        if (line.n == 0)
            continue;
        gvm_jw_str(w, line);
        n++;
    }
    if (n == 0)
        gvm_jw_strz(w, "127.0.0.1");
    gvm_jw_array_end(w);
    gvm_buf_done(&text);
}

/* Whole lines of /etc/hosts, as many as fit. */
static void put_hosts(struct gvm_jw *w)
{
    struct gvm_buf text;
    gvm_buf_init(&text, HOSTS_MAX);
    int r = gvm_read_file("/etc/hosts", &text, NULL);
    struct gvm_str s = gvm_buf_str(&text);
    while (r == -EFBIG && s.n && s.p[s.n - 1] != '\n')
        s.n--;
    if (r == -EFBIG)
        gvm_log(GVM_LOG_WARN, "/etc/hosts is larger than %u bytes; the rest is not used",
                HOSTS_MAX);
    gvm_jw_kstr(w, "hosts", s);
    gvm_buf_done(&text);
}

void daemon_put_names(struct gvm_jw *w)
{
    put_resolvers(w);
    put_hosts(w);
}

/* Zero for a file that is not there. */
static struct daemon_name_file look_at(const char *path)
{
    struct stat st;
    if (stat(path, &st) < 0)
        return (struct daemon_name_file){0};
    return (struct daemon_name_file){st.st_dev, st.st_ino, st.st_size, st.st_mtim.tv_sec,
                                     st.st_mtim.tv_nsec};
}

static bool same(const struct daemon_name_file *a, const struct daemon_name_file *b)
{
    return a->dev == b->dev && a->ino == b->ino && a->size == b->size && a->sec == b->sec &&
           a->nsec == b->nsec;
}

static bool changed(struct daemon *d)
{
    bool any = false;
    for (size_t i = 0; i < DAEMON_NAME_FILES; i++) {
        struct daemon_name_file now = look_at(paths[i]);
        any |= !same(&now, &d->names[i]);
        d->names[i] = now;
    }
    return any;
}

static void send_names(struct daemon *d)
{
    struct gvm_buf out;
    struct gvm_jw w;
    gvm_buf_init(&out, GVM_MAX_FRAME);
    gvm_jw_init(&w, &out);
    gvm_jw_object(&w);
    daemon_put_names(&w);
    gvm_jw_object_end(&w);
    if (!out.failed)
        (void)daemon_child_send(daemon_child(d, GVM_ROLE_PROXY), GVM_MSG_NAMES, 0,
                                gvm_buf_data(&out), out.len, NULL, 0);
    gvm_buf_done(&out);
}

int daemon_names_due(struct daemon *d)
{
    int64_t now = gvm_mono_ns();
    if (now >= d->names_ns) {
        bool first = d->names_ns == 0; /* START has brought them */
        if (changed(d) && !first) {
            gvm_log(GVM_LOG_INFO, "resolv.conf or hosts has changed");
            send_names(d);
        }
        d->names_ns = now + LOOK_NS;
    }
    return (int)((d->names_ns - now) / 1000000) + 1;
}
