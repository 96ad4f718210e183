/* A child process for drivers that only compile: they take their orders from the environment, and
 * some break down at a kernel or when they are closed. */
#include "parts.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PATIENCE = 300 }; /* seconds for one record */

void dart_child_send(int pipe, const void *record, size_t size)
{
    alarm(PATIENCE);
    if (write(pipe, record, size) != (ssize_t)size) _exit(1); /* nobody reads any more */
}

static bool receive(int pipe, char *record, size_t size)
{
    size_t got = 0;
    while (got < size) {
        const ssize_t n = read(pipe, record + got, size - got);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return false;
        got += (size_t)n;
    }
    return true;
}

/* Signals end the child, whatever the program does with them. What drivers tell of themselves (that
 * they are not conformant, say) is of no use here. */
static void stand_alone(void)
{
    static const int signals[] = {
        SIGALRM, SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGINT, SIGTERM, SIGHUP, SIGPIPE};
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++) signal(signals[i], SIG_DFL);
    const int null = open("/dev/null", O_WRONLY);
    if (null >= 0) dup2(null, STDERR_FILENO);
}

dart_status dart_child_run(const dart_child *child, int *out_signal)
{
    int ends[2], state = 0;
    char *record = dart_calloc(1, child->size);
    if (!record) return DART_MEMORY;
    if (pipe(ends) != 0) {
        free(record);
        return dart_fail(DART_IO, "no pipe to a compiler: %s", strerror(errno));
    }
    const pid_t pid = fork();
    if (pid == 0) {
        close(ends[0]);
        stand_alone();
        alarm(PATIENCE);
        child->work(child->context, ends[1]);
        _exit(0); /* and not through what drivers do at the end */
    }
    const int error = errno;
    close(ends[1]);
    while (pid > 0 && receive(ends[0], record, child->size)) child->take(child->context, record);
    close(ends[0]);
    free(record);
    if (pid < 0) return dart_fail(DART_IO, "no process for a compiler: %s", strerror(error));
    while (waitpid(pid, &state, 0) < 0 && errno == EINTR) {
    }
    *out_signal = WIFSIGNALED(state) ? WTERMSIG(state) : 0;
    return DART_OK;
}
