/* Runs the built dart-llm on a small text of our own making, in a scratch folder, and looks at its
 * exit code and what it prints. */
#ifndef DART_TEST_RUN_CLI_H
#define DART_TEST_RUN_CLI_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "file.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MAX_ARGS = 48, TEXT = 65536 };

/* scratch folder, also HOME, so that caches do not leak between tests and users */
static char dir[256];

typedef struct outcome {
    int code; /* exit code, or 128 + signal */
    char out[TEXT], err[TEXT];
} outcome;

static inline void read_text(const char *path, char text[TEXT])
{
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    text[fread(text, 1, TEXT - 1, file)] = 0;
    fclose(file);
}

typedef struct spawn {
    uint64_t file_limit; /* largest file the child may write; 0: no limit */
    /* a file below the scratch folder: once it is there, `signal` is sent */
    const char *signal_when;
    int signal;
    const char *input; /* a file below the scratch folder that is standard input; NULL: ours */
} spawn;

/* Runs dart-llm with the words of `line` (separated by spaces; %D stands for the scratch folder).
 */
static inline outcome *run_with(const spawn *how, const char *line)
{
    static outcome result;
    char words[4096], *argv[MAX_ARGS] = {DART_BINARY_DIR "/dart-llm"}, out[300], err[300];
    size_t n = 0;
    for (const char *c = line; *c && n + sizeof dir < sizeof words; c++) {
        if (c[0] == '%' && c[1] == 'D')
            n += (size_t)sprintf(words + n, "%s", dir), c++;
        else
            words[n++] = *c;
    }
    words[n] = 0;
    int argc = 1;
    for (char *word = strtok(words, " "); word && argc < MAX_ARGS - 1; word = strtok(NULL, " "))
        argv[argc++] = word;
    snprintf(out, sizeof out, "%s/stdout", dir);
    snprintf(err, sizeof err, "%s/stderr", dir);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        int o = open(out, O_CREAT | O_TRUNC | O_WRONLY, 0600),
            e = open(err, O_CREAT | O_TRUNC | O_WRONLY, 0600);
        dup2(o, 1);
        dup2(e, 2);
        setenv("HOME", dir, 1);
        unsetenv("XDG_CACHE_HOME");
        unsetenv("DART_DATA");
        if (chdir(dir) != 0) _exit(126); /* so that ../shared is not found either */
        if (how && how->input) {
            int i = open(how->input, O_RDONLY);
            if (i < 0 || dup2(i, 0) < 0) _exit(125);
        }
        /* a write then fails with EFBIG, as a full disk fails with ENOSPC */
        if (how && how->file_limit)
            setrlimit(RLIMIT_FSIZE, &(struct rlimit){how->file_limit, how->file_limit});
        execv(argv[0], argv);
        _exit(127);
    }
    if (how && how->signal_when) {
        char path[400];
        snprintf(path, sizeof path, "%s/%s", dir, how->signal_when);
        for (int i = 0; i < 6000 && access(path, F_OK) != 0; i++) usleep(10000);
        usleep(100000); /* a few steps more */
        kill(child, how->signal);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    result.code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    read_text(out, result.out);
    read_text(err, result.err);
    return &result;
}

static inline outcome *run(const char *line)
{
    return run_with(NULL, line);
}

static uint32_t failures_seen; /* how many refusals were really looked at */

/* One line on stderr, beginning with the program's name and holding `phrase`; the exit code;
 * nothing on stdout. */
static inline void expect_refusal(const outcome *r, const char *line, int code, const char *phrase)
{
    size_t length = strlen(r->err);
    const char *last = length ? r->err + length - 1 : r->err;
    bool one_line = length > 1 && *last == '\n' && memchr(r->err, '\n', length - 1) == NULL;
    if (r->code != code || !one_line || strncmp(r->err, "dart-llm: ", 10) != 0 ||
        !strstr(r->err, phrase))
        fail_msg(
            "dart-llm %s\n  expected exit %d, one line with '%s'\n  got exit %d and stderr:\n%s",
            line, code, phrase, r->code, r->err);
    failures_seen++;
}

static inline void refused(const char *line, int code, const char *phrase)
{
    expect_refusal(run(line), line, code, phrase);
}

static inline outcome *works(const char *line)
{
    outcome *r = run(line);
    if (r->code != 0) fail_msg("dart-llm %s\n  exit %d, stderr:\n%s", line, r->code, r->err);
    return r;
}

/* ---- a text and a model small enough for a fraction of a second ---- */

static inline void make_text(void)
{
    static const char *const words[] = {"the", "core", "of", "a", "train", "holds", "few",
        "numbers", "rank", "falls", "when", "penalty", "grows", "and", "loss", "stays", "low", "so",
        "small", "models", "fit", "boards"};
    char path[300];
    snprintf(path, sizeof path, "%s/text.txt", dir);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    uint32_t x = 1;
    for (int line = 0; line < 600; line++) {
        for (int i = 0; i < 9; i++) {
            x = x * 1664525u + 1013904223u;
            fprintf(file, "%s%s", i ? " " : "", words[(x >> 16) % 22]);
        }
        fputc('\n', file);
    }
    assert_int_equal(fclose(file), 0);
}

#define TINY                                                                                       \
    "--text %D/text.txt --layers 1 --d-model 16 --heads 2 --context 16 --batch-size 4 --rank 4 "   \
    "--device cpu --quiet "

static inline void write_file(const char *name, const char *text)
{
    char path[300];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    assert_int_equal(fclose(file), 0);
}

static inline int set_up(void **state)
{
    (void)state;
    snprintf(dir, sizeof dir, "/tmp/dart-cli-XXXXXX");
    assert_non_null(mkdtemp(dir));
    make_text();
    printf("data: a made-up text of 600 lines\n");
    return 0;
}

static inline int tear_down(void **state)
{
    (void)state;
    return dart_remove_tree(dir) != DART_OK;
}

static inline void expect_refusals(uint32_t least)
{
    printf("%u refusals were checked\n", failures_seen);
    assert_true(failures_seen >= least);
}

#endif
