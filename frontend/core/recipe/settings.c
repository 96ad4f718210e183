/* What the settings of a run or a stage say together. */
#include "method.h"
#include "optim.h"
#include "recipe_impl.h"
#include "reg.h"
#include "select.h"
#include <string.h>

void dart_settings_name(const dart_settings *set, const char *key, char out[32])
{
    const dart_recipe_row *row = dart_recipe_row_at(dart_recipe_key(key));
    const char *at = row->row->choices;
    for (unsigned n = *(const unsigned *)(const void *)((const char *)set + row->offset); n; n--)
        at += strcspn(at, "|") + 1;
    snprintf(out, 32, "%.*s", (int)strcspn(at, "|"), at);
}

bool dart_settings_compress(const dart_settings *set)
{
    const dart_method *dense = dart_method_find("dense"), *frozen = dart_method_find("frozen");
    dart_role role[DART_MAX_ROLES];
    uint32_t roles;
    if (dart_settings_roles(set, role, &roles) != DART_OK) return true;
    for (uint32_t r = 0; r < roles; r++) {
        /* Beside a base nothing of this is a default: what is asked for is refused (setup). */
        if (role[r].method->fixed_ranks && !*set->base) continue;
        if (role[r].method != dense && role[r].method != frozen) return true;
    }
    return false;
}

const dart_reg *dart_settings_reg(const dart_settings *set)
{
    return set->reg && (set->lambda_reg > 0 || set->reg->gate) ? set->reg : NULL;
}

bool dart_settings_reads(const dart_settings *set, const dart_option_row *row)
{
    const dart_reg *reg = dart_settings_reg(set);
    dart_role role[DART_MAX_ROLES];
    uint32_t roles;
    if (dart_settings_roles(set, role, &roles) != DART_OK) return true;
    for (uint32_t r = 0; r < roles; r++)
        if (dart_option_among(role[r].method->options, row)) return true;
    return dart_option_among(set->optimizer->options, row) ||
           (reg && dart_option_among(reg->options, row)) ||
           (set->select && dart_option_among(set->select->options, row));
}

static size_t size_of(const dart_recipe_row *row)
{
    static const size_t sizes[] = {[DART_OPTION_INT] = sizeof(int64_t),
        [DART_OPTION_FLOAT] = sizeof(double),
        [DART_OPTION_BOOL] = sizeof(bool),
        [DART_OPTION_CHOICE] = sizeof(unsigned),
        [DART_OPTION_TEXT] = sizeof(void *)};
    return row->of_plugin ? sizeof(double) : sizes[row->row->kind];
}

const char *dart_settings_difference(const dart_settings *a, const dart_settings *b)
{
    for (int i = 0; i < dart_recipe_rows(); i++) {
        const dart_recipe_row *row = dart_recipe_row_at(i);
        const char *x = (const char *)a + row->offset, *y = (const char *)b + row->offset;
        const bool text = row->row->kind == DART_OPTION_TEXT && !row->names;
        if (strcmp(row->option.section, "stage") || text) continue;
        /* How long a stage is, its steps say. */
        if (!strcmp(row->option.key, "epochs") || !strcmp(row->option.key, "max_steps")) continue;
        if (memcmp(x, y, size_of(row))) return row->option.key;
    }
    return NULL;
}

bool dart_settings_same_programs(const dart_settings *a, const dart_settings *b)
{
    if (dart_settings_reg(a) != dart_settings_reg(b)) return false;
    for (int i = 0; i < dart_recipe_rows(); i++) {
        const dart_recipe_row *row = dart_recipe_row_at(i);
        if (!row->row->baked || row->names == DART_PLUGIN_reg) continue;
        if (row->of_plugin && !dart_settings_reads(a, row->row)) continue;
        if (memcmp((const char *)a + row->offset, (const char *)b + row->offset, size_of(row)))
            return false;
    }
    return true;
}
