/* gvm run -i: hosts that no rule named, asked about one by one; the answers become rules at the end
 * of the rule file, which is checked before it replaces the old one. */
#include "cli/run.h"

#include "conf/conf.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* A, d or nothing. */
static char ask_about(const char *host)
{
    char line[64];
    cli_fresh_line();
    fputs("gvm: ", stderr);
    cli_print_safe(stderr, gvm_str(host));
    fputs(": [a]llow, [d]eny, or leave it? ", stderr);
    fflush(stderr);
    if (!fgets(line, sizeof(line), stdin))
        return '\0';
    return line[0] == 'a' || line[0] == 'A' ? 'a' : line[0] == 'd' || line[0] == 'D' ? 'd' : 'n';
}

/* A host goes into a TOML string only when it is nothing but a host. */
static bool is_plain(const char *host)
{
    return *host && host[strspn(host, "abcdefghijklmnopqrstuvwxyz0123456789.-:[]_")] == '\0';
}

static void put_rule(struct gvm_buf *out, const char *host, char answer)
{
    gvm_buf_addf(out,
                 "\n[[rules]]\nname = \"%s, asked at the end of a run\"\nmethod = \"*\"\n"
                 "pattern = \"%s/**\"\ndecision = { type = \"%s\" }\n",
                 host, host, answer == 'a' ? "Allow" : "Deny");
}

static int write_rules(const char *path, const struct gvm_buf *text, struct gvm_err *err)
{
    struct gvm_conf *conf = NULL;
    char dir[GVM_PATH_MAX];
    const char *slash = strrchr(path, '/');
    struct stat st;
    mode_t mode = stat(path, &st) == 0 ? st.st_mode & 0777 : 0600;
    if (!slash ||
        gvm_str_copy(dir, sizeof(dir), (struct gvm_str){path, (size_t)(slash - path)}) < 0)
        return gvm_err_set(err, EINVAL, "no place for rules");
    int r = gvm_conf_parse(gvm_buf_str(text), path, dir, &conf, err);
    gvm_conf_free(conf);
    if (r == 0)
        r = gvm_mkdirs(dir, 0700, err);
    if (r < 0)
        return r;
    GVM_AUTOCLOSE int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd < 0 ? gvm_err_sys(err, errno, "cannot open %s", dir)
                  : gvm_write_file_at(fd, slash + 1, gvm_buf_data(text), text->len, mode, err);
}

static int add_rules(struct run *r, const struct gvm_buf *rules, struct gvm_err *err)
{
    GVM_CLEANUP(gvm_buf_wipe) struct gvm_buf text;
    gvm_buf_init(&text, GVM_MAX_CONFIG);
    text.secret = true;
    int x = r->has_config ? gvm_read_file(r->config, &text, err)
                          : gvm_place(GVM_PLACE_CONFIG, r->config, err);
    if (x < 0)
        return x;
    if (gvm_buf_adds(&text, gvm_buf_str(rules)) < 0)
        return gvm_err_set(err, EFBIG, "the rule file is too large");
    return write_rules(r->config, &text, err);
}

void run_ask(struct run *r)
{
    GVM_CLEANUP(gvm_buf_done) struct gvm_buf rules;
    struct gvm_err err = {0};
    const char *host;
    gvm_buf_init(&rules, 1u << 20);
    if (!isatty(0) || !isatty(2))
        return;
    for (unsigned i = 0; (host = run_watch_unknown(r, i)) != NULL; i++) {
        char answer = is_plain(host) ? ask_about(host) : 'n';
        if (answer == '\0')
            break;
        if (answer != 'n')
            put_rule(&rules, host, answer);
    }
    if (!rules.len)
        return;
    if (add_rules(r, &rules, &err) < 0)
        cli_fail(GVM_EXIT_ERROR, &err);
    else
        cli_say("the rules are in %s (gvm reload, when other runs live)", r->config);
}
