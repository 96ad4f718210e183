/* Files: whole reads (also gzip), durable writes, directories. Every failure names the path and the
 * cause. */
#include "file.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

/* No single input of ours is larger; keeps a broken .gz from filling the memory. */
static const size_t MAX_UNPACKED = (size_t)16 << 30;

static bool ends_with(const char *text, const char *tail)
{
    size_t n = strlen(text), m = strlen(tail);
    return n >= m && !strcmp(text + n - m, tail);
}

dart_status dart_errno_code(int error)
{
    return error == ENOMEM ? DART_MEMORY : DART_IO;
}

dart_status dart_read_fail(const char *path, int error)
{
    if (error == ENOENT || error == ENOTDIR)
        return dart_fail(DART_INPUT, "cannot read %s: there is no such file", path);
    if (error == EISDIR)
        return dart_fail(DART_INPUT, "cannot read %s: it is a directory, a file is needed", path);
    if (error == ENAMETOOLONG)
        return dart_fail(
            DART_INPUT, "cannot read %.200s...: no file can have a name this long", path);
    if (error == ELOOP)
        return dart_fail(DART_INPUT, "cannot read %s: its symbolic links lead in a circle", path);
    return dart_fail(dart_errno_code(error), "cannot read %s: %s", path, strerror(error));
}

static dart_status write_fail(const char *path, int error)
{
    if (error == ENOSPC || error == EDQUOT || error == EFBIG)
        return dart_fail(DART_IO,
            "cannot write %s: the disk is full (%s); free some space and try again", path,
            strerror(error));
    return dart_fail(dart_errno_code(error), "cannot write %s: %s", path, strerror(error));
}

static dart_status read_gz(const char *path, char **data, size_t *size)
{
    dart_status status = DART_OK;
    char *text = NULL;
    size_t capacity = 0, used = 0;
    errno = 0;
    gzFile file = gzopen(path, "rb");
    if (!file) return dart_read_fail(path, errno ? errno : ENOMEM);
    for (;;) {
        enum { STEP = 1 << 20 };
        if (used > MAX_UNPACKED) {
            status = dart_fail(DART_INPUT, "cannot read %s: it unpacks to more than 16 GiB", path);
            goto done;
        }
        DART_GOTO(dart_grow((void **)&text, &capacity, used + STEP + 1, 1));
        int got = gzread(file, text + used, STEP), code = Z_OK;
        const char *why = got <= 0 ? gzerror(file, &code) : "";
        if (code == Z_MEM_ERROR)
            status = dart_fail(DART_MEMORY, "out of memory: unpacking %s", path);
        else if (code == Z_ERRNO)
            status = dart_read_fail(path, errno);
        else if (got < 0 || (code != Z_OK && code != Z_STREAM_END))
            status = dart_fail(DART_INPUT,
                "cannot unpack %s: the file is damaged or truncated (%s); fetch it again", path,
                why);
        if (status != DART_OK) goto done;
        used += (size_t)got;
        if (got == 0) break;
    }
    text[used] = 0;
    *data = text;
    *size = used;
    text = NULL;
done:
    free(text);
    if (gzclose(file) == Z_BUF_ERROR && status == DART_OK) {
        free(*data);
        *data = NULL;
        status =
            dart_fail(DART_INPUT, "cannot unpack %s: the file is truncated; fetch it again", path);
    }
    return status;
}

dart_status dart_file_read(const char *path, char **data, size_t *size)
{
    *data = NULL;
    *size = 0;
    struct stat info;
    if (stat(path, &info)) return dart_read_fail(path, errno);
    if (S_ISDIR(info.st_mode)) return dart_read_fail(path, EISDIR);
    if (!S_ISREG(info.st_mode))
        return dart_fail(DART_INPUT, "cannot read %s: it is not a plain file", path);
    if (ends_with(path, ".gz")) return read_gz(path, data, size);

    dart_status status = DART_OK;
    size_t expected = (size_t)info.st_size, used = 0;
    char *text = NULL;
    int fd = (int)TEMP_FAILURE_RETRY(open(path, O_RDONLY | O_CLOEXEC));
    if (fd < 0) return dart_read_fail(path, errno);
    text = malloc(expected + 1);
    if (!text) {
        status = dart_fail(DART_MEMORY, "out of memory: %s has %zu bytes", path, expected);
        goto done;
    }
    while (used < expected) {
        ssize_t got = read(fd, text + used, expected - used);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) {
            status = dart_read_fail(path, errno);
            goto done;
        }
        if (got == 0) break;
        used += (size_t)got;
    }
    if (used != expected) {
        status = dart_fail(DART_IO, "cannot read %s: it shrank while being read (%zu of %zu bytes)",
            path, used, expected);
        goto done;
    }
    text[used] = 0;
    *data = text;
    *size = used;
    text = NULL;
done:
    free(text);
    close(fd);
    return status;
}

/* Opens it for writing. flags: O_TRUNC, or what a new file needs. Asking for the room first makes a
 * full disk show before half the file is written. */
static dart_status write_begin(const char *path, int flags, uint64_t size, int *out_fd)
{
    int fd = (int)TEMP_FAILURE_RETRY(open(path, O_WRONLY | O_CREAT | O_CLOEXEC | flags, 0666));
    if (fd < 0) return write_fail(path, errno);
    *out_fd = fd;
    int error = size ? posix_fallocate(fd, 0, (off_t)size) : 0;
    return error == ENOSPC || error == EFBIG ? write_fail(path, error) : DART_OK;
}

static dart_status write_bytes(int fd, const char *path, const void *data, size_t size)
{
    for (size_t used = 0; used < size;) {
        size_t part = size - used > (size_t)1 << 30 ? (size_t)1 << 30 : size - used;
        ssize_t put = write(fd, (const char *)data + used, part);
        if (put < 0 && errno == EINTR) continue;
        if (put <= 0) return write_fail(path, put < 0 ? errno : ENOSPC);
        used += (size_t)put;
    }
    return DART_OK;
}

/* Makes it durable and closes it; unless `status` is a failure, which it returns. A failure removes
 * the file. fd below 0: it was never opened. */
static dart_status write_end(int fd, const char *path, dart_status status)
{
    if (fd < 0) return status;
    /* A failed fsync is final: the kernel may have dropped the pages already. */
    if (status == DART_OK && TEMP_FAILURE_RETRY(fsync(fd))) status = write_fail(path, errno);
    /* Interrupted, it is closed all the same. */
    if (close(fd) && errno != EINTR && status == DART_OK) status = write_fail(path, errno);
    if (status != DART_OK) unlink(path);
    return status;
}

dart_status dart_file_write_sync(const char *path, const void *data, size_t size)
{
    int fd = -1;
    dart_status status = write_begin(path, O_TRUNC, size, &fd);
    if (status == DART_OK) status = write_bytes(fd, path, data, size);
    return write_end(fd, path, status);
}

dart_status dart_dir_sync(const char *path)
{
    int fd = (int)TEMP_FAILURE_RETRY(open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (fd < 0) return write_fail(path, errno);
    dart_status status = DART_OK;
    /* Some file systems cannot sync a directory and say EINVAL; there is nothing more to do then.
     */
    if (TEMP_FAILURE_RETRY(fsync(fd)) && errno != EINVAL) status = write_fail(path, errno);
    close(fd);
    return status;
}

dart_status dart_file_begin(const char *path, uint64_t size, dart_file_out *out)
{
    out->fd = -1;
    if ((size_t)snprintf(out->path, sizeof out->path, "%s", path) >= sizeof out->path ||
        (size_t)snprintf(out->aside, sizeof out->aside, "%s.tmp.%ld", path, (long)getpid()) >=
            sizeof out->aside)
        return dart_fail(DART_INPUT, "cannot write %s: the path is too long", path);
    /* One of that name is left over from a process that was killed, or somebody's trap. */
    unlink(out->aside);
    dart_status status = write_begin(out->aside, O_EXCL | O_NOFOLLOW, size, &out->fd);
    if (status != DART_OK) dart_file_drop(out);
    return status;
}

dart_status dart_file_put(dart_file_out *out, const void *data, size_t size)
{
    return write_bytes(out->fd, out->aside, data, size);
}

dart_status dart_file_end(dart_file_out *out)
{
    dart_status status = write_end(out->fd, out->aside, DART_OK);
    out->fd = -1;
    DART_TRY(status);
    if (TEMP_FAILURE_RETRY(rename(out->aside, out->path))) {
        int error = errno;
        unlink(out->aside);
        return write_fail(out->path, error);
    }
    char *slash = strrchr(out->path, '/');
    if (!slash)
        snprintf(out->path, sizeof out->path, ".");
    else
        slash[slash == out->path] = 0;
    return dart_dir_sync(out->path);
}

void dart_file_drop(dart_file_out *out)
{
    if (out->fd < 0) return;
    close(out->fd);
    unlink(out->aside);
    out->fd = -1;
}

/* A device or a pipe: nothing can take its name, so what it is given goes into it. */
static dart_status write_into(const char *path, const char *data, size_t size)
{
    const int file = TEMP_FAILURE_RETRY(open(path, O_WRONLY | O_CLOEXEC));
    ssize_t wrote = file < 0 ? -1 : 0;
    for (size_t at = 0; at < size && wrote >= 0; at += (size_t)wrote)
        wrote = TEMP_FAILURE_RETRY(write(file, data + at, size - at));
    const int error = errno;
    if (file >= 0) close(file);
    return wrote < 0 ? write_fail(path, error) : DART_OK;
}

dart_status dart_file_write_atomic(const char *path, const void *data, size_t size)
{
    dart_file_out out;
    struct stat info;
    if (!stat(path, &info) && !S_ISREG(info.st_mode) && !S_ISDIR(info.st_mode))
        return write_into(path, data, size);
    DART_TRY(dart_file_begin(path, size, &out));
    dart_status status = dart_file_put(&out, data, size);
    if (status == DART_OK) return dart_file_end(&out);
    dart_file_drop(&out);
    return status;
}

/* After a loss of power a folder is there only if the one that it lies in was synced too. */
static dart_status sync_parent(const char *path)
{
    char parent[PATH_MAX];
    snprintf(parent, sizeof parent, "%s", path);
    char *slash = strrchr(parent, '/');
    if (!slash) return dart_dir_sync(".");
    slash[slash == parent] = 0;
    return dart_dir_sync(parent);
}

dart_status dart_mkdirs(const char *path)
{
    char part[PATH_MAX];
    if ((size_t)snprintf(part, sizeof part, "%s", path) >= sizeof part)
        return dart_fail(DART_INPUT, "cannot create the folder %s: the path is too long", path);
    for (char *at = part + (part[0] == '/');; at++) {
        if (*at && *at != '/') continue;
        char kept = *at;
        *at = 0;
        const bool made = part[0] && !TEMP_FAILURE_RETRY(mkdir(part, 0777));
        if (part[0] && !made && errno != EEXIST)
            return dart_fail(DART_IO, "cannot create the folder %s: %s", part, strerror(errno));
        if (made) DART_TRY(sync_parent(part));
        *at = kept;
        if (!kept) break;
    }
    struct stat info;
    if (stat(path, &info) || !S_ISDIR(info.st_mode))
        return dart_fail(
            DART_IO, "cannot create the folder %s: a file of that name is in the way", path);
    return DART_OK;
}

static int remove_one(const char *path, const struct stat *info, int kind, struct FTW *where)
{
    (void)info, (void)kind, (void)where;
    return TEMP_FAILURE_RETRY(remove(path)) && errno != ENOENT ? -1 : 0;
}

dart_status dart_remove_tree(const char *path)
{
    /* A walk that a signal interrupts ends, or leaves out what it could not list. */
    enum { WALKS = 3 };
    int walks = 0, failed;
    do failed = nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    while (failed && (errno == EINTR || errno == ENOTEMPTY) && ++walks < WALKS);
    if (failed && errno != ENOENT)
        return dart_fail(dart_errno_code(errno), "cannot remove %s: %s", path, strerror(errno));
    return DART_OK;
}

bool dart_file_exists(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0;
}

bool dart_is_folder(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

dart_status dart_folder_vacant(const char *path)
{
    if (!dart_file_exists(path)) return DART_OK;
    if (!dart_is_folder(path))
        return dart_fail(DART_INPUT, "%s is a file; --out names a folder to make", path);
    DIR *folder = opendir(path);
    if (!folder)
        return dart_fail(dart_errno_code(errno), "cannot list %s: %s", path, strerror(errno));
    bool empty = true;
    for (struct dirent *entry; errno = 0, (entry = readdir(folder)) || errno == EINTR;)
        if (entry) empty &= !strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..");
    closedir(folder);
    if (empty) return DART_OK;
    return dart_fail(DART_INPUT, "%s has files in it; name a new folder with --out", path);
}

dart_status dart_cache_path(char *out, size_t size)
{
    const char *base = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    int n;
    if (base && base[0] == '/')
        n = snprintf(out, size, "%s/dart-llm", base);
    else if (home && home[0])
        n = snprintf(out, size, "%s/.cache/dart-llm", home);
    else
        return dart_fail(DART_IO, "no cache folder: neither XDG_CACHE_HOME nor HOME is set");
    if (n < 0 || (size_t)n >= size)
        return dart_fail(
            DART_IO, "no cache folder: the path in XDG_CACHE_HOME or HOME is too long");
    return DART_OK;
}

dart_status dart_cache_dir(char *out, size_t size)
{
    struct stat info;
    DART_TRY(dart_cache_path(out, size));
    DART_TRY(dart_mkdirs(out));
    if (stat(out, &info)) return dart_read_fail(out, errno);
    if (info.st_uid == geteuid() && !(info.st_mode & S_IWOTH)) return DART_OK;
    return dart_fail(DART_IO,
        "the cache folder %s is not used, %s; set XDG_CACHE_HOME to a folder of your own", out,
        info.st_mode & S_IWOTH ? "anybody may write into it" : "it belongs to another user");
}
