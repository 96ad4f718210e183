/* generate --input: a prompt or a conversation on each line, and the model's answer to each. */
#include "cli.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_MESSAGES = 1024 };

typedef struct question {
    json_t *body;       /* owned; NULL: the line is a prompt */
    const char *prompt; /* NULL: a conversation */
    dart_message message[MOST_MESSAGES];
    size_t messages;
} question;

static dart_status wrong(uint64_t line, const char *what)
{
    return cli_fail(DART_INPUT, "line %" PRIu64 " of the input: %s", line, what);
}

static dart_status take_messages(uint64_t line, const json_t *list, question *q)
{
    const size_t count = json_array_size(list);
    for (size_t i = 0; i < count; i++) {
        const json_t *one = json_array_get(list, i);
        const char *role = json_string_value(json_object_get(one, "role"));
        const char *text = json_string_value(json_object_get(one, "content"));
        if (!role || !text) return wrong(line, "a message needs the texts 'role' and 'content'");
        if (i == MOST_MESSAGES) return wrong(line, "a conversation of more than 1,024 messages");
        q->message[i] = (dart_message){role, text};
    }
    /* The answer that an example for training has is what is asked for. */
    q->messages = count && !strcmp(q->message[count - 1].role, "assistant") ? count - 1 : count;
    return q->messages ? DART_OK : wrong(line, "a conversation without a question");
}

static dart_status read_question(uint64_t line, const char *text, bool objects, question *q)
{
    json_error_t error;
    q->body = NULL;
    q->prompt = text;
    if (!objects) return DART_OK;
    q->body = json_loads(text, 0, &error);
    if (!q->body && json_error_code(&error) == json_error_out_of_memory)
        return cli_fail(DART_MEMORY, "out of memory: reading line %" PRIu64 " of the input", line);
    if (!q->body)
        return cli_fail(
            DART_INPUT, "line %" PRIu64 " of the input is no JSON: %s", line, error.text);
    const json_t *messages = json_object_get(q->body, "messages");
    q->prompt = json_string_value(json_object_get(q->body, "prompt"));
    if (q->prompt) return DART_OK;
    if (json_is_array(messages)) return take_messages(line, messages, q);
    return wrong(line, "an object with 'prompt', a text, or 'messages', a list, is expected");
}

/* {"prompt" or "messages": as asked, "completion": the answer}, or the answer alone with its line
 * ends as spaces. */
static dart_status print_answer(const question *q, char *answer, bool json)
{
    if (json) {
        json_t *out = json_object();
        if (q->prompt)
            out = cli_json_text(out, "prompt", q->prompt);
        else
            out = cli_json_join(
                out, json_pack("{s:O}", "messages", json_object_get(q->body, "messages")));
        out = cli_json_text(out, "completion", answer);
        char *line = out ? json_dumps(out, JSON_COMPACT | JSON_ENSURE_ASCII) : NULL;
        json_decref(out);
        if (!line) return cli_fail(DART_MEMORY, "out of memory for an answer");
        puts(line);
        free(line);
    } else {
        for (char *c = answer; *c; c++)
            if (*c == '\n' || *c == '\r') *c = ' ';
        puts(answer);
    }
    return fflush(stdout) ? cli_fail(DART_IO, "cannot write to standard output") : DART_OK;
}

/* The library's sentence does not know the line. */
static dart_status of_line(uint64_t line, dart_status status)
{
    if (status != DART_INPUT) return status;
    return cli_fail(status, "line %" PRIu64 " of the input: %s", line, dart_last_error());
}

dart_status cli_answer(
    dart_context *context, const char *path, dart_generate_options *how, bool json)
{
    const size_t length = strlen(path);
    const bool objects = length > 6 && !strcmp(path + length - 6, ".jsonl");
    cli_lines lines = {0};
    char *text;
    dart_status status = DART_OK;
    question *q = malloc(sizeof *q);
    if (!q) return cli_fail(DART_MEMORY, "out of memory for a conversation");
    CLI_GOTO(cli_lines_open(path, &lines));
    while ((status = cli_lines_next(&lines, &text)) == DART_OK && text) {
        cli_kept kept = {0};
        if (objects && !*text) continue;
        status = read_question(lines.number, text, objects, q);
        if (status == DART_OK) {
            how->prompt = q->prompt;
            status = q->prompt ? dart_context_generate(context, how, cli_keep, &kept, NULL)
                               : dart_context_chat(context, q->message, q->messages, how, cli_keep,
                                     &kept, NULL, NULL);
            status = of_line(lines.number, status);
        }
        if (status == DART_OK && cli_keep(&kept, "", 0)) status = DART_MEMORY; /* an empty one */
        if (kept.failed) status = DART_MEMORY;
        if (status == DART_OK) status = print_answer(q, kept.text, json);
        free(kept.text);
        json_decref(q->body);
        if (status != DART_OK) break;
    }
done:
    cli_lines_close(&lines);
    free(q);
    return status;
}
