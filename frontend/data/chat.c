/* Templates of conversations, and conversations as pieces of text. */
#include "chat.h"
#include "file.h"
#include "names.h"
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

typedef struct row {
    dart_chat chat;
    const char *marks; /* separated by | where two brackets stand around it: see fits */
} row;

#define BOTH(before, after)                                                                        \
    {                                                                                              \
        before, after                                                                              \
    }
#define NONE                                                                                       \
    {                                                                                              \
        NULL, NULL                                                                                 \
    }
#define TEMPLATE(name, marks, start, system, user, assistant, trims, first)                        \
    {{name, start, {system, user, assistant}, first, trims, NULL, {0}}, marks},
static const row rows[] = {
#include "chat.def"
};
enum { ROWS = sizeof rows / sizeof *rows };

static const char *const role_names[DART_CHAT_ROLES] = {"system", "user", "assistant"};

const char *dart_chat_at(uint32_t index)
{
    return index < ROWS ? rows[index].chat.name : NULL;
}

static const char *name_at(const void *context, uint32_t index)
{
    (void)context;
    return dart_chat_at(index);
}

dart_status dart_chat_role_of(const char *name, size_t number, dart_chat_role *out)
{
    for (int r = 0; r < DART_CHAT_ROLES; r++) {
        *out = (dart_chat_role)r;
        if (!strcmp(name, role_names[r])) return DART_OK;
    }
    return dart_fail(DART_INPUT,
        "message %zu is of the role '%.40s'; expected system, user or assistant", number, name);
}

/* Marks of llama2 are two pieces; "|" is a letter of the others' marks. */
static bool fits(const row *r, const char *jinja)
{
    const char *bar = *r->marks == '[' ? strchr(r->marks, '|') : NULL;
    char first[32];
    if (!bar) return strstr(jinja, r->marks) != NULL;
    snprintf(first, sizeof first, "%.*s", (int)(bar - r->marks), r->marks);
    return strstr(jinja, first) && strstr(jinja, bar + 1);
}

/* Where a text stands in Jinja text, behind it; line ends are as they are, or a backslash and an n.
 * NULL: nowhere. */
static const char *behind(const char *jinja, const char *text, bool escaped)
{
    char mark[96];
    size_t n = 0;
    for (const char *c = text; *c && n + 3 < sizeof mark; c++) {
        const bool line_end = escaped && *c == '\n';
        if (line_end) mark[n++] = '\\';
        mark[n++] = line_end ? 'n' : *c;
    }
    mark[n] = 0;
    const char *at = strstr(jinja, mark);
    return at ? at + n : NULL;
}

/* What a template says of itself when nobody else does: the text between the marks of a system
 * turn, as it is written in its Jinja text. */
static dart_status keep_system(const char *jinja, dart_chat *out)
{
    const dart_chat_turn *turn = &out->turn[DART_CHAT_SYSTEM];
    char mark[96];
    if (!turn->before) return DART_OK;
    const char *at = behind(jinja, turn->before, true), *end;
    if (!at) at = behind(jinja, turn->before, false);
    if (!at) return DART_OK;
    snprintf(mark, sizeof mark, "%.*s", (int)strcspn(turn->after, "\n"), turn->after);
    end = *mark ? strstr(at, mark) : NULL;
    /* Anything but plain words is put together by the template, and not said by default. */
    if (!end || end == at || end - at > 1000 || memchr(at, '\'', (size_t)(end - at)) ||
        memchr(at, '{', (size_t)(end - at)) || memchr(at, '\\', (size_t)(end - at)))
        return DART_OK;
    out->system = dart_arena_printf(&out->arena, "%.*s", (int)(end - at), at);
    return out->system ? DART_OK : DART_MEMORY;
}

/* ---- from a file ---- */

static dart_status read_text(json_t *value, dart_arena *arena, const char **out)
{
    *out = dart_arena_strdup(arena, json_string_value(value));
    return *out ? DART_OK : DART_MEMORY;
}

static dart_status read_turn(json_t *body, const char *key, const char *path, bool needed,
    dart_arena *arena, dart_chat_turn *out)
{
    json_t *pair = json_object_get(body, key);
    if (!pair && !needed) return DART_OK;
    if (json_array_size(pair) != 2 || !json_is_string(json_array_get(pair, 0)) ||
        !json_is_string(json_array_get(pair, 1)))
        return dart_fail(DART_INPUT,
            "%s: \"%s\" is not [\"before\", \"after\"], what stands around what that role says",
            path, key);
    DART_TRY(read_text(json_array_get(pair, 0), arena, &out->before));
    return read_text(json_array_get(pair, 1), arena, &out->after);
}

static dart_status read_file(const char *path, dart_chat *out)
{
    static const char *const keys[] = {"start", "system", "user", "assistant", "first", "trims"};
    char *text, why[DART_JSON_WHY];
    size_t size;
    json_t *body = NULL;
    DART_TRY(dart_file_read(path, &text, &size));
    dart_status status = dart_json_parse(text, size, path, why, &body);
    free(text);
    if (status == DART_INPUT) return dart_fail(DART_INPUT, "%s: %s", path, why);
    DART_TRY(status);
    const char *key;
    json_t *value;
    json_object_foreach(body, key, value)
    {
        bool known = false;
        for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) known |= !strcmp(key, keys[i]);
        if (!known)
            DART_GOTO(dart_fail(DART_INPUT,
                "%s: \"%.60s\" is no part of a chat template; known are start, system, user, "
                "assistant, first, trims",
                path, key));
    }
    out->start = "";
    json_t *start = json_object_get(body, "start"), *trims = json_object_get(body, "trims");
    if ((start && !json_is_string(start)) || (trims && !json_is_boolean(trims)))
        DART_GOTO(dart_fail(DART_INPUT, "%s: start is a text, trims is true or false", path));
    if (start) DART_GOTO(read_text(start, &out->arena, &out->start));
    out->trims = json_is_true(trims);
    for (int i = 0; i < DART_CHAT_ROLES; i++)
        DART_GOTO(read_turn(
            body, role_names[i], path, i != DART_CHAT_SYSTEM, &out->arena, &out->turn[i]));
    DART_GOTO(read_turn(body, "first", path, false, &out->arena, &out->first));
    out->name = dart_arena_strdup(&out->arena, path);
    if (!out->name) status = DART_MEMORY;
done:
    json_decref(body);
    return status;
}

dart_status dart_chat_open(const char *name, const char *jinja, dart_chat *out)
{
    dart_status status = DART_OK;
    *out = (dart_chat){0};
    const bool guess = !strcmp(name, "auto");
    if (strchr(name, '/') || strchr(name, '.')) {
        status = read_file(name, out);
    } else {
        const row *found = NULL;
        for (size_t i = 0; i < ROWS && !found; i++)
            if (guess ? jinja && fits(&rows[i], jinja) : !strcmp(name, rows[i].chat.name))
                found = &rows[i];
        if (!found && guess)
            return dart_fail(DART_INPUT,
                jinja ? "the tokenizer's chat template is none that this program knows; name one "
                        "with --chat-template, or a JSON file with its prefixes"
                      : "the tokenizer has no chat template; name one with --chat-template, or a "
                        "JSON file with its prefixes");
        if (!found) return dart_name_unknown(DART_INPUT, "chat template", name, name_at, NULL, "");
        *out = found->chat;
        if (jinja && fits(found, jinja)) status = keep_system(jinja, out);
    }
    if (status != DART_OK) dart_chat_free(out);
    return status;
}

void dart_chat_free(dart_chat *chat)
{
    dart_arena_free(&chat->arena);
    *chat = (dart_chat){0};
}

/* ---- conversations ---- */

static dart_status add(dart_chat_text *t, const char *text, size_t bytes, bool learn, bool special)
{
    if (!bytes) return DART_OK;
    DART_TRY(dart_grow((void **)&t->piece, &t->room, t->count + 1, sizeof *t->piece));
    t->piece[t->count++] = (dart_chat_piece){text, bytes, learn, special};
    return DART_OK;
}

static dart_status add_mark(dart_chat_text *t, const char *text, bool learn)
{
    return add(t, text, strlen(text), learn, true);
}

/* What is said, without white space around it where the template trims. */
static dart_status add_said(
    dart_chat_text *t, const dart_chat *chat, const char *text, size_t bytes, bool learn)
{
    while (chat->trims && bytes && isspace((unsigned char)*text)) text++, bytes--;
    while (chat->trims && bytes && isspace((unsigned char)text[bytes - 1])) bytes--;
    return add(t, text, bytes, learn, false);
}

static dart_status check_order(const dart_chat *chat, const dart_chat_message *message,
    size_t count, bool ask, const char *what)
{
    if (!count) return dart_fail(DART_INPUT, "%s has no messages", what);
    for (size_t i = 0; i < count; i++) {
        const dart_chat_role role = message[i].role;
        const bool inside = role == DART_CHAT_SYSTEM && chat->first.before;
        if (role == DART_CHAT_SYSTEM && i)
            return dart_fail(DART_INPUT,
                "%s: message %zu is of the role system, which only the first one may be", what,
                i + 1);
        if (!chat->turn[role].before && !inside)
            return dart_fail(DART_INPUT, "%s: the chat template %s has no turn for the role %s",
                what, chat->name, role_names[role]);
        if (inside && (count < 2 || message[1].role != DART_CHAT_USER))
            return dart_fail(DART_INPUT,
                "%s: in the chat template %s a system message stands inside the user's, and none "
                "follows it",
                what, chat->name);
        if (i && role == DART_CHAT_ASSISTANT && message[i - 1].role == DART_CHAT_ASSISTANT)
            return dart_fail(
                DART_INPUT, "%s: messages %zu and %zu are both the assistant's", what, i, i + 1);
    }
    if (ask && message[count - 1].role == DART_CHAT_ASSISTANT)
        return dart_fail(
            DART_INPUT, "%s ends with the assistant's message: nothing asks for another", what);
    return DART_OK;
}

dart_status dart_chat_pieces(const dart_chat *chat, const dart_chat_message *message, size_t count,
    bool ask, const char *what, dart_chat_text *out)
{
    dart_status status = DART_OK;
    const dart_chat_turn *own = &chat->turn[DART_CHAT_SYSTEM];
    *out = (dart_chat_text){0};
    DART_TRY(check_order(chat, message, count, ask, what));
    DART_GOTO(add_mark(out, chat->start, false));
    if (message[0].role != DART_CHAT_SYSTEM && chat->system && own->before) {
        DART_GOTO(add_mark(out, own->before, false));
        DART_GOTO(add(out, chat->system, strlen(chat->system), false, false));
        DART_GOTO(add_mark(out, own->after, false));
    }
    for (size_t i = 0; i < count; i++) {
        const dart_chat_message *m = &message[i];
        const dart_chat_turn *turn = &chat->turn[m->role];
        const bool learn = m->role == DART_CHAT_ASSISTANT;
        if (m->role == DART_CHAT_SYSTEM && chat->first.before) continue;
        DART_GOTO(add_mark(out, turn->before, false));
        if (i == 1 && message[0].role == DART_CHAT_SYSTEM && chat->first.before) {
            DART_GOTO(add_mark(out, chat->first.before, false));
            DART_GOTO(add_said(out, chat, message[0].text, message[0].bytes, false));
            DART_GOTO(add_mark(out, chat->first.after, false));
        }
        DART_GOTO(add_said(out, chat, m->text, m->bytes, learn));
        DART_GOTO(add_mark(out, turn->after, learn));
    }
    if (ask) status = add_mark(out, chat->turn[DART_CHAT_ASSISTANT].before, false);
done:
    if (status != DART_OK) dart_chat_text_free(out);
    return status;
}

void dart_chat_text_free(dart_chat_text *text)
{
    free(text->piece);
    *text = (dart_chat_text){0};
}
