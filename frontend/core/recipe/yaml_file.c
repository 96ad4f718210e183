/* YAML by libyaml's events, one at a time: what is too deep or too long is refused before it costs
 * anything. */
#include "yaml_file.h"
#include "file.h"
#include "option.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <yaml.h>

enum {
    MOST_BYTES = 1 << 20,
    MOST_NODES = 1 << 16,
    MOST_LEVELS = 32,
    MOST_KEYS = 1024,
    MOST_ANCHORS = 64
};

typedef struct anchor {
    const char *name;
    const dart_yaml_node *node;
    bool open; /* it is still being read */
} anchor;

/* A list or a map that is being read. */
typedef struct level {
    dart_yaml_node *node, **end;
    dart_yaml_node *key; /* of a map: the key whose value comes next; NULL: a key comes */
    int anchor;          /* its own, -1: none */
} level;

typedef struct reader {
    dart_yaml *yaml;
    yaml_parser_t parser;
    level level[MOST_LEVELS];
    anchor anchor[MOST_ANCHORS];
    uint32_t levels, anchors, nodes;
} reader;

/* ---- sentences ---- */

dart_status dart_yaml_refuse(
    const dart_yaml *yaml, const dart_yaml_node *node, const char *format, ...)
{
    char text[800];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return dart_fail(DART_INPUT, "%s:%u:%u: %s", yaml->path, node->line, node->column, text);
}

dart_status dart_yaml_at(const dart_yaml *yaml, const dart_yaml_node *node, dart_status status)
{
    if (status != DART_USAGE && status != DART_INPUT) return status;
    return dart_yaml_refuse(yaml, node, "%s", dart_error_text());
}

dart_status dart_yaml_text(const dart_yaml *yaml, const dart_yaml_node *node, const char *what,
    size_t most, const char **out)
{
    *out = "";
    if (node->kind != DART_YAML_SCALAR)
        return dart_yaml_refuse(yaml, node, "%s needs a single value here", what);
    if (strlen(node->text) > most)
        return dart_yaml_refuse(yaml, node, "%s is longer than %zu bytes", what, most);
    *out = node->text;
    return DART_OK;
}

/* What the parser did not like. */
static dart_status damaged(const reader *r)
{
    const yaml_parser_t *p = &r->parser;
    /* libyaml does not always say that it is short of memory; what is wrong with a text it does. */
    if (p->error == YAML_MEMORY_ERROR || !p->problem)
        return dart_fail(DART_MEMORY, "out of memory: reading %s", r->yaml->path);
    return dart_fail(DART_INPUT, "%s:%zu:%zu: not YAML: %s", r->yaml->path,
        p->problem_mark.line + 1, p->problem_mark.column + 1, p->problem);
}

/* ---- the tree ---- */

static dart_status new_node(
    reader *r, const yaml_event_t *event, dart_yaml_kind kind, dart_yaml_node **out)
{
    *out = DART_NEW(&r->yaml->arena, dart_yaml_node, 1);
    if (!*out) return DART_MEMORY;
    **out = (dart_yaml_node){.kind = kind,
        .line = (uint32_t)event->start_mark.line + 1,
        .column = (uint32_t)event->start_mark.column + 1};
    if (++r->nodes > MOST_NODES)
        return dart_yaml_refuse(r->yaml, *out, "more than %d values in one file", MOST_NODES);
    return DART_OK;
}

static dart_status check_key(const reader *r, const level *in, const dart_yaml_node *key)
{
    if (key->kind != DART_YAML_SCALAR)
        return dart_yaml_refuse(r->yaml, key, "a key must be a word");
    if (in->node->count == MOST_KEYS)
        return dart_yaml_refuse(r->yaml, key, "more than %d keys side by side", MOST_KEYS);
    DART_YAML_PAIRS(other, in->node)
    {
        if (dart_option_is(other->text, NULL, key->text, strlen(key->text)))
            return dart_yaml_refuse(r->yaml, key, "the key '%.60s' is there twice", key->text);
    }
    return DART_OK;
}

/* Where the node belongs: into the list or map at hand, or it is the document. */
static dart_status put(reader *r, dart_yaml_node *node)
{
    level *in = r->levels ? &r->level[r->levels - 1] : NULL;
    if (!in) {
        r->yaml->root = node;
        return DART_OK;
    }
    const bool key = in->node->kind == DART_YAML_MAP && !in->key;
    /* A key joins the map together with its value: until then pairs are whole. */
    if (key) {
        DART_TRY(check_key(r, in, node));
        in->key = node;
        return DART_OK;
    }
    dart_yaml_node *first = in->key ? in->key : node;
    if (in->key) first->next = node;
    *in->end = first;
    in->end = &node->next;
    in->node->count++;
    in->key = NULL;
    return DART_OK;
}

static dart_status name_anchor(
    reader *r, const yaml_char_t *name, const dart_yaml_node *node, bool open, int *out)
{
    *out = -1;
    if (!name) return DART_OK;
    if (r->anchors == MOST_ANCHORS)
        return dart_yaml_refuse(r->yaml, node, "more than %d anchors", MOST_ANCHORS);
    const char *copy = dart_arena_strdup(&r->yaml->arena, (const char *)name);
    if (!copy) return DART_MEMORY;
    *out = (int)r->anchors;
    r->anchor[r->anchors++] = (anchor){copy, node, open};
    return DART_OK;
}

static dart_status read_scalar(reader *r, const yaml_event_t *event)
{
    dart_yaml_node *node;
    int unused;
    DART_TRY(new_node(r, event, DART_YAML_SCALAR, &node));
    const char *text = (const char *)event->data.scalar.value;
    if (strlen(text) != event->data.scalar.length)
        return dart_yaml_refuse(r->yaml, node, "there is a zero byte in the value");
    node->text = dart_arena_strdup(&r->yaml->arena, text);
    if (!node->text) return DART_MEMORY;
    DART_TRY(name_anchor(r, event->data.scalar.anchor, node, false, &unused));
    return put(r, node);
}

/* The last one of that name, as a node of its own at the place of the alias. */
static dart_status read_alias(reader *r, const yaml_event_t *event)
{
    dart_yaml_node *node;
    const char *name = (const char *)event->data.alias.anchor;
    DART_TRY(new_node(r, event, DART_YAML_SCALAR, &node));
    for (uint32_t i = r->anchors; i-- > 0;) {
        const anchor *a = &r->anchor[i];
        if (strcmp(a->name, name)) continue;
        if (a->open)
            return dart_yaml_refuse(r->yaml, node, "*%.60s stands inside what it names", name);
        node->kind = a->node->kind;
        node->text = a->node->text;
        node->count = a->node->count;
        node->first = a->node->first;
        return put(r, node);
    }
    return dart_yaml_refuse(r->yaml, node, "there is no anchor &%.60s before *%.60s", name, name);
}

static dart_status open_level(
    reader *r, const yaml_event_t *event, dart_yaml_kind kind, const yaml_char_t *anchor_name)
{
    dart_yaml_node *node;
    DART_TRY(new_node(r, event, kind, &node));
    if (r->levels == MOST_LEVELS)
        return dart_yaml_refuse(
            r->yaml, node, "more than %d levels inside each other", MOST_LEVELS);
    DART_TRY(put(r, node));
    level *in = &r->level[r->levels++];
    *in = (level){.node = node, .end = &node->first};
    return name_anchor(r, anchor_name, node, true, &in->anchor);
}

static dart_status take(reader *r, const yaml_event_t *event)
{
    switch (event->type) {
    case YAML_SCALAR_EVENT:
        return read_scalar(r, event);
    case YAML_ALIAS_EVENT:
        return read_alias(r, event);
    case YAML_SEQUENCE_START_EVENT:
        return open_level(r, event, DART_YAML_LIST, event->data.sequence_start.anchor);
    case YAML_MAPPING_START_EVENT:
        return open_level(r, event, DART_YAML_MAP, event->data.mapping_start.anchor);
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT: {
        const level *in = &r->level[--r->levels];
        if (in->anchor >= 0) r->anchor[in->anchor].open = false;
        return DART_OK;
    }
    case YAML_DOCUMENT_START_EVENT:
        if (r->yaml->root)
            return dart_fail(DART_INPUT, "%s:%zu:1: there is a second document in the file",
                r->yaml->path, event->start_mark.line + 1);
        return DART_OK;
    default:
        return DART_OK;
    }
}

static dart_status read_events(reader *r)
{
    for (bool more = true; more;) {
        yaml_event_t event;
        if (!yaml_parser_parse(&r->parser, &event)) return damaged(r);
        more = event.type != YAML_STREAM_END_EVENT;
        dart_status status = take(r, &event);
        yaml_event_delete(&event);
        if (status != DART_OK) return status;
    }
    return DART_OK;
}

static dart_status too_large(const char *path, const char *what, uint64_t bytes)
{
    return dart_fail(DART_INPUT, "%s: a %s has at most %d bytes, this file has %llu", path, what,
        MOST_BYTES, (unsigned long long)bytes);
}

dart_status dart_yaml_read(const char *path, const char *what, dart_yaml *out)
{
    dart_status status = DART_OK;
    char *text = NULL;
    size_t size;
    struct stat info;
    *out = (dart_yaml){.path = path};
    if (!stat(path, &info) && S_ISREG(info.st_mode) && info.st_size > MOST_BYTES)
        return too_large(path, what, (uint64_t)info.st_size);
    DART_TRY(dart_file_read(path, &text, &size));
    if (size > MOST_BYTES) { /* unpacked */
        free(text);
        return too_large(path, what, size);
    }
    reader *r = dart_calloc(1, sizeof *r);
    if (!r || !yaml_parser_initialize(&r->parser)) {
        free(r);
        free(text);
        return dart_fail(DART_MEMORY, "out of memory: reading %s", path);
    }
    r->yaml = out;
    yaml_parser_set_input_string(&r->parser, (const unsigned char *)text, size);
    status = read_events(r);
    if (status == DART_OK && !out->root)
        status = dart_fail(DART_INPUT, "%s: the %s is empty", path, what);
    yaml_parser_delete(&r->parser);
    free(r);
    free(text);
    return status;
}

void dart_yaml_free(dart_yaml *yaml)
{
    dart_arena_free(&yaml->arena);
    yaml->root = NULL;
}
