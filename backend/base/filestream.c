/* Streams over descriptors: interrupted calls are made again, short writes go on. */
#include "filestream.h"
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <unistd.h>

static ssize_t take(void *cookie, char *data, size_t size)
{
    return TEMP_FAILURE_RETRY(read((int)(intptr_t)cookie, data, size));
}

/* A cookie's write says 0 for an error. */
static ssize_t put(void *cookie, const char *data, size_t size)
{
    for (size_t used = 0; used < size;) {
        ssize_t n = TEMP_FAILURE_RETRY(write((int)(intptr_t)cookie, data + used, size - used));
        if (n <= 0) return 0;
        used += (size_t)n;
    }
    return (ssize_t)size;
}

static int move(void *cookie, off64_t *offset, int from)
{
    off_t at = lseek((int)(intptr_t)cookie, (off_t)*offset, from);
    *offset = at;
    return at < 0 ? -1 : 0;
}

/* Interrupted, it is closed all the same. */
static int end(void *cookie)
{
    return close((int)(intptr_t)cookie) && errno != EINTR ? -1 : 0;
}

FILE *dart_filestream_open(const char *path, const char *mode, int *out_fd)
{
    const int flags = *mode == 'r'   ? O_RDONLY
                      : *mode == 'a' ? O_WRONLY | O_CREAT | O_APPEND
                                     : O_WRONLY | O_CREAT | O_TRUNC;
    int fd = (int)TEMP_FAILURE_RETRY(open(path, flags | O_CLOEXEC, 0666));
    if (fd < 0) return NULL;
    FILE *stream = fopencookie((void *)(intptr_t)fd, mode,
        (cookie_io_functions_t){.read = take, .write = put, .seek = move, .close = end});
    if (!stream) {
        close(fd);
        errno = ENOMEM;
    }
    if (out_fd) *out_fd = fd;
    return stream;
}
