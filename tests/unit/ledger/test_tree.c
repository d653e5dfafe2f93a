/* RFC 6962 hashes and trees: the known vectors, the writer's tree against the verifier's, paths. */
#include "ledger_test.h"
#include "ledger/verify_int.h"

/* The eight leaves and the roots of the first n of them, as published with
 * certificate-transparency. */
static const char *const leaves[8] = {
    "",
    "00",
    "10",
    "2021",
    "3031",
    "40414243",
    "5051525354555657",
    "606162636465666768696a6b6c6d6e6f",
};
static const char *const roots[9] = {
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
};

/* The complete subtrees of [lo, hi) of the leaves, by trying. */
static size_t subtrees(struct ledger_hasher *h, uint8_t (*leaf)[32], size_t lo, size_t hi,
                       uint8_t (*ret)[32])
{
    static struct ledger_tree part;
    size_t n = 0;
    while (lo < hi) {
        size_t width = 1;
        while (lo % (2 * width) == 0 && lo + 2 * width <= hi)
            width *= 2;
        ledger_tree_init(&part, h);
        for (size_t i = 0; i < width; i++)
            ledger_tree_add(&part, leaf[lo + i]);
        ledger_tree_root(&part, ret[n++]);
        lo += width;
    }
    return n;
}

/* What the keys process is shown of a tree that grew: from each size to each later one. */
static void test_since_a_mark(void **state)
{
    enum { LEAVES = 80 };
    static struct ledger_tree t;
    static uint8_t leaf[LEAVES][32], want[GVM_SIGN_NODES][32], got[GVM_SIGN_NODES][32];
    struct ledger_hasher h = {0};
    assert_int_equal(ledger_hasher_init(&h), 0);
    for (unsigned i = 0; i < LEAVES; i++)
        ledger_hash_leaf(&h, &i, sizeof i, leaf[i]);
    for (size_t from = 1; from < LEAVES; from++) {
        ledger_tree_init(&t, &h);
        t.mark_at = from;
        for (size_t i = 0; i < LEAVES; i++) {
            ledger_tree_add(&t, leaf[i]);
            if (t.size < from)
                continue;
            size_t n = subtrees(&h, leaf, 0, from, want);
            n += subtrees(&h, leaf, from, t.size, want + n);
            assert_int_equal(t.mark[MARK_SIGNED].size, from);
            assert_int_equal(ledger_tree_since(&t, MARK_SIGNED, got), n);
            assert_memory_equal(got, want, n * 32);
        }
    }
    ledger_hasher_done(&h);
}

static void assert_hex(const uint8_t hash[32], const char *hex)
{
    char got[65];
    gvm_hex(got, hash, 32);
    assert_string_equal(got, hex);
}

static size_t leaf_bytes(unsigned i, uint8_t dst[16])
{
    size_t n = strlen(leaves[i]) / 2;
    assert_int_equal(gvm_unhex(dst, n, gvm_str(leaves[i])), 0);
    return n;
}

static void test_known_roots(void **state)
{
    struct ledger_hasher h = {0};
    struct vhasher vh = {0};
    static struct ledger_tree t;
    struct vtree v = {.h = &vh};
    uint8_t hash[32], other[32], data[16];
    assert_int_equal(ledger_hasher_init(&h), 0);
    assert_int_equal(vhasher_init(&vh, NULL), 0);
    ledger_tree_init(&t, &h);
    for (unsigned i = 0;; i++) {
        ledger_tree_root(&t, hash);
        assert_hex(hash, roots[i]);
        vtree_root(&v, hash);
        assert_hex(hash, roots[i]);
        if (i == 8)
            break;
        size_t n = leaf_bytes(i, data);
        ledger_hash_leaf(&h, data, n, hash);
        vhash_leaf(&vh, data, n, other);
        assert_memory_equal(hash, other, 32);
        ledger_tree_add(&t, hash);
        assert_int_equal(vtree_add(&v, other, NULL), 0);
    }
    ledger_hasher_done(&h);
    vhasher_done(&vh);
}

/* Leaf and node hashes are of two kinds: neither can stand for the other. */
static void test_domain_separation(void **state)
{
    struct vhasher h;
    uint8_t a[32], b[32], both[64], node[32], leaf[32];
    assert_int_equal(vhasher_init(&h, NULL), 0);
    vhash_leaf(&h, "a", 1, a);
    vhash_leaf(&h, "b", 1, b);
    memcpy(both, a, 32);
    memcpy(both + 32, b, 32);
    vhash_node(&h, a, b, node);
    vhash_leaf(&h, both, 64, leaf);
    assert_memory_not_equal(node, leaf, 32);
    vhash_node(&h, b, a, leaf);
    assert_memory_not_equal(node, leaf, 32);
    vhasher_done(&h);
}

/* RFC 6962 MTH by its definition, over hashes of leaves. */
static void mth(struct vhasher *h, const uint8_t (*leaf)[32], size_t n, uint8_t ret[32])
{
    if (n == 1) {
        memcpy(ret, leaf[0], 32);
        return;
    }
    size_t k = 1;
    while (k * 2 < n)
        k *= 2;
    uint8_t l[32], r[32];
    mth(h, leaf, k, l);
    mth(h, leaf + k, n - k, r);
    vhash_node(h, l, r, ret);
}

static size_t path_of(struct vhasher *h, size_t m, const uint8_t (*leaf)[32], size_t n,
                      uint8_t (*path)[32])
{
    if (n == 1)
        return 0;
    size_t k = 1;
    while (k * 2 < n)
        k *= 2;
    size_t len = m < k ? path_of(h, m, leaf, k, path) : path_of(h, m - k, leaf + k, n - k, path);
    if (m < k)
        mth(h, leaf + k, n - k, path[len]);
    else
        mth(h, leaf, k, path[len]);
    return len + 1;
}

enum { MANY = 70 };
static uint8_t many[MANY][32];

static void fill_many(struct vhasher *h)
{
    assert_int_equal(vhasher_init(h, NULL), 0);
    for (uint8_t i = 0; i < MANY; i++)
        vhash_leaf(h, &i, 1, many[i]);
}

static void test_inclusion_all(void **state)
{
    struct vhasher h;
    uint8_t path[64][32], root[32], got[32];
    fill_many(&h);
    for (size_t n = 1; n <= MANY; n++) {
        mth(&h, (const uint8_t(*)[32])many, n, root);
        for (size_t m = 0; m < n; m++) {
            size_t len = path_of(&h, m, (const uint8_t(*)[32])many, n, path);
            assert_true(vproof_root(&h, m, n, many[m], (const uint8_t(*)[32])path, len, got));
            assert_memory_equal(got, root, 32);
        }
    }
    vhasher_done(&h);
}

static bool holds(struct vhasher *h, size_t m, size_t n, const uint8_t leaf[32],
                  uint8_t (*path)[32], size_t len, const uint8_t root[32])
{
    uint8_t got[32];
    return vproof_root(h, m, n, leaf, (const uint8_t(*)[32])path, len, got) &&
           !memcmp(got, root, 32);
}

static void test_inclusion_refused(void **state)
{
    struct vhasher h;
    uint8_t path[64][32], root[32];
    fill_many(&h);
    size_t n = 45, m = 17;
    mth(&h, (const uint8_t(*)[32])many, n, root);
    size_t len = path_of(&h, m, (const uint8_t(*)[32])many, n, path);
    assert_true(holds(&h, m, n, many[m], path, len, root));
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(holds(&h, i, n, many[m], path, len, root), i == m);
        assert_int_equal(holds(&h, m, n, many[i], path, len, root), i == m);
    }
    for (size_t k = 0; k <= len + 1; k++) {
        memset(path[len], 7, 64);
        assert_int_equal(holds(&h, m, n, many[m], path, k, root), k == len);
    }
    for (size_t k = 0; k < len; k++) {
        path[k][31] ^= 1;
        assert_false(holds(&h, m, n, many[m], path, len, root));
        path[k][31] ^= 1;
    }
    assert_false(holds(&h, m, m, many[m], path, len, root));
    assert_false(holds(&h, 0, 1, root, path, 1, root));
    assert_true(holds(&h, 0, 1, root, path, 0, root)); /* a log of one entry: leaf hash = root */
    vhasher_done(&h);
}

/* ---- tiles handed out by the writer's tree ---- */

struct tiles {
    unsigned count[3];
    uint8_t first[3][TILE_BYTES];
};

static int keep(void *arg, unsigned level, uint64_t index, const uint8_t *hashes)
{
    struct tiles *t = arg;
    assert_true(level < 3);
    assert_int_equal(index, t->count[level]++);
    if (index == 0)
        memcpy(t->first[level], hashes, TILE_BYTES);
    return 0;
}

static void test_tiles(void **state)
{
    static struct ledger_tree t, again;
    static struct tiles got;
    struct ledger_hasher h = {0};
    uint8_t hash[32], root[32], root2[32];
    assert_int_equal(ledger_hasher_init(&h), 0);
    ledger_tree_init(&t, &h);
    t.sink = keep;
    t.arg = &got;
    for (uint32_t i = 0; i < 70000; i++) {
        ledger_hash_leaf(&h, &i, sizeof i, hash);
        ledger_tree_add(&t, hash);
    }
    /* the example of tlog-tiles */
    assert_int_equal(got.count[0], 273);
    assert_int_equal(got.count[1], 1);
    assert_int_equal(got.count[2], 0);
    assert_int_equal(t.level[0].n, 112);
    assert_int_equal(t.level[1].n, 17);
    assert_int_equal(t.level[2].n, 1);
    ledger_tile_root(&h, got.first[0], hash);
    assert_memory_equal(hash, got.first[1], 32);
    ledger_tile_root(&h, got.first[1], hash);
    assert_memory_equal(hash, t.level[2].hash[0], 32);

    /* The same tree from what the tiles hold. */
    ledger_tree_init(&again, &h);
    ledger_tree_add_subtree(&again, 2, t.level[2].hash[0]);
    for (unsigned i = 0; i < 17; i++)
        ledger_tree_add_subtree(&again, 1, t.level[1].hash[i]);
    for (unsigned i = 0; i < 112; i++)
        ledger_tree_add(&again, t.level[0].hash[i]);
    assert_int_equal(again.size, 70000);
    ledger_tree_root(&t, root);
    ledger_tree_root(&again, root2);
    assert_memory_equal(root, root2, 32);
    ledger_hasher_done(&h);
}

static void test_tile_paths(void **state)
{
    static const struct {
        unsigned level;
        uint64_t index;
        unsigned width;
        const char *path;
    } rows[] = {
        {0, 0, 0, "tile/0/000"},
        {0, 999, 0, "tile/0/999"},
        {1, 1000, 0, "tile/1/x001/000"},
        {0, 1234067, 0, "tile/0/x001/x234/067"},
        {0, 273, 112, "tile/0/273.p/112"},
        {2, 0, 1, "tile/2/000.p/1"},
        {7, 1000000, 255, "tile/7/x001/x000/000.p/255"},
    };
    char got[TILE_PATH], other[VPATH];
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        ledger_tile_path(got, rows[i].level, rows[i].index, rows[i].width);
        assert_string_equal(got, rows[i].path);
        vfiles_tile_path(other, rows[i].level, rows[i].index);
        assert_memory_equal(other, got, strlen(other));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known_roots),       cmocka_unit_test(test_since_a_mark),
        cmocka_unit_test(test_domain_separation), cmocka_unit_test(test_inclusion_all),
        cmocka_unit_test(test_inclusion_refused), cmocka_unit_test(test_tiles),
        cmocka_unit_test(test_tile_paths),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
