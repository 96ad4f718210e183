/* mmap of whole files. */
#include "map.h"
#include "file.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static dart_status map_fd(int fd, const char *path, dart_map *out)
{
    struct stat info;
    if (fstat(fd, &info))
        return dart_fail(dart_errno_code(errno), "cannot read %s: %s", path, strerror(errno));
    if (!S_ISREG(info.st_mode))
        return dart_fail(DART_INPUT, "cannot read %s: it is %s, a file is needed", path,
            S_ISDIR(info.st_mode) ? "a directory" : "not a plain file");
    if (info.st_size == 0) { /* which mmap refuses */
        *out = (dart_map){.data = (const uint8_t *)""};
        return DART_OK;
    }
    void *data = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (data == MAP_FAILED)
        return dart_fail(dart_errno_code(errno), "cannot map %s: %s", path, strerror(errno));
    *out = (dart_map){.data = data, .size = (size_t)info.st_size};
    return DART_OK;
}

/* What a clone without git-lfs leaves in place of a large file. */
static dart_status check_pointer(const char *path, const dart_map *map)
{
    static const char begin[] = "version https://git-lfs.github.com/spec/";
    if (map->size < sizeof begin - 1 || memcmp(map->data, begin, sizeof begin - 1)) return DART_OK;
    return dart_fail(DART_INPUT,
        "%s is not the file itself but Git LFS's note of where it is; get it with git lfs pull",
        path);
}

dart_status dart_map_open(const char *path, dart_map *out)
{
    *out = (dart_map){0};
    /* a pipe or a device must not make the call wait before it is refused */
    int fd = (int)TEMP_FAILURE_RETRY(open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    if (fd < 0) return dart_read_fail(path, errno);
    dart_status status = map_fd(fd, path, out);
    close(fd);
    if (status == DART_OK) status = check_pointer(path, out);
    if (status != DART_OK) dart_map_close(out);
    return status;
}

void dart_map_close(dart_map *map)
{
    if (map->size) munmap((void *)map->data, map->size);
    *map = (dart_map){0};
}
