/* conf/toml_shim.h - a plain C face on toml++: text in, tree of nodes with line and column out.
 *
 * Stands alone (no core header), so that the C++ side needs nothing of ours and nothing of C++ gets
 * out: every exception ends inside.
 */
#ifndef GVM_CONF_TOML_SHIM_H
#define GVM_CONF_TOML_SHIM_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { /* bits, so that a field can name several */
       CONF_TABLE = 1,
       CONF_ARRAY = 2,
       CONF_STRING = 4,
       CONF_INT = 8,
       CONF_FLOAT = 16,
       CONF_BOOL = 32,
       CONF_TIME = 64,        /* date-time with an offset */
       CONF_LOCAL_TIME = 128, /* date, time or date-time without one */
};

/* line and column of a value are where it stands; those of a key are where the key stands. Members
 * of a table come in the order of the file. */
struct conf_node {
    uint32_t type;
    uint32_t line, col;
    uint32_t key_line, key_col;
    const char *key; /* not NUL-ended; NULL for elements of an array */
    size_t key_len;
    const char
        *text; /* STRING: its bytes; TIME: RFC 3339; FLOAT: shortest digits that give it back */
    size_t len;
    int64_t num; /* INT, BOOL */
    struct conf_node *child, *next;
};

struct conf_toml;

/* 0: *ret owns the tree below *ret_root. -EINVAL: malformed, *ret_line, *ret_col and msg say where
 * and why. -ENOMEM. */
int conf_toml_parse(const char *text, size_t n, struct conf_toml **ret,
                    const struct conf_node **ret_root, uint32_t *ret_line, uint32_t *ret_col,
                    char *msg, size_t msg_cap);
/* Wipes every string (credentials may be among them) and frees. NULL is fine. */
void conf_toml_free(struct conf_toml *t);

#ifdef __cplusplus
}
#endif

#endif
