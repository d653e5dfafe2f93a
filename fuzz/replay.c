/* Replays stored inputs through a fuzz target: each file below the given folder is one test (TAP).
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int replay(const char *path)
{
    FILE *f = fopen(path, "rb");
    if (!f)
        return -1;
    static uint8_t buf[1 << 20];
    size_t n = fread(buf, 1, sizeof buf, f);
    fclose(f);
    /* An exact-size copy, so that the sanitizer sees a read past the end. */
    uint8_t *copy = malloc(n ? n : 1);
    if (!copy)
        return -1;
    memcpy(copy, buf, n);
    LLVMFuzzerTestOneInput(copy, n);
    free(copy);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc != 2)
        return 2;
    struct dirent **names;
    int n = scandir(argv[1], &names, NULL, alphasort);
    int count = 0, bad = 0;
    for (int i = 0; i < n; i++) {
        if (names[i]->d_name[0] != '.') {
            char path[4096];
            (void)snprintf(path, sizeof path, "%s/%s", argv[1], names[i]->d_name);
            int r = replay(path);
            bad += r != 0;
            printf("%sok %d - %s\n", r ? "not " : "", ++count, names[i]->d_name);
            fflush(stdout);
        }
        free(names[i]);
    }
    if (n > 0)
        free(names);
    if (count == 0)
        printf("not ok %d - no stored inputs in %s\n", ++count, argv[1]);
    printf("1..%d\n", count);
    return bad || n <= 0;
}
