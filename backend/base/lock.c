/* Locks of folders. */
#include "lock.h"
#include "file.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static dart_status taken(const char *folder, int fd)
{
    char who[32] = "";
    ssize_t n = TEMP_FAILURE_RETRY(pread(fd, who, sizeof who - 1, 0));
    who[n > 0 ? strspn(who, "0123456789") : 0] = 0;
    return dart_fail(DART_INPUT,
        "%s is in use by %s%s: wait until it has ended, stop it, or choose another folder", folder,
        *who ? "process " : "another process", who);
}

dart_status dart_lock_take(const char *folder, dart_lock *out)
{
    struct stat held, there;
    *out = (dart_lock){0};
    if (snprintf(out->path, sizeof out->path, "%s/.lock", folder) >= (int)sizeof out->path)
        return dart_fail(DART_INPUT, "the path %.200s... is too long", folder);
    for (;;) {
        int fd = (int)TEMP_FAILURE_RETRY(
            open(out->path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666));
        if (fd < 0)
            return dart_fail(
                dart_errno_code(errno), "cannot write %s: %s", out->path, strerror(errno));
        if (TEMP_FAILURE_RETRY(flock(fd, LOCK_EX | LOCK_NB))) {
            const int error = errno;
            dart_status status = error == EWOULDBLOCK ? taken(folder, fd) : DART_OK;
            close(fd);
            return status;
        }
        /* Whoever held it before may have removed the file that was opened here. */
        if (fstat(fd, &held) || stat(out->path, &there) || held.st_ino != there.st_ino) {
            close(fd);
            continue;
        }
        char who[32];
        const int n = snprintf(who, sizeof who, "%ld\n", (long)getpid());
        /* It is only told: a full disk must not end the work here. */
        if (ftruncate(fd, 0) == 0 && TEMP_FAILURE_RETRY(pwrite(fd, who, (size_t)n, 0)) != n)
            (void)!ftruncate(fd, 0);
        out->fd = fd;
        return DART_OK;
    }
}

void dart_lock_drop(dart_lock *lock)
{
    if (lock->fd > 0) {
        unlink(lock->path);
        close(lock->fd);
    }
    *lock = (dart_lock){0};
}
