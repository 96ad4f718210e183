/* chat: a conversation in the terminal, or a line of a pipe for each message and each answer. */
#include "cli.h"
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

static const dart_option options[] = {
    {"model_path", "model", "string", "", "",
        "run directory, checkpoint directory or pretrained model"},
    {"system", "", "string", "", "", "what the assistant is told first; empty: the template's own"},
    {"tokens", "n,n_predict,max_new_tokens", "int", "0", "",
        "tokens of an answer at most; 0: as many as the context has room for"},
    CLI_SAMPLING,
    {NULL},
};

static volatile sig_atomic_t interrupted;

static void on_interrupt(int number)
{
    (void)number;
    interrupted = 1;
}

static dart_status asked(void *user)
{
    (void)user;
    return interrupted ? DART_INTERRUPTED : DART_OK;
}

typedef struct talk {
    dart_context *context;
    dart_generate_options how;
    dart_message *message;      /* owned, with texts but the system's */
    size_t count, room, system; /* system: 1 where there is one */
    bool terminal, quiet;
} talk;

static dart_status say(talk *t, const char *role, const char *text)
{
    if (t->count == t->room) {
        dart_message *more = realloc(t->message, (t->room + 64) * sizeof *more);
        if (!more) return cli_fail(DART_MEMORY, "out of memory for the conversation");
        t->message = more;
        t->room += 64;
    }
    t->message[t->count++] = (dart_message){role, text};
    return DART_OK;
}

/* Drops `count` messages from `from` on. */
static void forget(talk *t, size_t from, size_t count)
{
    for (size_t i = from; i < from + count; i++) free((void *)t->message[i].text);
    memmove(t->message + from, t->message + from + count,
        (t->count - from - count) * sizeof *t->message);
    t->count -= count;
}

typedef struct answer_sink {
    cli_kept kept;
    bool one_line; /* line ends are written as spaces */
} answer_sink;

static int take_answer(void *user, const char *text, size_t size)
{
    answer_sink *sink = user;
    if (cli_keep(&sink->kept, text, size)) return 1;
    for (size_t i = 0; i < size; i++)
        if (putchar(sink->one_line && text[i] == '\n' ? ' ' : text[i]) == EOF) return 1;
    return fflush(stdout) != 0;
}

/* Takes the text of a question over; without an answer it was not said. */
static dart_status ask(talk *t, char *text)
{
    answer_sink sink = {.one_line = !t->terminal};
    size_t left = 0;
    dart_status status = say(t, "user", text);
    if (status != DART_OK) {
        free(text);
        return status;
    }
    status = dart_context_chat(
        t->context, t->message, t->count, &t->how, take_answer, &sink, &left, NULL);
    if (status == DART_OK && cli_keep(&sink.kept, "", 0)) status = DART_MEMORY; /* an empty one */
    if (status == DART_OK) status = say(t, "assistant", sink.kept.text);
    if (status != DART_OK) {
        if (sink.kept.failed) status = DART_MEMORY;
        free(sink.kept.text);
        forget(t, t->count - 1, 1);
        return status;
    }
    putchar('\n');
    if (fflush(stdout) != 0) return cli_fail(DART_IO, "cannot write to standard output");
    if (left) forget(t, t->system, left);
    if (left && !t->quiet)
        fprintf(stderr,
            "(the context of %u tokens is full: the oldest %zu messages are left out)\n",
            dart_context_limit(t->context), left);
    return DART_OK;
}

/* Standard input by lines. stdio cannot wait for one without missing an interrupt that comes just
 * before it begins to wait. */
typedef struct input {
    char *text; /* owned: what was read, of which the first `given` bytes were handed out */
    size_t used, room, given;
} input;

/* Waits until there is something to read; INTERRUPTED, without a sentence, if Ctrl-C came first. */
static dart_status await_input(void)
{
    sigset_t block, before;
    struct pollfd wait = {.fd = STDIN_FILENO, .events = POLLIN};
    dart_status status = DART_OK;
    sigemptyset(&block);
    sigaddset(&block, SIGINT);
    sigprocmask(SIG_BLOCK, &block, &before);
    while (!interrupted && ppoll(&wait, 1, NULL, &before) < 0 && status == DART_OK)
        if (errno != EINTR)
            status = cli_fail(DART_IO, "cannot read the input: %s", strerror(errno));
    sigprocmask(SIG_SETMASK, &before, NULL);
    return status == DART_OK && interrupted ? DART_INTERRUPTED : status;
}

/* The next line without its end, a string of *out_size bytes that lives until the next call; NULL
 * at the end of the input. */
static dart_status read_line(input *in, char **out, size_t *out_size)
{
    char *end = NULL;
    size_t looked = 0;
    *out = NULL;
    memmove(in->text, in->text + in->given, in->used - in->given);
    in->used -= in->given;
    in->given = 0;
    while (!(end = memchr(in->text + looked, '\n', in->used - looked))) {
        looked = in->used;
        if (in->room - in->used < 2) {
            char *more = realloc(in->text, in->room * 2);
            if (!more) return cli_fail(DART_MEMORY, "out of memory: reading a line");
            in->text = more;
            in->room *= 2;
        }
        CLI_TRY(await_input());
        const ssize_t n = read(STDIN_FILENO, in->text + in->used, in->room - in->used - 1);
        if (n < 0 && errno != EINTR && errno != EAGAIN)
            return cli_fail(DART_IO, "cannot read the input: %s", strerror(errno));
        if (n > 0) in->used += (size_t)n;
        if (n == 0 && !in->used) return DART_OK;
        if (n == 0) break; /* the last line has no end */
    }
    in->given = end ? (size_t)(end + 1 - in->text) : in->used;
    size_t size = end ? in->given - 1 : in->used;
    while (size && in->text[size - 1] == '\r') size--;
    in->text[size] = 0;
    *out = in->text;
    *out_size = size;
    return DART_OK;
}

/* Messages to the end of the input, /exit, or an interrupt between answers. */
static dart_status converse_by(talk *t, input *in)
{
    char *line;
    size_t size;
    for (uint64_t number = 1;; number++) {
        if (t->terminal) interrupted = 0; /* from here on it is meant for the prompt */
        if (t->terminal) fputs("> ", stdout);
        if (t->terminal) fflush(stdout);
        dart_status status = read_line(in, &line, &size);
        if (t->terminal && (status == DART_INTERRUPTED || (status == DART_OK && !line))) {
            putchar('\n');
            return DART_OK;
        }
        if (status == DART_INTERRUPTED) return cli_fail(status, "interrupted");
        if (status != DART_OK || !line) return status;
        if (memchr(line, 0, size))
            return cli_fail(DART_INPUT, "line %llu of the input has a zero byte; it is not text",
                (unsigned long long)number);
        if (!size) continue;
        if (!strcmp(line, "/exit")) return DART_OK;
        if (!strcmp(line, "/reset")) {
            forget(t, t->system, t->count - t->system);
            continue;
        }
        char *text = strdup(line);
        if (!text) return cli_fail(DART_MEMORY, "out of memory for the conversation");
        status = ask(t, text);
        if (interrupted && !t->terminal) return cli_fail(DART_INTERRUPTED, "interrupted");
        if (t->terminal && status == DART_INTERRUPTED)
            putchar('\n');
        else if (t->terminal && status == DART_INPUT)
            fprintf(stderr, "dart-llm: %s\n", dart_last_error());
        else if (status != DART_OK)
            return status;
    }
}

static dart_status converse(talk *t)
{
    input in = {.text = malloc(4096), .room = 4096};
    if (!in.text) return cli_fail(DART_MEMORY, "out of memory for the conversation");
    const dart_status status = converse_by(t, &in);
    free(in.text);
    return status;
}

static dart_status run(cli_call *cli)
{
    char base[1024];
    const char *path = cli_model(cli, base, sizeof base), *system = cli_text(cli, "system");
    if (!path) return cli_fail(DART_USAGE, "chat needs a model: a run or a pretrained one");
    dart_status status = DART_OK;
    cli_progress progress;
    const dart_hooks hooks = cli_hooks(&progress, cli->quiet);
    dart_sampling sampling;
    cli_texts stops = {0};
    dart_llm *llm = NULL;
    uint64_t tokens;
    CLI_TRY(cli_uint(cli, "tokens", 0, 1000000, &tokens));
    CLI_TRY(cli_sampling(cli, &sampling));
    talk t = {.terminal = isatty(STDIN_FILENO), .quiet = cli->quiet, .system = system != NULL};
    CLI_GOTO(cli_stops(cli, &stops));
    t.how = (dart_generate_options){.size = sizeof t.how,
        .tokens = (uint32_t)tokens,
        .sampling = &sampling,
        .abort = asked,
        .stop = stops.text,
        .stops = stops.count,
        .ignore_end = cli_flag(cli, "ignore_eos")};
    CLI_GOTO(cli_open_to_use(cli, path, &hooks, &llm));
    CLI_GOTO(dart_context_new(llm, NULL, &t.context));
    if (system) CLI_GOTO(say(&t, "system", system));
    const struct sigaction listen = {.sa_handler = on_interrupt};
    sigaction(SIGINT, &listen, NULL);
    status = converse(&t);
    forget(&t, t.system, t.count - t.system);
done:
    free(t.message);
    cli_texts_free(&stops);
    dart_context_free(t.context);
    dart_llm_close(llm);
    return status;
}

const cli_command cmd_chat = {.name = "chat",
    .summary = "talk with a model",
    .arguments = "[MODEL]",
    .recipe = true,
    .own = options,
    .run = run};
