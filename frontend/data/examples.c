/* Lines of JSON, and records of CSV and TSV files, as documents. */
#include "examples.h"
#include "csv.h"
#include "documents.h"
#include "file.h"
#include "text.h"
#include "utf8.h"
#include "vocab.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

typedef struct sample { /* one example as it grows, and where it stands */
    const dart_examples_options *options;
    const dart_vocab *vocab;
    char what[600]; /* "train.jsonl, line 12" */
    dart_ids ids;
    uint8_t *learn;
    size_t learn_room;
} sample;

static dart_status add(sample *s, const char *text, size_t bytes, bool special, bool learn)
{
    const size_t before = s->ids.count;
    DART_TRY(dart_vocab_append(s->vocab, text, bytes, special, s->what, &s->ids));
    DART_TRY(dart_grow((void **)&s->learn, &s->learn_room, s->ids.count, 1));
    if (s->ids.count > before) /* of an empty text there may be no list yet */
        memset(s->learn + before, learn || s->options->learn_prompts, s->ids.count - before);
    return DART_OK;
}

static dart_status add_id(sample *s, int32_t id, bool learn)
{
    if (id < 0) return DART_OK;
    DART_TRY(dart_ids_take(&s->ids, &id, 1));
    DART_TRY(dart_grow((void **)&s->learn, &s->learn_room, s->ids.count, 1));
    s->learn[s->ids.count - 1] = learn || s->options->learn_prompts;
    return DART_OK;
}

/* What the tokenizer puts before a text goes first, unless the text has it. */
static dart_status begin(sample *s)
{
    bool added;
    DART_TRY(dart_vocab_begin(s->vocab, &s->ids, &added));
    if (!added) return DART_OK;
    DART_TRY(dart_grow((void **)&s->learn, &s->learn_room, s->ids.count, 1));
    memmove(s->learn + 1, s->learn, s->ids.count - 1);
    s->learn[0] = s->options->learn_prompts;
    return DART_OK;
}

/* A question with its answer, or (prompt NULL) a text; into s->ids. Special tokens that are written
 * in them, by a template that was applied before, are meant, as in the prompts of generate. */
static dart_status add_example(
    sample *s, const dart_csv_field *prompt, const dart_csv_field *answer)
{
    if (prompt) DART_TRY(add(s, prompt->text, prompt->bytes, true, false));
    const size_t asked = s->ids.count;
    DART_TRY(add(s, answer->text, answer->bytes, true, true));
    const bool ended = s->ids.count > asked && s->ids.id[s->ids.count - 1] == s->vocab->end;
    DART_TRY(begin(s));
    return ended ? DART_OK : add_id(s, s->vocab->end, true);
}

static bool given(const char *name)
{
    return name && *name;
}

static const char *name_or(const char *name, const char *otherwise)
{
    return given(name) ? name : otherwise;
}

/* Which kinds of example may be, where names of columns say so. */
static bool may_be_text(const dart_examples_options *o)
{
    return !given(o->prompt_column) && !given(o->completion_column);
}

static bool may_be_pair(const dart_examples_options *o)
{
    return !given(o->text_column);
}

static dart_status read_messages(sample *s, json_t *list)
{
    static const char *const roles[] = {"system", "user", "assistant"};
    const size_t count = json_array_size(list);
    if (!s->options->chat)
        return dart_fail(
            DART_INPUT, "%s is a conversation, and %s", s->what, s->options->why_no_chat);
    if (!json_is_array(list) || !count)
        return dart_fail(DART_INPUT, "%s: \"messages\" is no list of messages", s->what);
    dart_chat_message *message = dart_calloc(count, sizeof *message);
    if (!message) return DART_MEMORY;
    dart_chat_text text = {0};
    dart_status status = DART_OK;
    for (size_t i = 0; i < count; i++) {
        json_t *one = json_array_get(list, i), *content = json_object_get(one, "content");
        const char *role = json_string_value(json_object_get(one, "role"));
        int r = 0;
        while (r < DART_CHAT_ROLES && (!role || strcmp(role, roles[r]))) r++;
        if (r == DART_CHAT_ROLES || !json_is_string(content))
            DART_GOTO(dart_fail(DART_INPUT,
                "%s: message %zu needs a role (system, user or assistant) and a content, which is "
                "a "
                "text",
                s->what, i + 1));
        message[i] = (dart_chat_message){
            (dart_chat_role)r, json_string_value(content), json_string_length(content)};
    }
    DART_GOTO(dart_chat_pieces(s->options->chat, message, count, false, s->what, &text));
    for (size_t i = 0; i < text.count; i++) {
        const dart_chat_piece *p = &text.piece[i];
        DART_GOTO(add(s, p->text, p->bytes, p->special, p->learn));
    }
    if (s->ids.count) status = begin(s);
done:
    dart_chat_text_free(&text);
    free(message);
    return status;
}

static dart_csv_field string_of(const json_t *text)
{
    return (dart_csv_field){json_string_value(text), json_string_length(text)};
}

/* The ids of one line. *out_all: a text, all of which is learnt. */
static dart_status read_line(sample *s, json_t *body, bool *out_all)
{
    const dart_examples_options *o = s->options;
    const char *ask = name_or(o->prompt_column, "prompt");
    const char *reply = name_or(o->completion_column, "completion");
    const char *whole = name_or(o->text_column, "text");
    json_t *prompt = json_object_get(body, ask), *completion = json_object_get(body, reply);
    json_t *text = json_object_get(body, whole), *messages = json_object_get(body, "messages");
    *out_all = false;
    if (messages && may_be_text(o) && may_be_pair(o)) return read_messages(s, messages);
    if (json_is_string(prompt) && json_is_string(completion) && may_be_pair(o)) {
        const dart_csv_field question = string_of(prompt), answer = string_of(completion);
        return add_example(s, &question, &answer);
    }
    if (json_is_string(text) && may_be_text(o)) {
        const dart_csv_field only = string_of(text);
        *out_all = true;
        return add_example(s, NULL, &only);
    }
    return dart_fail(DART_INPUT,
        "%s is none of {\"messages\": [..]}, {\"%s\": \"..\", \"%s\": \"..\"} and {\"%s\": "
        "\"..\"}",
        s->what, ask, reply, whole);
}

typedef struct losses { /* what did not fit */
    uint64_t cut, left;
} losses;

/* What the sample has gathered. all: of a text. */
static dart_status take_document(const sample *s, bool all, dart_documents *out, losses *lost)
{
    uint64_t cut;
    bool left;
    DART_TRY(dart_documents_add(out, s->ids.id, all || s->options->learn_prompts ? NULL : s->learn,
        s->ids.count, s->options->time, &cut, &left));
    lost->cut += cut;
    lost->left += left;
    return DART_OK;
}

static dart_status take_line(
    sample *s, const char *line, size_t bytes, dart_documents *out, losses *lost)
{
    char why[DART_JSON_WHY];
    json_t *body;
    s->ids.count = 0;
    dart_status status = dart_json_parse(line, bytes, "a line", why, &body);
    if (status == DART_INPUT) return dart_fail(DART_INPUT, "%s is no JSON: %s", s->what, why);
    DART_TRY(status);
    bool all;
    status = read_line(s, body, &all);
    json_decref(body);
    DART_TRY(status);
    return take_document(s, all, out, lost);
}

/* The examples of lines [from, to) of a file. */
static dart_status take_lines(const dart_examples_options *o, const dart_vocab *vocab,
    const char *path, const char *data, size_t size, uint64_t from, uint64_t to,
    dart_documents *out, losses *lost)
{
    sample s = {.options = o, .vocab = vocab};
    dart_status status = DART_OK;
    uint64_t line = 0;
    for (size_t at = dart_utf8_mark(data, size); at < size && line < to; line++) {
        const char *end = memchr(data + at, '\n', size - at);
        const size_t stop = end ? (size_t)(end - data) : size;
        size_t used = at, last = stop;
        while (used < last && strchr(" \t\r", data[used])) used++;
        while (last > used && strchr(" \t\r", data[last - 1])) last--;
        snprintf(s.what, sizeof s.what, "%.500s, line %" PRIu64, path, line + 1);
        if (line >= from && last > used)
            DART_GOTO(take_line(&s, data + used, last - used, out, lost));
        at = stop + 1;
    }
done:
    free(s.ids.id);
    free(s.learn);
    return status;
}

/* ---- CSV and TSV ---- */

/* Where an example's texts stand in a record. */
typedef struct columns {
    int prompt, answer; /* prompt -1: the answer is a text, all of which is learnt */
} columns;

static dart_status find_columns(
    const dart_examples_options *o, const dart_csv *csv, const char *path, columns *out)
{
    const char *ask = name_or(o->prompt_column, "prompt");
    const char *reply = name_or(o->completion_column, "completion");
    const char *whole = name_or(o->text_column, "text");
    *out = (columns){dart_csv_column(csv, ask), dart_csv_column(csv, reply)};
    if (out->prompt >= 0 && out->answer >= 0 && may_be_pair(o)) return DART_OK;
    *out = (columns){-1, dart_csv_column(csv, whole)};
    if (out->answer >= 0 && may_be_text(o)) return DART_OK;
    char names[200] = "";
    for (uint32_t i = 0; i < csv->columns && strlen(names) < 120; i++)
        snprintf(names + strlen(names), sizeof names - strlen(names), "%s%.40s", i ? ", " : "",
            csv->name[i].text);
    if (!may_be_pair(o))
        return dart_fail(DART_INPUT, "%s has no column '%.60s'; it has %s", path, whole, names);
    return dart_fail(DART_INPUT,
        "%s has no columns '%.60s' and '%.60s'; it has %s: choose with --prompt-column and "
        "--completion-column, or with --text-column",
        path, ask, reply, names);
}

/* The examples of records [from, to) of a file. */
static dart_status take_records(const dart_examples_options *o, const dart_vocab *vocab,
    const char *path, const char *data, size_t size, uint64_t from, uint64_t to,
    dart_documents *out, losses *lost)
{
    sample s = {.options = o, .vocab = vocab};
    dart_csv csv;
    columns where;
    bool more;
    dart_status status = DART_OK;
    DART_GOTO(dart_csv_open(path, data, size, dart_csv_separator(path), &csv));
    DART_GOTO(find_columns(o, &csv, path, &where));
    for (uint64_t at = 0; at < to; at++) {
        DART_GOTO(dart_csv_next(&csv, &more));
        if (!more) break;
        if (at < from) continue;
        snprintf(s.what, sizeof s.what, "%.500s, line %" PRIu64, path, csv.line);
        s.ids.count = 0;
        const dart_csv_field *prompt = where.prompt < 0 ? NULL : &csv.field[where.prompt];
        DART_GOTO(add_example(&s, prompt, &csv.field[where.answer]));
        DART_GOTO(take_document(&s, !prompt, out, lost));
    }
done:
    dart_csv_close(&csv);
    free(s.ids.id);
    free(s.learn);
    return status;
}

static dart_status count_records(
    const char *path, const char *data, size_t size, uint64_t *out_count)
{
    dart_csv csv;
    bool more = true;
    *out_count = 0;
    dart_status status = dart_csv_open(path, data, size, dart_csv_separator(path), &csv);
    while (status == DART_OK && more) {
        status = dart_csv_next(&csv, &more);
        *out_count += more;
    }
    dart_csv_close(&csv);
    return status;
}

/* ---- files ---- */

/* Lines or records [from, to) of a file. */
static dart_status take_part(const dart_examples_options *o, const dart_vocab *vocab,
    const char *path, const char *data, size_t size, uint64_t from, uint64_t to,
    dart_documents *out, losses *lost)
{
    return (dart_csv_separator(path) ? take_records : take_lines)(
        o, vocab, path, data, size, from, to, out, lost);
}

static uint64_t count_lines(const char *data, size_t size)
{
    uint64_t lines = 0;
    for (size_t i = 0; i < size; i++) lines += data[i] == '\n';
    return lines + (size && data[size - 1] != '\n');
}

static void hash_documents(dart_corpus *c, int split)
{
    const dart_documents *d = &c->documents[split];
    const uint64_t tokens = d->first ? d->first[d->count] : 0;
    XXH128_hash_t part[3] = {XXH3_128bits(d->ids, tokens * sizeof *d->ids),
        XXH3_128bits(d->learn, tokens), XXH3_128bits(d->first, (d->count + 1) * sizeof *d->first)};
    const XXH128_hash_t hash = XXH3_128bits(part, sizeof part);
    snprintf(c->hash[split], sizeof c->hash[split], "%016" PRIx64 "%016" PRIx64,
        (uint64_t)hash.high64, (uint64_t)hash.low64);
}

static dart_status take_file(
    const dart_examples_options *o, const char *path, int split, dart_corpus *out, losses *lost)
{
    char *data;
    size_t size;
    DART_TRY(dart_file_read(path, &data, &size));
    dart_status status =
        take_part(o, &out->vocab, path, data, size, 0, UINT64_MAX, &out->documents[split], lost);
    free(data);
    return status;
}

/* One file: its first nine tenths to train on, the rest halved to validate and to test. */
static dart_status cut_file(const dart_examples_options *o, dart_corpus *out, losses *lost)
{
    char *data;
    size_t size;
    DART_TRY(dart_file_read(o->path, &data, &size));
    uint64_t lines = count_lines(data, size);
    dart_status status = DART_OK;
    if (dart_csv_separator(o->path)) status = count_records(o->path, data, size, &lines);
    const uint64_t at[] = {0, lines * 90 / 100, lines * 95 / 100, lines};
    for (int i = 0; i < DART_SPLITS && status == DART_OK; i++)
        status = take_part(
            o, &out->vocab, o->path, data, size, at[i], at[i + 1], &out->documents[i], lost);
    free(data);
    return status;
}

static dart_status take_folder(const dart_examples_options *o, dart_corpus *out, losses *lost)
{
    for (int i = 0; i < DART_SPLITS; i++) {
        char path[4096];
        DART_TRY(dart_split_file(o->path, i, path));
        DART_TRY(take_file(o, path, i, out, lost));
    }
    return DART_OK;
}

dart_status dart_examples_read(const dart_examples_options *options, dart_corpus *out)
{
    static const char *const names[] = {"to train on", "to validate", "to test"};
    losses lost = {0};
    out->in_documents = true;
    snprintf(out->source, sizeof out->source, "%.500s", options->path);
    if (dart_is_folder(options->path)) {
        DART_TRY(take_folder(options, out, &lost));
    } else if (*options->valid) {
        DART_TRY(take_file(options, options->path, DART_TRAIN, out, &lost));
        for (int i = DART_VALID; i <= DART_TEST; i++)
            DART_TRY(take_file(options, options->valid, i, out, &lost));
    } else {
        DART_TRY(cut_file(options, out, &lost));
    }
    for (int i = 0; i < DART_SPLITS; i++) {
        if (!out->documents[i].count)
            return dart_fail(DART_INPUT,
                "%s has no example %s with a label in its first %u tokens; give more examples, or "
                "a "
                "larger --context",
                i && *options->valid ? options->valid : options->path, names[i], options->time + 1);
        out->count[i] = out->documents[i].labels;
        hash_documents(out, i);
    }
    if (lost.cut || lost.left)
        snprintf(out->note, sizeof out->note,
            "examples longer than %u tokens are cut: %" PRIu64 " labels are lost, %" PRIu64
            " examples have none left; --context takes longer ones",
            options->time, lost.cut, lost.left);
    return DART_OK;
}
