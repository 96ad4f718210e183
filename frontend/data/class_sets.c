/* Data sets with labels that are known by name: files of tab-separated fields without quoting. */
#include "classes_impl.h"
#include "data_path.h"
#include "file.h"
#include "names.h"
#include "text.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct named_set {
    const char *name, *aliases, *train, *test;
    bool header;
    int label, text, second;
    const char *values, *labels;
    uint64_t all, tested;
} named_set;

static const named_set sets[] = {
#define LABELLED(name, ...) {#name, __VA_ARGS__},
#include "labelled.def"
#undef LABELLED
};
enum { SETS = sizeof sets / sizeof *sets, FIELDS = 5, HELD_OUT = 10 };

const char *dart_labelled_at(uint32_t index)
{
    return index < SETS ? sets[index].name : NULL;
}

static const named_set *find_set(const char *name)
{
    for (int i = 0; i < SETS; i++)
        if (dart_name_is(sets[i].name, sets[i].aliases, name)) return &sets[i];
    return NULL;
}

const char *dart_labelled_name(const char *name)
{
    const named_set *found = find_set(name);
    return found ? found->name : NULL;
}

const char *dart_labelled_labels(const char *name)
{
    const named_set *found = find_set(name);
    return found ? found->labels : NULL;
}

typedef struct table {
    const named_set *set;
    const char *tested; /* MRPC: lines "id<tab>id" of pairs that are not trained on; NULL: a file */
    int split;
    uint64_t seen;
} table;

static uint32_t split_fields(const char *line, size_t bytes, dart_piece field[FIELDS])
{
    uint32_t count = 0;
    const char *end = line + bytes;
    for (const char *at = line; count < FIELDS;
         at = field[count - 1].at + field[count - 1].bytes + 1) {
        const char *tab = memchr(at, '\t', (size_t)(end - at));
        field[count++] = (dart_piece){at, (size_t)((tab ? tab : end) - at)};
        if (!tab) break;
    }
    return count;
}

/* Whether the pair of ids stands in the list. */
static bool is_tested(const char *list, dart_piece first, dart_piece second)
{
    char line[64];
    const int n = snprintf(
        line, sizeof line, "%.*s\t%.*s", (int)first.bytes, first.at, (int)second.bytes, second.at);
    for (const char *at = list; (at = strstr(at, line)); at++) {
        const char after = at[n];
        if ((at == list || at[-1] == '\n') && (!after || after == '\n' || after == '\r'))
            return true;
    }
    return false;
}

static dart_status take_fields(
    dart_reading *r, const char *line, size_t bytes, uint64_t number, void *user)
{
    table *t = user;
    const named_set *s = t->set;
    dart_piece field[FIELDS];
    if (s->header && !number) return DART_OK;
    const uint32_t count = split_fields(line, bytes, field);
    const int least = s->second > s->text ? s->second : s->text;
    if (count <= (uint32_t)least || count <= (uint32_t)s->label)
        return dart_fail(DART_INPUT, "%s has %" PRIu32 " fields, more are needed; fetch it again",
            r->what, count);
    const int32_t label = dart_label_number(s->values, field[s->label].at, field[s->label].bytes);
    if (label < 0)
        return dart_fail(
            DART_INPUT, "%s: its label is none of %s; fetch it again", r->what, s->values);
    int split = t->split;
    if (t->tested && is_tested(t->tested, field[1], field[2])) split = DART_TEST;
    if (split == DART_TRAIN && ++t->seen % HELD_OUT == 0) split = DART_VALID;
    const dart_piece second = s->second < 0 ? (dart_piece){0} : field[s->second];
    return dart_class_add(r, field[s->text], second, label, &r->out->labelled[split]);
}

static dart_status read_file(dart_reading *r, table *t, const char *folder, const char *file)
{
    char path[PATH_MAX], *data;
    size_t size;
    if (!dart_data_file(folder, file, path))
        return dart_fail(
            DART_INPUT, "the data set in %s lacks the file %s; fetch it again", folder, file);
    DART_TRY(dart_file_read(path, &data, &size));
    dart_status status = dart_class_lines(r, path, data, size, 0, UINT64_MAX, take_fields, t);
    free(data);
    return status;
}

dart_status dart_class_set(dart_reading *r)
{
    const named_set *set = find_set(r->options->dataset);
    char folder[PATH_MAX], path[PATH_MAX], fetch[512], *tested = NULL;
    const dart_labelled *split = r->out->labelled;
    size_t size;
    dart_status status = DART_OK;
    table t = {.set = set, .split = DART_TRAIN};
    if (!dart_data_folder("glue", set->train, folder))
        return dart_fail(DART_INPUT,
            "the data set %s is not on this machine; run `%s %s`, or put its file %s into "
            "$DART_DATA/glue or ~/.cache/dart-llm/datasets/glue",
            set->name, dart_fetch_command(fetch), set->name, set->train);
    snprintf(r->out->source, sizeof r->out->source, "%s (%.480s)", set->name, folder);
    const bool listed = strstr(set->test, "ids") != NULL;
    if (listed && dart_data_file(folder, set->test, path)) {
        DART_TRY(dart_file_read(path, &tested, &size));
        t.tested = tested;
    }
    DART_GOTO(read_file(r, &t, folder, set->train));
    t.split = DART_TEST;
    if (!listed) DART_GOTO(read_file(r, &t, folder, set->test));
    const uint64_t all = split[DART_TRAIN].count + split[DART_VALID].count;
    if (all != set->all || split[DART_TEST].count != set->tested)
        status = dart_fail(DART_INPUT,
            "%s in %s is not the original: %" PRIu64 " texts to train on and %" PRIu64
            " to test, expected %" PRIu64 " and %" PRIu64 "; fetch it again",
            set->name, folder, all, split[DART_TEST].count, set->all, set->tested);
done:
    free(tested);
    return status;
}
