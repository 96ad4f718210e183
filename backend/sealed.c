/* Sealed files. */
#include "sealed.h"
#include "file.h"
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

typedef struct head {
    char kind[DART_SEALED_KIND];
    uint64_t size;
    XXH128_hash_t sum;
} head;

static dart_status refuse(const char *path, const char *why)
{
    return dart_fail(DART_INPUT, "%s is not used: %s", path, why);
}

dart_status dart_sealed_read(const char *path, const char kind[DART_SEALED_KIND], char **out,
    const void **out_data, size_t *out_size)
{
    struct stat info;
    size_t size;
    head h;
    *out = NULL;
    *out_data = NULL;
    *out_size = 0;
    if (lstat(path, &info)) return refuse(path, "it is not there");
    if (!S_ISREG(info.st_mode)) return refuse(path, "it is no plain file");
    if (info.st_uid != geteuid() || (info.st_mode & S_IWOTH))
        return refuse(path, "other users own it or may write it");
    DART_TRY(dart_file_read(path, out, &size));
    const char *data = *out + sizeof h;
    if (size >= sizeof h) memcpy(&h, *out, sizeof h);
    if (size >= sizeof h && !memcmp(h.kind, kind, sizeof h.kind) && h.size == size - sizeof h &&
        XXH128_isEqual(XXH3_128bits(data, h.size), h.sum)) {
        *out_data = data;
        *out_size = h.size;
        return DART_OK;
    }
    free(*out);
    *out = NULL;
    return refuse(path, "it is damaged");
}

dart_status dart_sealed_write(
    const char *path, const char kind[DART_SEALED_KIND], const void *data, size_t size)
{
    head h = {.size = size, .sum = XXH3_128bits(data, size)};
    char *file = dart_calloc(1, sizeof h + size);
    if (!file) return DART_MEMORY;
    memcpy(h.kind, kind, sizeof h.kind);
    memcpy(file, &h, sizeof h);
    memcpy(file + sizeof h, data, size);
    dart_status status = dart_file_write_atomic(path, file, sizeof h + size);
    free(file);
    return status;
}
