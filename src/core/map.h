/* core/map.h - a hash map from byte strings to pointers, safe against chosen keys (SipHash). */
#ifndef GVM_CORE_MAP_H
#define GVM_CORE_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include "core/err.h"
#include "core/str.h"

struct gvm_map;

/* `max` entries at most; `free_value` (may be NULL) is called for values dropped or replaced. */
struct gvm_map *gvm_map_new(size_t max, void (*free_value)(void *)) GVM_MUST_CHECK;
void gvm_map_free(struct gvm_map *m);
size_t gvm_map_size(const struct gvm_map *m);
/* NULL when absent. */
void *gvm_map_get(const struct gvm_map *m, struct gvm_str key);
/* Copies the key, takes the value; replaces an older value. -ENOBUFS past max (value not taken). */
int gvm_map_put(struct gvm_map *m, struct gvm_str key, void *value) GVM_MUST_CHECK;
/* Removes and returns the value without freeing it; NULL when absent. */
void *gvm_map_take(struct gvm_map *m, struct gvm_str key);
/* Removes and frees. True if it was there. */
bool gvm_map_del(struct gvm_map *m, struct gvm_str key);
/* Iteration: start with *pos = 0; false at the end. No put or del meanwhile. */
bool gvm_map_next(const struct gvm_map *m, size_t *pos, struct gvm_str *ret_key, void **ret_value);

#endif
