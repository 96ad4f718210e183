/* sweep: a grid of runs, each as a process of its own, so that a crash loses one run. */
#include "cli.h"
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#ifdef __linux__
#include <sys/prctl.h>
#endif

enum { MOST_JOBS = 256 };

static const dart_option options[] = {
    {"list", "", "bool", "false", "", "print the names of the runs and run nothing"},
    {"results", "", "string", "", "",
        "go on from this results.csv of the sweep where its runs are not there any more: those "
        "with "
        "figures count as finished; their recipes are not compared"},
    {"jobs", "", "int", "1", "",
        "runs at a time; each takes its share of the processor's cores, or DART_THREADS of them"},
    {NULL},
};

typedef struct job {
    pid_t pid; /* 0: free */
    uint32_t run;
    int told; /* the signal it was stopped with */
    char log[1100];
} job;

typedef struct pool {
    uint32_t jobs;
    job *job; /* [jobs] */
} pool;

/* The last line of the run's log is the sentence that it failed with. */
static void failure(const char *log, dart_status status, char why[DART_WHY])
{
    char text[4096] = "", line[1024];
    FILE *file = fopen(log, "r");
    while (file && fgets(line, sizeof line, file))
        if (line[0] != '\n') snprintf(text, sizeof text, "%s", line);
    if (file) fclose(file);
    text[strcspn(text, "\n")] = 0;
    const char *sentence = strstr(text, "dart-llm: ") == text ? text + 10 : text;
    snprintf(why, DART_WHY, "%.400s", *sentence ? sentence : dart_status_text(status));
}

static dart_status status_of(const job *j, int state, int stop, char why[DART_WHY])
{
    if (WIFSIGNALED(state)) {
        /* stopped so early that it did not listen yet */
        if (stop && WTERMSIG(state) == j->told)
            return stop == SIGTERM ? DART_TERMINATED : DART_INTERRUPTED;
        snprintf(why, DART_WHY, "the run was killed by signal %d (%s); see %.400s", WTERMSIG(state),
            strsignal(WTERMSIG(state)), j->log);
        return DART_FAILED;
    }
    dart_status status = (dart_status)WEXITSTATUS(state);
    if (status != DART_OK) failure(j->log, status, why);
    return status;
}

static void on_child(int number)
{
    (void)number; /* only ends sigsuspend */
}

/* Signals arrive only within sigsuspend: none is lost between looking and waiting. */
static dart_status wait_one(void *user, uint32_t *out_run, char why[DART_WHY])
{
    pool *p = user;
    sigset_t held, before;
    dart_status status = DART_OK;
    bool found = false;
    *out_run = 0;
    sigemptyset(&held);
    sigaddset(&held, SIGCHLD);
    sigaddset(&held, SIGINT);
    sigaddset(&held, SIGTERM);
    sigaddset(&held, SIGHUP);
    sigaddset(&held, SIGXFSZ);
    sigprocmask(SIG_BLOCK, &held, &before);
    while (!found) {
        const int stop = cli_signal();
        for (uint32_t i = 0; i < p->jobs && !found; i++) {
            job *j = &p->job[i];
            int state;
            if (!j->pid) continue;
            if (stop && !j->told) kill(j->pid, j->told = stop);
            pid_t ended = waitpid(j->pid, &state, WNOHANG);
            if (ended == 0) continue;
            found = true;
            *out_run = j->run;
            status = ended > 0 ? status_of(j, state, stop, why) : DART_FAILED;
            if (ended < 0) snprintf(why, DART_WHY, "lost the run: %s", strerror(errno));
            j->pid = 0;
        }
        if (!found) sigsuspend(&before);
    }
    sigprocmask(SIG_SETMASK, &before, NULL);
    return status;
}

/* A sweep that is killed takes its runs with it: two at one run directory would spoil it. What
 * they have not saved is lost, as if they had been killed. */
static void die_with(pid_t parent)
{
#ifdef __linux__
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(DART_TERMINATED); /* it went before that held */
#else
    (void)parent;
#endif
}

/* The child between fork and exec: system calls only. */
static _Noreturn void become(char *const argv[], const char *log, pid_t parent)
{
    static const char sentence[] = "dart-llm: cannot start this program again\n";
    die_with(parent);
    /* A group of its own: Ctrl-C reaches the run once, through us, and it writes its checkpoint. */
    setpgid(0, 0);
    int file = open(log, O_CREAT | O_APPEND | O_WRONLY, 0644);
    if (file < 0 || dup2(file, 1) < 0 || dup2(file, 2) < 0) _exit(DART_IO);
    execv(argv[0], argv);
    ssize_t written = write(2, sentence, sizeof sentence - 1);
    _exit(written > 0 ? DART_FAILED : DART_IO);
}

static dart_status start(
    void *user, uint32_t run, const char *recipe, const char *dir, bool resume, char why[DART_WHY])
{
    pool *p = user;
    job *j = p->job;
    char self[1024];
    const pid_t parent = getpid();
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    if (n <= 0) {
        snprintf(why, DART_WHY, "cannot find this program: %s", strerror(errno));
        return DART_FAILED;
    }
    self[n] = 0;
    while (j->pid) j++; /* no more than `jobs` run */
    *j = (job){.run = run};
    snprintf(j->log, sizeof j->log, "%s.log", dir);
    char *const argv[] = {self, (char[]){"train"}, (char[]){"--config"}, (char *)(uintptr_t)recipe,
        (char[]){"--out"}, (char *)(uintptr_t)dir,
        resume ? (char[]){"--resume"} : (char[]){"--force"}, NULL};
    pid_t child = fork();
    if (child == 0) become(argv, j->log, parent);
    if (child < 0) {
        snprintf(why, DART_WHY, "cannot start a run: %s", strerror(errno));
        return DART_FAILED;
    }
    j->pid = child;
    return DART_OK;
}

/* Runs beside each other share the cores. Results do not depend on the number of threads. */
static dart_status share_cores(uint32_t jobs, bool quiet)
{
    char text[24];
    const char *given = getenv("DART_THREADS");
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
#ifdef __linux__
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0) cores = CPU_COUNT(&set);
#endif
    const bool share = !(given && *given);
    snprintf(text, sizeof text, "%ld", cores > (long)jobs ? cores / (long)jobs : 1);
    if (share && setenv("DART_THREADS", text, 1)) return cli_fail(DART_MEMORY, "out of memory");
    if (!quiet)
        fprintf(stderr, "%u runs at a time, threads of each: %s\n", jobs, share ? text : given);
    return DART_OK;
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
    char out[512], force[16], path[1024];
    uint64_t jobs;
    if (cli->args != 1) return cli_fail(DART_USAGE, "sweep needs one file; see --help");
    if (cli->config)
        return cli_fail(DART_USAGE, "a sweep names its recipe itself (base); leave --config out");
    CLI_TRY(cli_uint(cli, "jobs", 1, MOST_JOBS, &jobs));
    CLI_TRY(dart_recipe_get(cli->recipe, "out", out, sizeof out));
    CLI_TRY(dart_recipe_get(cli->recipe, "force", force, sizeof force));
    /* Read already, for all runs; a run itself is to see its recipe and nothing else. */
    for (uint32_t i = 0; dart_option_at(i); i++) {
        char name[96];
        snprintf(name, sizeof name, "DART_%s", dart_option_at(i)->key);
        for (char *c = name; *c; c++) *c = (char)toupper((unsigned char)*c);
        unsetenv(name);
    }
    const bool list = cli_flag(cli, "list");
    const dart_sweep_options sweep = {.size = sizeof sweep,
        .out = out,
        .flags = cli->recipe,
        .list = list,
        .force = strcmp(force, "false") != 0,
        .jobs = (uint32_t)jobs,
        .results = cli_text(cli, "results")};
    const struct sigaction action = {.sa_handler = on_child, .sa_flags = SA_RESTART};
    pool p = {.jobs = (uint32_t)jobs};
    cli_listen();
    const dart_sweep_hooks hooks = {.size = sizeof hooks,
        .user = &p,
        .note = list         ? print
                : cli->quiet ? NULL
                             : say,
        .start = start,
        .wait = wait_one,
        .abort = cli_abort};
    p.job = calloc(jobs, sizeof *p.job);
    if (!p.job) return cli_fail(DART_MEMORY, "out of memory");
    sigaction(SIGCHLD, &action, NULL);
    dart_sweep_result result = {.size = sizeof result};
    dart_status status = jobs > 1 && !list ? share_cores(p.jobs, cli->quiet) : DART_OK;
    if (status == DART_OK)
        status = dart_sweep(cli_installed(cli->arg[0], path), &sweep, &hooks, &result);
    free(p.job);
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
