/* The one table of options: rows of options.def and those that plug-ins carry, and look-up in it.
 */
#include "method.h"
#include "names.h"
#include "optim.h"
#include "recipe_impl.h"
#include "reg.h"
#include "select.h"
#include <pthread.h>
#include <string.h>

/* ---- kinds of plug-ins ---- */

#define NAMES(kind, may_be_none)                                                                   \
    static const char *kind##_name(const void *context, uint32_t index)                            \
    {                                                                                              \
        (void)context;                                                                             \
        if (dart_##kind##_at(index)) return dart_##kind##_at(index)->name;                         \
        return may_be_none && (!index || dart_##kind##_at(index - 1)) ? "none" : NULL;             \
    }
#define KIND(kind)                                                                                 \
    static const dart_option_row *const *kind##_rows(uint32_t index)                               \
    {                                                                                              \
        return dart_##kind##_at(index) ? dart_##kind##_at(index)->options : NULL;                  \
    }                                                                                              \
    static const void *kind##_find(const char *name)                                               \
    {                                                                                              \
        return dart_##kind##_find(name);                                                           \
    }                                                                                              \
    static const char *kind##_proper(const char *name)                                             \
    {                                                                                              \
        return dart_##kind##_find(name) ? dart_##kind##_find(name)->name : name;                   \
    }
static const char *method_name(const void *context, uint32_t index)
{
    (void)context;
    return dart_method_name_at(index);
}
NAMES(optim, false)
NAMES(reg, true)
NAMES(select, true)
KIND(method)
KIND(optim)
KIND(reg)
KIND(select)
#undef NAMES
#undef KIND

static dart_plugin_info kinds[DART_PLUGIN_KINDS] = {
    [DART_PLUGIN_method] = {"method", false, method_name, method_rows, method_find, method_proper},
    [DART_PLUGIN_optim] = {"optimizer", false, optim_name, optim_rows, optim_find, optim_proper},
    [DART_PLUGIN_reg] = {"penalty", true, reg_name, reg_rows, reg_find, reg_proper},
    [DART_PLUGIN_select] = {
        "selection", true, select_name, select_rows, select_find, select_proper}};

/* ---- the table ---- */

#define SECTION_model "model"
#define SECTION_method "method"
#define SECTION_data "data"
#define SECTION_train "train"
#define SECTION_stage "stage"
#define SECTION_baked "stage"
#define SECTION_run "run"
#define BAKED(section) (sizeof #section == sizeof "baked" && #section[0] == 'b')

static const struct {
    dart_option_row row;
    size_t offset;
    dart_plugin_kind names;
} own[] = {
#define ROW(section, key, aliases, fallback, kind, least, most, choices, help, names)              \
    {{#key, aliases, SECTION_##section, DART_OPTION_##kind, fallback, least, most, choices, help,  \
         BAKED(section)},                                                                          \
        offsetof(dart_settings, key), DART_PLUGIN_##names},
#define INT(section, key, aliases, fallback, least, most, help)                                    \
    ROW(section, key, aliases, fallback, INT, least, most, NULL, help, NONE)
#define FLOAT(section, key, aliases, fallback, least, most, help)                                  \
    ROW(section, key, aliases, fallback, FLOAT, least, most, NULL, help, NONE)
#define BOOL(section, key, aliases, fallback, help)                                                \
    ROW(section, key, aliases, fallback, BOOL, 0, 0, NULL, help, NONE)
#define TEXT(section, key, aliases, fallback, help)                                                \
    ROW(section, key, aliases, fallback, TEXT, 0, 0, NULL, help, NONE)
#define CHOICE(section, key, aliases, fallback, names, help)                                       \
    ROW(section, key, aliases, fallback, CHOICE, 0, 0, names, help, NONE)
#define PLUGIN(section, key, aliases, fallback, kind, help)                                        \
    ROW(section, key, aliases, fallback, TEXT, 0, 0, NULL, help, kind)
#define NAMES2(p, a, ta, b, tb) ta "|" tb
#define NAMES3(p, a, ta, b, tb, c, tc) ta "|" tb "|" tc
#define NAMES4(p, a, ta, b, tb, c, tc, d, td) ta "|" tb "|" tc "|" td
#define NAMES5(p, a, ta, b, tb, c, tc, d, td, e, te) ta "|" tb "|" tc "|" td "|" te
#define NAMES6(p, a, ta, b, tb, c, tc, d, td, e, te, f, tf)                                        \
    NAMES5(p, a, ta, b, tb, c, tc, d, td, e, te) "|" tf
#define NAMES9(p, a, ta, b, tb, c, tc, d, td, e, te, f, tf, g, tg, h, th, i, ti)                   \
    NAMES5(p, a, ta, b, tb, c, tc, d, td, e, te)                                                   \
    "|" NAMES4(p, f, tf, g, tg, h, th, i, ti)
#define NAMES10(p, a, ta, b, tb, c, tc, d, td, e, te, f, tf, g, tg, h, th, i, ti, j, tj)           \
    NAMES5(p, a, ta, b, tb, c, tc, d, td, e, te)                                                   \
    "|" NAMES5(p, f, tf, g, tg, h, th, i, ti, j, tj)
#include "options.def"
};
enum { OWN = sizeof own / sizeof *own, SPELLINGS = 2 * DART_RECIPE_OPTIONS };

static struct {
    int rows, plugin_rows, words;
    dart_recipe_row row[DART_RECIPE_OPTIONS];
    const dart_option_row
        *plugin_row[DART_PLUGIN_OPTIONS]; /* in the order of dart_settings.option */
    /* every key and alias, and the row that it names */
    struct {
        char text[48];
        int row;
    } word[SPELLINGS];
} table;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static const char *type_of(const dart_option_row *row, dart_plugin_kind names)
{
    static const char *const types[] = {[DART_OPTION_INT] = "int",
        [DART_OPTION_FLOAT] = "float",
        [DART_OPTION_BOOL] = "bool",
        [DART_OPTION_TEXT] = "string"};
    if (names) return kinds[names].type;
    return row->kind == DART_OPTION_CHOICE ? row->choices : types[row->kind];
}

static void add_word(const char *text, size_t length)
{
    if (table.words == SPELLINGS) return;
    snprintf(table.word[table.words].text, sizeof table.word->text, "%.*s", (int)length, text);
    table.word[table.words++].row = table.rows;
}

static void add(const dart_option_row *row, dart_plugin_kind names, bool of_plugin, size_t offset)
{
    if (table.rows == DART_RECIPE_OPTIONS) return;
    const char *aliases = row->aliases ? row->aliases : "";
    add_word(row->key, strlen(row->key));
    for (const char *at = aliases; *at;) {
        size_t n = strcspn(at, ",");
        add_word(at, n);
        at += n + (at[n] == ',');
    }
    table.row[table.rows++] = (dart_recipe_row){
        {row->key, aliases, type_of(row, names), row->fallback, row->section, row->help}, row,
        names, of_plugin, offset};
}

/* A row that several plug-ins share stands once. */
static void add_of_plugin(const dart_option_row *row)
{
    for (int i = 0; i < table.plugin_rows; i++)
        if (table.plugin_row[i] == row) return;
    if (table.plugin_rows == DART_PLUGIN_OPTIONS) return;
    size_t at = (size_t)table.plugin_rows;
    table.plugin_row[table.plugin_rows++] = row;
    add(row, DART_PLUGIN_NONE, true, offsetof(dart_settings, option) + at * sizeof(double));
}

static const char *const sections[] = {"model", "method", "data", "train", "stage", "run"};
enum { SECTIONS = sizeof sections / sizeof *sections };

static void make_table(void)
{
    for (int k = DART_PLUGIN_method; k < DART_PLUGIN_KINDS; k++) {
        size_t used = 0, size = sizeof kinds[k].type;
        for (uint32_t i = 0; kinds[k].name(NULL, i) && used < size; i++)
            used += (size_t)snprintf(
                kinds[k].type + used, size - used, "%s%s", i ? "|" : "", kinds[k].name(NULL, i));
    }
    for (size_t s = 0; s < SECTIONS; s++) {
        for (int i = 0; i < OWN; i++)
            if (!strcmp(own[i].row.section, sections[s]))
                add(&own[i].row, own[i].names, false, own[i].offset);
        for (int k = DART_PLUGIN_method; k < DART_PLUGIN_KINDS; k++)
            for (uint32_t i = 0; kinds[k].name(NULL, i); i++)
                for (const dart_option_row *const *row = kinds[k].rows(i); row && *row; row++)
                    if (!strcmp((*row)->section, sections[s])) add_of_plugin(*row);
    }
}

const dart_plugin_info *dart_plugin_info_of(dart_plugin_kind kind)
{
    pthread_once(&once, make_table);
    return &kinds[kind];
}

int dart_recipe_rows(void)
{
    pthread_once(&once, make_table);
    return table.rows;
}

const dart_recipe_row *dart_recipe_row_at(int index)
{
    return index >= 0 && index < dart_recipe_rows() ? &table.row[index] : NULL;
}

const dart_option *dart_option_at(uint32_t index)
{
    return index < (uint32_t)dart_recipe_rows() ? &table.row[index].option : NULL;
}

void dart_recipe_owners(const dart_option_row *row, char out[320])
{
    size_t used = 0;
    out[0] = 0;
    for (int k = DART_PLUGIN_method; k < DART_PLUGIN_KINDS; k++)
        for (uint32_t i = 0; kinds[k].name(NULL, i) && used < 320; i++)
            if (dart_option_among(kinds[k].rows(i), row))
                used += (size_t)snprintf(out + used, 320 - used, "%s%s %s", used ? ", " : "",
                    kinds[k].what, kinds[k].name(NULL, i));
}

/* ---- keys ---- */

bool dart_option_has_name(const dart_option *option, const char *word, size_t length)
{
    return dart_option_is(option->key, option->aliases, word, length);
}

bool dart_recipe_is_section(const char *name)
{
    for (size_t s = 0; s < SECTIONS; s++)
        if (!strcmp(name, sections[s])) return true;
    return false;
}

int dart_recipe_key(const char *key)
{
    for (int i = 0; i < dart_recipe_rows(); i++)
        if (dart_option_is(table.row[i].option.key, table.row[i].option.aliases, key, strlen(key)))
            return i;
    return -1;
}

static const char *word_at(const void *context, uint32_t index)
{
    (void)context;
    return index < (uint32_t)table.words ? table.word[index].text : NULL;
}

dart_status dart_recipe_unknown(dart_status code, const char *what, const char *key)
{
    pthread_once(&once, make_table);
    const char *near = dart_name_nearest(key, word_at, NULL);
    for (int i = 0; near && i < table.words; i++)
        if (near == table.word[i].text)
            return dart_fail(code, "unknown %s '%.60s'; did you mean '%s'?", what, key,
                table.row[table.word[i].row].option.key);
    return dart_fail(code, "unknown %s '%.60s'", what, key);
}

/* ---- values of plug-ins ---- */

static int plugin_row(const dart_option_row *row)
{
    pthread_once(&once, make_table);
    for (int i = 0; i < table.plugin_rows; i++)
        if (table.plugin_row[i] == row) return i;
    return -1;
}

double dart_settings_option(const dart_settings *set, const dart_option_row *row)
{
    int i = plugin_row(row);
    return i < 0 ? 0 : set->option[i];
}

void dart_settings_set_option(dart_settings *set, const dart_option_row *row, double value)
{
    int i = plugin_row(row);
    if (i >= 0) set->option[i] = value;
}

dart_options dart_settings_options(const dart_settings *set, const dart_option_row *const *rows)
{
    dart_options values = {.row = rows};
    for (int i = 0; rows && rows[i] && i < DART_MAX_OPTIONS; i++)
        values.of[i] = dart_settings_option(set, rows[i]);
    return values;
}
