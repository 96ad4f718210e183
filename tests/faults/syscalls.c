/* Runs a program and makes one of its system calls fail, or write less than it was asked to:
 *
 *   dart_fault_syscalls K FAILURE REPORT PROGRAM [ARGUMENT...]
 *
 * K: which one, from 1, since the start of main (dart_fault_alloc marks it); 0: only count.
 * FAILURE: EIO, ENOSPC, EINTR or SHORT; SHORT counts the calls that read or write more than a byte.
 * Counted are the calls of `rows` below in the program's first thread, whoever in the process makes
 * them: standard I/O too, which is why this traces the process and overrides no functions. Files of
 * the system, stderr and memory without a file are left alone.
 * REPORT gets "<calls> <failed> <name> <path or descriptor>". Exit code as the program's, 128 +
 * signal where one ended it; 77 where tracing is not allowed or the processor is not x86-64. */
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include "mark.h"

enum { SKIPPED = 77, BROKEN = 99 };

#ifdef __x86_64__
#include <sys/user.h>

typedef struct row {
    const char *name;
    long number;
    int path; /* which argument is a path, from 1; 0: none */
    bool shortens;
} row;

static const row rows[] = {{"open", SYS_open, 1, false}, {"openat", SYS_openat, 2, false},
    {"read", SYS_read, 0, true}, {"pread64", SYS_pread64, 0, true}, {"write", SYS_write, 0, true},
    {"pwrite64", SYS_pwrite64, 0, true}, {"fsync", SYS_fsync, 0, false},
    {"fdatasync", SYS_fdatasync, 0, false}, {"rename", SYS_rename, 1, false},
    {"mkdir", SYS_mkdir, 1, false}, {"rmdir", SYS_rmdir, 1, false},
    {"unlink", SYS_unlink, 1, false}, {"close", SYS_close, 0, false},
    {"ftruncate", SYS_ftruncate, 0, false}, {"fallocate", SYS_fallocate, 0, false},
    {"getdents64", SYS_getdents64, 0, false}, {"mmap", SYS_mmap, 0, false}};

static const struct failure {
    const char *name;
    int code;
} failures[] = {{"EIO", EIO}, {"ENOSPC", ENOSPC}, {"EINTR", EINTR}, {"SHORT", 0}};

static void read_path(pid_t child, unsigned long long at, char *out, size_t size)
{
    size_t n = 0;
    while (n + sizeof(long) < size) {
        errno = 0;
        long word = ptrace(PTRACE_PEEKDATA, child, (void *)(uintptr_t)(at + n), NULL);
        if (errno) break;
        memcpy(out + n, &word, sizeof word);
        if (memchr(&word, 0, sizeof word)) return;
        n += sizeof word;
    }
    out[n] = 0;
}

/* What the call is about: its path, or that of its descriptor. */
static void subject(
    pid_t child, const row *call, const struct user_regs_struct *regs, char *out, size_t size)
{
    char link[64];
    if (call->path) {
        read_path(child, call->path == 1 ? regs->rdi : regs->rsi, out, size);
        return;
    }
    const long long file = (long long)(call->number == SYS_mmap ? regs->r8 : regs->rdi);
    snprintf(link, sizeof link, "/proc/%ld/fd/%lld", (long)child, file);
    ssize_t n = readlink(link, out, size - 1);
    out[n > 0 ? n : 0] = 0;
}

static bool of_the_system(const char *path)
{
    static const char *const roots[] = {"/usr/", "/lib", "/etc/", "/proc/", "/sys/", "/dev/dri"};
    for (size_t i = 0; i < sizeof roots / sizeof *roots; i++)
        if (!strncmp(path, roots[i], strlen(roots[i]))) return true;
    return false;
}

static const row *counted(
    pid_t child, const struct user_regs_struct *regs, bool shortens, char *path, size_t size)
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const row *call = &rows[i];
        if (call->number != (long)regs->orig_rax) continue;
        if (shortens && (!call->shortens || regs->rdx < 2)) return NULL;
        if (call->number == SYS_mmap && (int)regs->r8 < 0) return NULL;
        if (!call->path && call->number != SYS_mmap && regs->rdi == 2) return NULL;
        subject(child, call, regs, path, size);
        return of_the_system(path) ? NULL : call;
    }
    return NULL;
}

static int broken(const char *what)
{
    fprintf(stderr, "dart_fault_syscalls: %s: %s\n", what, strerror(errno));
    return BROKEN;
}

typedef struct trial {
    unsigned long k, seen;
    const struct failure *failure;
    bool started, entered, failed;
    const row *now; /* the call that fails, between its entry and its exit */
    unsigned long long asked;
    char what[4096];
} trial;

static void on_entry(trial *t, pid_t child, struct user_regs_struct *regs)
{
    char path[4000];
    if (regs->orig_rax == SYS_prctl && regs->rdi == DART_FAULT_MARK) t->started = true;
    if (!t->started) return;
    const row *call = counted(child, regs, !t->failure->code, path, sizeof path);
    if (!call || ++t->seen != t->k) return;
    snprintf(t->what, sizeof t->what, "%s %s", call->name, path);
    t->failed = true;
    t->now = call;
    t->asked = regs->rdx;
    if (t->failure->code)
        regs->orig_rax = (unsigned long long)-1; /* no call at all */
    else
        regs->rdx /= 2;
    ptrace(PTRACE_SETREGS, child, NULL, regs);
}

static void on_exit_of_call(trial *t, pid_t child, struct user_regs_struct *regs)
{
    if (!t->now) return;
    if (t->failure->code)
        regs->rax = (unsigned long long)-t->failure->code;
    else
        regs->rdx = t->asked;
    ptrace(PTRACE_SETREGS, child, NULL, regs);
    t->now = NULL;
}

/* Until the program ends; its exit code, or 128 + signal. */
static int follow(trial *t, pid_t child)
{
    int state, pass = 0;
    for (;;) {
        if (ptrace(PTRACE_SYSCALL, child, NULL, (void *)(uintptr_t)pass)) return broken("ptrace");
        if (waitpid(child, &state, 0) < 0) return broken("waitpid");
        if (WIFEXITED(state)) return WEXITSTATUS(state);
        if (WIFSIGNALED(state)) return 128 + WTERMSIG(state);
        pass = WSTOPSIG(state);
        if (pass != (SIGTRAP | 0x80)) {
            if (pass == SIGTRAP) pass = 0;
            continue;
        }
        pass = 0;
        struct user_regs_struct regs;
        if (ptrace(PTRACE_GETREGS, child, NULL, &regs)) return broken("ptrace");
        t->entered = !t->entered;
        if (t->entered)
            on_entry(t, child, &regs);
        else
            on_exit_of_call(t, child, &regs);
    }
}

int main(int argc, char **argv)
{
    trial t = {0};
    if (argc < 5) return broken("arguments are missing");
    t.k = strtoul(argv[1], NULL, 10);
    for (size_t i = 0; i < sizeof failures / sizeof *failures; i++)
        if (!strcmp(argv[2], failures[i].name)) t.failure = &failures[i];
    if (!t.failure) return broken("unknown failure");
    pid_t child = fork();
    if (child < 0) return broken("fork");
    if (child == 0) {
        if (ptrace(PTRACE_TRACEME, 0, NULL, NULL)) _exit(SKIPPED);
        raise(SIGSTOP);
        execv(argv[4], argv + 4);
        _exit(BROKEN);
    }
    int state;
    if (waitpid(child, &state, 0) < 0) return broken("waitpid");
    if (!WIFSTOPPED(state)) return WIFEXITED(state) ? WEXITSTATUS(state) : BROKEN;
    if (ptrace(PTRACE_SETOPTIONS, child, NULL,
            (void *)(uintptr_t)(PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL)))
        return SKIPPED;
    const int code = follow(&t, child);
    FILE *report = fopen(argv[3], "w");
    if (!report || fprintf(report, "%lu %d %s\n", t.seen, t.failed, t.what) < 0 || fclose(report))
        return broken(argv[3]);
    return code;
}
#else
int main(void)
{
    fprintf(stderr, "dart_fault_syscalls: only for x86-64\n");
    return SKIPPED;
}
#endif
