/* Progress on stderr: one line redrawn at most ten times a second on a terminal, plain lines
 * otherwise. */
#include "cli.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

static volatile int stop_signal;

static void on_signal(int number)
{
    if (stop_signal && number == SIGINT) _exit(DART_INTERRUPTED);
    stop_signal = number;
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void clock_text(double seconds, char out[24])
{
    if (!(seconds >= 0 && seconds < 360000)) {
        snprintf(out, 24, "--:--");
        return;
    }
    unsigned s = (unsigned)(seconds + 0.5);
    if (s >= 3600)
        snprintf(out, 24, "%u:%02u:%02u", s / 3600, s / 60 % 60, s % 60);
    else
        snprintf(out, 24, "%02u:%02u", s / 60, s % 60);
}

static void clear_line(cli_progress *p)
{
    if (p->drawn) fputs("\r\033[K", stderr);
    p->drawn = false;
}

/* Nothing where the loss is not the one a perplexity is made of. */
static void perplexity_text(const dart_progress *at, char out[32])
{
    out[0] = 0;
    if (!isnan(at->perplexity)) snprintf(out, 32, "  ppl %.1f", at->perplexity);
}

/* Columns that a line may take: one in the last column would wrap. 0: not known. */
static int room(void)
{
    struct winsize size;
    return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) || size.ws_col < 2 ? 0 : size.ws_col - 1;
}

/* One line, whatever the terminal's width: the bar shrinks, then parts go, the least needed first.
 */
static void draw(cli_progress *p, const dart_progress *at)
{
    enum { WIDTH = 20, SMALLEST = 5, PARTS = 5 };
    char bar[WIDTH + 1], eta[24], part[PARTS][48], ppl[32];
    static const int order[] = {3, 2, 4, 1}; /* what goes first: speed, perplexity, ETA, loss */
    clock_text(at->eta_s, eta);
    perplexity_text(at, ppl);
    snprintf(part[0], sizeof *part, " %llu/%llu", (unsigned long long)at->step,
        (unsigned long long)at->steps);
    snprintf(part[1], sizeof *part, "  loss %.4f", at->loss);
    snprintf(part[2], sizeof *part, "%s", ppl);
    snprintf(part[3], sizeof *part, "  %.0f tok/s", at->tokens_per_s);
    snprintf(part[4], sizeof *part, "  ETA %s", eta);
    int stage = (int)strlen(p->stage), used = stage, columns = room();
    for (int i = 0; i < PARTS; i++) used += (int)strlen(part[i]);
    for (int i = 0; columns && i < 4 && used > columns; i++) {
        used -= (int)strlen(part[order[i]]);
        part[order[i]][0] = 0;
    }
    if (columns && used > columns) stage = used - stage < columns ? columns - (used - stage) : 0;
    int width = columns ? columns - used - 3 : WIDTH; /* " [" and "]" */
    if (width > WIDTH) width = WIDTH;
    if (width < SMALLEST) width = 0;
    double done = at->steps ? (double)at->step / (double)at->steps : 0;
    int full = done >= 1 ? width : done <= 0 ? 0 : (int)(done * width);
    memset(bar, '-', (size_t)width);
    memset(bar, '#', (size_t)full);
    bar[width] = 0;
    fprintf(stderr, "\r\033[K%.*s", stage, p->stage);
    if (width)
        fprintf(stderr, " [%s%s%s]", p->colour ? "\033[36m" : "", bar, p->colour ? "\033[0m" : "");
    for (int i = 0; i < PARTS; i++) fputs(part[i], stderr);
    fflush(stderr);
    p->drawn = true;
}

static void on_progress(void *user, const dart_progress *at)
{
    cli_progress *p = user;
    if (p->quiet) return;
    char stage[sizeof p->stage];
    snprintf(stage, sizeof stage, "%s%s%s", at->row ? at->row : "", at->row && *at->row ? ", " : "",
        at->stage ? at->stage : "");
    bool fresh = strcmp(stage, p->stage) != 0, last = at->step >= at->steps;
    bool valid = !isnan(at->valid_perplexity);
    memcpy(p->stage, stage, sizeof stage);
    double t = now();
    if (!fresh && !last && !valid && t - p->last < (p->terminal ? 0.1 : 5.0)) return;
    p->last = t;
    if (p->terminal) draw(p, at);
    char eta[24], ppl[32];
    clock_text(at->eta_s, eta);
    perplexity_text(at, ppl);
    if (!p->terminal)
        fprintf(stderr, "%s  step %llu/%llu  loss %.4f%s  lr %.2e  %.0f tok/s  ETA %s\n", p->stage,
            (unsigned long long)at->step, (unsigned long long)at->steps, at->loss, ppl, at->lr,
            at->tokens_per_s, eta);
    if (valid) {
        clear_line(p);
        fprintf(stderr, "%s  step %llu  valid ppl %.2f\n", p->stage, (unsigned long long)at->step,
            at->valid_perplexity);
    }
}

static void on_note(void *user, const char *line)
{
    cli_progress *p = user;
    if (p->quiet) return;
    clear_line(p);
    fprintf(stderr, "%s\n", line);
}

int cli_signal(void)
{
    return stop_signal;
}

dart_status cli_abort(void *user)
{
    (void)user;
    const int number = stop_signal;
    return !number ? DART_OK : number == SIGINT ? DART_INTERRUPTED : DART_TERMINATED;
}

void cli_listen(void)
{
    static const int numbers[] = {SIGINT, SIGTERM, SIGHUP, SIGXFSZ};
    const struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        sigaction(numbers[i], &action, NULL);
    signal(SIGPIPE, SIG_IGN); /* a reader of our output who goes away must not end a training */
}

dart_hooks cli_hooks(cli_progress *p, bool quiet)
{
    const char *no_colour = getenv("NO_COLOR"), *term = getenv("TERM");
    *p = (cli_progress){.quiet = quiet};
    p->terminal = isatty(STDERR_FILENO) && term && strcmp(term, "dumb") != 0;
    p->colour = p->terminal && !(no_colour && *no_colour);
    return (dart_hooks){.size = sizeof(dart_hooks),
        .user = p,
        .progress = on_progress,
        .note = on_note,
        .abort = cli_abort};
}

dart_status cli_open(
    const char *path, const dart_recipe *overrides, const dart_hooks *hooks, dart_llm **out)
{
    const dart_llm_options o = {.size = sizeof o,
        .overrides = overrides,
        .user = hooks ? hooks->user : NULL,
        .note = hooks ? hooks->note : NULL};
    return dart_llm_open(path, &o, out);
}

dart_status cli_open_to_use(
    const cli_call *cli, const char *path, const dart_hooks *hooks, dart_llm **out)
{
    enum { MOST = 2048, LEAST = 16 };
    dart_recipe *recipe = cli->recipe;
    dart_status status = DART_INPUT;
    if (!dart_llm_pretrained(path)) return cli_open(path, recipe, hooks, out);
    if (!dart_recipe_has(recipe, "base_dtype"))
        CLI_TRY(dart_recipe_set(recipe, "base_dtype", "file"));
    if (dart_recipe_has(recipe, "context")) return cli_open(path, recipe, hooks, out);
    for (int tokens = MOST; tokens >= LEAST && status == DART_INPUT; tokens /= 2) {
        char text[16];
        snprintf(text, sizeof text, "%d", tokens);
        CLI_TRY(dart_recipe_set(recipe, "context", text));
        status = cli_open(path, recipe, hooks, out);
    }
    return status;
}

void cli_progress_end(cli_progress *p)
{
    if (p->drawn) fputc('\n', stderr);
    p->drawn = false;
}
