/* Values of the table's options: what each may be, and into dart_settings. */
#include "names.h"
#include "recipe_impl.h"
#include <stdio.h>
#include <string.h>

static bool is_none(const char *value)
{
    return !value[0] || !strcmp(value, "none");
}

dart_status dart_recipe_value(int key, const char *value)
{
    const dart_recipe_row *row = dart_recipe_row_at(key);
    const dart_plugin_info *kind = dart_plugin_info_of(row->names);
    double unused;
    if (strlen(value) >= DART_RECIPE_TEXT)
        return dart_fail(DART_USAGE, "the value of %s is longer than %d bytes", row->option.key,
            DART_RECIPE_TEXT - 1);
    if (!row->names) {
        DART_TRY(dart_option_read(row->row, value, &unused));
        return row->offset == offsetof(dart_settings, weights) ? dart_weights_check(value)
                                                               : DART_OK;
    }
    if ((kind->none && is_none(value)) || kind->find(value)) return DART_OK;
    char what[96];
    snprintf(what, sizeof what, row->names == DART_PLUGIN_method ? "%s for %s" : "%s", kind->what,
        row->option.key);
    return dart_name_unknown(DART_USAGE, what, value, kind->name, NULL, "");
}

const char *dart_recipe_proper(int key, const char *value)
{
    const dart_recipe_row *row = dart_recipe_row_at(key);
    return row->names ? dart_plugin_info_of(row->names)->proper(value) : value;
}

bool dart_recipe_same_value(int key, const char *a, const char *b)
{
    const dart_recipe_row *row = dart_recipe_row_at(key);
    double x, y;
    if (!strcmp(a, b)) return true;
    if (row->names) {
        const dart_plugin_info *kind = dart_plugin_info_of(row->names);
        return kind->find(a) == kind->find(b);
    }
    return row->row->kind != DART_OPTION_TEXT && dart_option_read(row->row, a, &x) == DART_OK &&
           dart_option_read(row->row, b, &y) == DART_OK && x == y;
}

void dart_recipe_parse(int key, const char *value, dart_settings *out)
{
    const dart_recipe_row *row = dart_recipe_row_at(key);
    char *field = (char *)out + row->offset;
    double number = 0;
    if (row->names) {
        *(const void **)(void *)field = dart_plugin_info_of(row->names)->find(value);
        return;
    }
    if (row->row->kind == DART_OPTION_TEXT) {
        *(const char **)(void *)field = value;
        return;
    }
    if (dart_option_read(row->row, value, &number) != DART_OK) return; /* it was checked before */
    if (row->of_plugin || row->row->kind == DART_OPTION_FLOAT)
        *(double *)(void *)field = number;
    else if (row->row->kind == DART_OPTION_INT)
        *(int64_t *)(void *)field = (int64_t)number;
    else if (row->row->kind == DART_OPTION_BOOL)
        *(bool *)field = number != 0;
    else
        *(unsigned *)(void *)field = (unsigned)number;
}
