/* entry.c - how every producer builds an entry, and what the writer accepts as one.
 *
 * An entry is one JSON object on one line, and begins with the members v, t and kind in this order,
 * so that the writer can tell the kind of an entry without parsing the rest. What an agent or a
 * person chose (names, paths, commands) comes last, behind gvm_entry_private().
 */
#include <assert.h>
#include <errno.h>
#include "ledger/ledger_int.h"
#include "ledger/private.h"

void gvm_entry_begin(struct gvm_jw *w, struct gvm_buf *out, const char *kind, const char *run,
                     const char *agent)
{
    char now[GVM_TIME_TEXT];
    gvm_time_text(now, gvm_now_ns());
    gvm_jw_init(w, out);
    gvm_jw_object(w);
    gvm_jw_kint(w, "v", 1);
    gvm_jw_kstrz(w, "t", now);
    gvm_jw_kstrz(w, "kind", kind);
    if (run)
        gvm_jw_kstrz(w, "run", run);
    if (agent)
        gvm_jw_kstrz(w, "agent", agent);
}

/* Salt and commitment are filled in by the ledger process: who writes an entry has no say in them.
 */
void gvm_entry_private(struct gvm_jw *w)
{
    static const char blank[] = "............................................";
    static_assert(sizeof blank - 1 == GVM_B64_LEN(PRIVATE_HASH), "as long as a commitment");
    gvm_jw_kstr(w, "private", (struct gvm_str){blank, GVM_B64_LEN(PRIVATE_HASH)});
    gvm_jw_kstr(w, "salt", (struct gvm_str){blank, GVM_B64_LEN(PRIVATE_SALT)});
    if (!w->out->failed)
        gvm_buf_data(w->out)[w->start + sizeof "{\"v\":" - 1] = '2';
}

int gvm_entry_end(struct gvm_jw *w)
{
    gvm_jw_object_end(w);
    /* An append that failed did so for want of room: of the buffer, or of memory below 64 KiB. */
    return w->out->failed || w->out->len > GVM_MAX_ENTRY ? -E2BIG : 0;
}

/* One line of UTF-8 without control bytes. Plain ASCII, the usual case, goes eight bytes at a time.
 */
static bool text_ok(struct gvm_str s)
{
    const uint64_t high = 0x8080808080808080u, space = 0x2020202020202020u;
    uint64_t low = 0, bits = 0, word;
    size_t i = 0;
    for (; i + 8 <= s.n; i += 8) {
        memcpy(&word, s.p + i, 8);
        bits |= word;
        low |= (word - space) & ~word; /* exact for the lowest such byte: enough to know of one */
    }
    for (; i < s.n; i++) {
        bits |= (unsigned char)s.p[i];
        low |= (unsigned char)s.p[i] < 0x20 ? high : 0;
    }
    return !(low & high) && (!(bits & high) || gvm_utf8_valid(s));
}

bool ledger_line_ok(struct gvm_str line)
{
    return line.n >= 2 && line.n <= GVM_MAX_ENTRY && line.p[0] == '{' &&
           line.p[line.n - 1] == '}' && text_ok(line);
}
