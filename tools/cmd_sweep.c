/* sweep: a grid of runs, each as a process of its own, so that a crash loses one run. */
#include "cli.h"
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static const dart_option options[] = {
    {"list", "", "bool", "false", "", "print the names of the runs and run nothing"},
    {NULL},
};

/* The last line of the run's log is the sentence that it failed with. */
static dart_status failure(const char *log, dart_status status)
{
    char text[4096] = "", line[1024];
    FILE *file = fopen(log, "r");
    while (file && fgets(line, sizeof line, file))
        if (line[0] != '\n') snprintf(text, sizeof text, "%s", line);
    if (file) fclose(file);
    text[strcspn(text, "\n")] = 0;
    const char *sentence = strstr(text, "dart-llm: ") == text ? text + 10 : text;
    return dart_fail(status, "%.400s", *sentence ? sentence : dart_status_text(status));
}

static dart_status wait_for(pid_t child, const char *log, volatile int *stop)
{
    int state, told = 0;
    while (waitpid(child, &state, 0) < 0) {
        if (errno != EINTR) return dart_fail(DART_FAILED, "lost the run: %s", strerror(errno));
        if (*stop && !told) kill(child, told = *stop);
    }
    if (WIFSIGNALED(state))
        return dart_fail(DART_FAILED, "the run was killed by signal %d (%s); see %s",
            WTERMSIG(state), strsignal(WTERMSIG(state)), log);
    dart_status status = (dart_status)WEXITSTATUS(state);
    return status == DART_OK ? DART_OK : failure(log, status);
}

static dart_status train(void *user, const char *recipe, const char *dir, bool resume)
{
    volatile int *stop = user;
    char log[1100], self[1024];
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attributes;
    pid_t child;
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    if (n <= 0) return dart_fail(DART_FAILED, "cannot find this program: %s", strerror(errno));
    self[n] = 0;
    snprintf(log, sizeof log, "%s.log", dir);
    char *const argv[] = {self, (char[]){"train"}, (char[]){"--config"}, (char *)(uintptr_t)recipe,
        (char[]){"--out"}, (char *)(uintptr_t)dir,
        resume ? (char[]){"--resume"} : (char[]){"--force"}, NULL};
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_addopen(&files, 1, log, O_CREAT | O_APPEND | O_WRONLY, 0644);
    posix_spawn_file_actions_adddup2(&files, 1, 2);
    /* A group of its own: Ctrl-C reaches the run once, through us, and it writes its checkpoint. */
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP);
    int error = posix_spawn(&child, self, &files, &attributes, argv, environ);
    posix_spawn_file_actions_destroy(&files);
    posix_spawnattr_destroy(&attributes);
    if (error) return dart_fail(DART_FAILED, "cannot start a run: %s", strerror(error));
    return wait_for(child, log, stop);
}

static void say(void *user, const char *line)
{
    (void)user;
    fprintf(stderr, "%s\n", line);
}

static void print(void *user, const char *line)
{
    (void)user;
    printf("%s\n", line);
}

static dart_status run(cli_call *cli)
{
    char out[512], force[16];
    if (cli->args != 1) return dart_fail(DART_USAGE, "sweep needs one file; see --help");
    if (cli->config)
        return dart_fail(DART_USAGE, "a sweep names its recipe itself (base); leave --config out");
    DART_TRY(dart_recipe_get(cli->recipe, "out", out, sizeof out));
    DART_TRY(dart_recipe_get(cli->recipe, "force", force, sizeof force));
    /* Read already, for all runs; a run itself is to see its recipe and nothing else. */
    for (uint32_t i = 0; dart_option_at(i); i++) {
        char name[96];
        snprintf(name, sizeof name, "DART_%s", dart_option_at(i)->key);
        for (char *c = name; *c; c++) *c = (char)toupper((unsigned char)*c);
        unsetenv(name);
    }
    cli_progress progress;
    volatile int *stop = cli_hooks(&progress, cli->quiet).stop;
    const bool list = cli_flag(cli, "list");
    const dart_sweep_options sweep = {
        .out = out, .flags = cli->recipe, .list = list, .force = strcmp(force, "false") != 0};
    const dart_sweep_hooks hooks = {.user = (void *)(uintptr_t)stop,
        .note = list         ? print
                : cli->quiet ? NULL
                             : say,
        .train = train,
        .stop = stop};
    dart_sweep_result result;
    dart_status status = dart_sweep(cli->arg[0], &sweep, &hooks, &result);
    if (!list && (status == DART_OK || result.done))
        printf("%u of %u runs done: %s/results.md\n", result.done, result.runs, result.dir);
    return status;
}

const cli_command cmd_sweep = {.name = "sweep",
    .summary = "train a grid of recipes and seeds; tables and pictures of the results",
    .arguments = "SWEEP.yaml",
    .recipe = true,
    .own = options,
    .run = run};
