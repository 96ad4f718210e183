/* Who decides how weights are parametrized: the list `weights` and the short forms behind it. */
#include "method.h"
#include "names.h"
#include "recipe_impl.h"
#include <string.h>

enum { ENTRY = 256, SHORT_FORMS = 3 };

static const dart_option_row rank_row = {
    .key = "rank", .kind = DART_OPTION_INT, .least = 1, .most = 4096};
static const dart_option_row modes_row = {
    .key = "modes", .kind = DART_OPTION_INT, .least = 1, .most = DART_MAX_MODES};

/* Of the output and the input side: "16x4x4". */
static const char *const side_keys[] = {"out_modes", "in_modes"};
enum { OWN_KEYS = 4 /* these, rank and modes */ };

static const char *method_name(const void *context, uint32_t index)
{
    (void)context;
    return dart_method_name_at(index);
}

/* What "KEY=VALUE" may set. */
static const char *key_name(const void *context, uint32_t index)
{
    const dart_method *method = context;
    const char *const own[OWN_KEYS] = {rank_row.key, modes_row.key, side_keys[0], side_keys[1]};
    if (index < OWN_KEYS) return own[index];
    for (uint32_t i = 0; method->options && method->options[i]; i++)
        if (i + OWN_KEYS == index) return method->options[i]->key;
    return NULL;
}

static dart_status read_modes(const char *key, const char *text, uint32_t out[DART_MAX_MODES])
{
    static const dart_option_row row = {
        .key = "a mode", .kind = DART_OPTION_INT, .least = 1, .most = 1 << 20};
    memset(out, 0, DART_MAX_MODES * sizeof *out);
    for (uint32_t count = 0;; count++) {
        const size_t length = strcspn(text, "x*");
        char one[16];
        double number;
        if (count == DART_MAX_MODES)
            return dart_fail(DART_USAGE, "weights: %s has more than %d modes", key, DART_MAX_MODES);
        if (length >= sizeof one)
            return dart_fail(DART_USAGE, "weights: %s: '%s' is too long for a mode", key, text);
        snprintf(one, sizeof one, "%.*s", (int)length, text);
        if (dart_option_read(&row, one, &number) != DART_OK)
            return dart_fail(DART_USAGE,
                "weights: %s needs whole numbers with an x between, 16x4x4, got '%s'", key, text);
        out[count] = (uint32_t)number;
        if (!text[length]) return DART_OK;
        text += length + 1;
    }
}

static dart_status read_setting(char *text, dart_role *out)
{
    char *value = strchr(text, '=');
    double number;
    if (!value)
        return dart_fail(
            DART_USAGE, "weights: '%s' of '%s' is not of the form KEY=VALUE", text, out->pattern);
    *value++ = 0;
    for (int side = 0; side < 2; side++)
        if (!strcmp(text, side_keys[side])) {
            out->modes = 0; /* that of all weights gives way to the shape of these */
            return read_modes(text, value, side ? out->in_modes : out->out_modes);
        }
    const dart_option_row *row = !strcmp(text, rank_row.key)    ? &rank_row
                                 : !strcmp(text, modes_row.key) ? &modes_row
                                                                : NULL;
    if (!row) row = dart_option_named(out->method->options, text);
    if (!row)
        return dart_name_unknown(
            DART_USAGE, "setting of a weight", text, key_name, out->method, "");
    DART_TRY(dart_option_read(row, value, &number));
    if (row == &rank_row)
        out->rank = (uint32_t)number;
    else if (row == &modes_row)
        out->modes = (uint32_t)number;
    else
        dart_options_set(&out->options, row, number);
    return DART_OK;
}

/* "PATTERN METHOD KEY=VALUE ...", which is cut to pieces; set: what else holds, or NULL. */
static dart_status read_entry(char *text, const dart_settings *set, dart_role *out)
{
    char *rest = NULL, *pattern = strtok_r(text, " ", &rest), *method = strtok_r(NULL, " ", &rest);
    if (!pattern || !method)
        return dart_fail(DART_USAGE,
            "weights: an entry has a pattern and a method, 'blocks.*.attn.[qv] lora', got '%s'",
            pattern ? pattern : "");
    DART_TRY(dart_pattern_check(pattern));
    *out = (dart_role){.method = dart_method_find(method), .needed = true};
    strcpy(out->pattern, pattern);
    if (!out->method)
        return dart_name_unknown(DART_USAGE, "method for weights", method, method_name, NULL, "");
    out->options = dart_options_default(out->method->options);
    if (set) {
        out->rank = (uint32_t)set->rank;
        out->modes = (uint32_t)set->modes;
        out->options = dart_settings_options(set, out->method->options);
    }
    for (char *one; (one = strtok_r(NULL, " ", &rest));) DART_TRY(read_setting(one, out));
    return DART_OK;
}

/* The comma behind an entry, or the end: commas in brackets and braces belong to patterns. */
static const char *entry_end(const char *p)
{
    for (int depth = 0; *p && (depth > 0 || *p != ','); p++)
        depth += (*p == '{' || *p == '[') - (*p == '}' || *p == ']');
    return p;
}

static dart_status read_entries(
    const char *text, const dart_settings *set, dart_role *out, uint32_t *out_count)
{
    *out_count = 0;
    while (*text) {
        const char *end = entry_end(text);
        char one[ENTRY];
        if ((size_t)(end - text) >= sizeof one)
            return dart_fail(DART_USAGE, "weights: an entry is longer than %d letters", ENTRY - 1);
        if (*out_count == DART_MAX_ROLES - SHORT_FORMS)
            return dart_fail(
                DART_USAGE, "weights: more than %d entries", DART_MAX_ROLES - SHORT_FORMS);
        snprintf(one, sizeof one, "%.*s", (int)(end - text), text);
        DART_TRY(read_entry(one, set, &out[(*out_count)++]));
        text = end + (*end == ',');
    }
    return DART_OK;
}

dart_status dart_weights_check(const char *value)
{
    dart_role role[DART_MAX_ROLES];
    uint32_t count;
    return read_entries(value, NULL, role, &count);
}

static dart_role short_form(const dart_settings *set, const char *pattern,
    const dart_method *method, int64_t rank, int64_t modes)
{
    dart_role role = {.method = method,
        .rank = (uint32_t)(rank ? rank : set->rank),
        .modes = (uint32_t)(modes ? modes : set->modes),
        .options = dart_settings_options(set, method->options)};
    strcpy(role.pattern, pattern);
    return role;
}

/* What PEFT calls them, and groups of them. */
static const char *const target_name[][2] = {{"q_proj", "{blocks,enc,dec}.*.{attn,cross}.q"},
    {"k_proj", "{blocks,enc,dec}.*.{attn,cross}.k"},
    {"v_proj", "{blocks,enc,dec}.*.{attn,cross}.v"},
    {"o_proj", "{blocks,enc,dec}.*.{attn,cross}.o"}, {"gate_proj", "*.mlp.gate"},
    {"up_proj", "*.mlp.up"}, {"down_proj", "*.mlp.down"}, {"attention", "*.{attn,cross}.*"},
    {"mlp", "*.mlp.*"}};

dart_status dart_module_next(const char **text, char out[DART_PATTERN_MAX])
{
    const char *begin = *text + strspn(*text, " "), *end = entry_end(begin);
    char one[ENTRY];
    snprintf(one, sizeof one, "%.*s", (int)(end - begin), begin);
    for (size_t n = strlen(one); n && one[n - 1] == ' ';) one[--n] = 0;
    const char *pattern = one;
    for (size_t i = 0; i < sizeof target_name / sizeof *target_name; i++)
        if (!strcmp(one, target_name[i][0])) pattern = target_name[i][1];
    DART_TRY(dart_pattern_check(pattern));
    strcpy(out, pattern);
    *text = end + (*end == ',');
    return DART_OK;
}

/* `linear` for the patterns of `target_modules`, or for adapters, and what is frozen for the linear
 * layers it leaves. */
static dart_status read_targets(const dart_settings *set, dart_role *out, uint32_t *count)
{
    const char *text = *set->target_modules ? set->target_modules
                       : set->adapter_size  ? "*.adapter.*"
                                            : "";
    while (*text) {
        char pattern[DART_PATTERN_MAX];
        DART_TRY(dart_module_next(&text, pattern));
        if (*count == DART_MAX_ROLES - SHORT_FORMS)
            return dart_fail(DART_USAGE,
                "target_modules: more than %d patterns with those of weights",
                DART_MAX_ROLES - SHORT_FORMS);
        out[*count] = short_form(set, pattern, set->linear, set->linear_rank, set->linear_modes);
        out[(*count)++].needed = *set->target_modules != 0;
    }
    return DART_OK;
}

dart_status dart_settings_roles(const dart_settings *set, dart_role *out, uint32_t *out_count)
{
    DART_TRY(read_entries(set->weights, set, out, out_count));
    DART_TRY(read_targets(set, out, out_count));
    out[(*out_count)++] =
        short_form(set, "{tok,src}_emb", set->embedding, set->embedding_rank, set->embedding_modes);
    out[(*out_count)++] = short_form(set, "head", set->head, set->head_rank, set->head_modes);
    const bool part = *set->target_modules || set->adapter_size;
    const dart_method *rest = part ? dart_method_find("frozen") : set->linear;
    out[(*out_count)++] = short_form(set, "*", rest, set->linear_rank, set->linear_modes);
    return DART_OK;
}
