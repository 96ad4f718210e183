/* Normalizers, pre-tokenizers, decoders and templates as tokenizer.json has them. */
#include "fields.h"
#include "tokenizer_impl.h"
#include <string.h>
#include <utf8proc.h>

/* Lists within lists. */
enum { DEPTH = 8 };

/* GPT-2's pattern, which tokenizer.json has no text of. */
const char dart_gpt2_pattern[] =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|"
    "\\s+(?!\\S)|\\s+";
/* Punctuation as Rust's is_ascii_punctuation and Unicode's P have it. */
static const char punctuation_pattern[] = "[!-/:-@\\x5b-`{-~\\p{P}]";

static dart_status too_many(dart_place at)
{
    return dart_fail(DART_INPUT, "%s: %s: more than %d steps, or lists %d deep", at.what,
        at.section, (int)DART_STEPS, (int)DEPTH);
}

/* Calls `each` for the members of a Sequence, which stand at `key`. */
typedef dart_status rule_fn(dart_tokenizer *t, dart_place at, const json_t *rule, int depth);
static dart_status sequence(
    dart_tokenizer *t, dart_place at, const json_t *rule, const char *key, rule_fn *each, int depth)
{
    const json_t *list = json_object_get(rule, key);
    at.type = "Sequence";
    if (!json_is_array(list)) return dart_field_refuse(at, key, "missing or not a list");
    if (depth == DEPTH) return too_many(at);
    for (size_t i = 0; i < json_array_size(list); i++)
        DART_TRY(each(t, at, json_array_get(list, i), depth + 1));
    return DART_OK;
}

static dart_status keep(dart_tokenizer *t, const char *text, const char **out)
{
    *out = dart_arena_strdup(&t->arena, text);
    return *out ? DART_OK : DART_MEMORY;
}

/* {"String": text} or {"Regex": pattern}; older files have the text alone. */
static dart_status pattern_of(dart_place at, const json_t *rule, const char **out, bool *literal)
{
    const json_t *pattern = json_object_get(rule, "pattern");
    const char *string = json_string_value(json_object_get(pattern, "String"));
    const char *regex = json_string_value(json_object_get(pattern, "Regex"));
    if (json_is_string(pattern)) string = json_string_value(pattern);
    if (!string == !regex) return dart_field_refuse(at, "pattern", "neither a String nor a Regex");
    *literal = string != NULL;
    *out = string ? string : regex;
    if (!**out) return dart_field_refuse(at, "pattern", "empty");
    return DART_OK;
}

/* ---- normalizers ---- */

static dart_status norm_add(dart_tokenizer *t, dart_place at, dart_norm norm, dart_norm **out)
{
    if (t->norms == DART_STEPS) return too_many(at);
    *out = &t->norm[t->norms++];
    **out = norm;
    return DART_OK;
}

static dart_status norm_bert(dart_tokenizer *t, dart_place at, const json_t *rule)
{
    dart_norm *norm = NULL;
    DART_TRY(norm_add(t, at, (dart_norm){.kind = DART_NORM_BERT}, &norm));
    DART_TRY(dart_field_flag(at, rule, "clean_text", true, &norm->clean));
    DART_TRY(dart_field_flag(at, rule, "handle_chinese_chars", true, &norm->chinese));
    DART_TRY(dart_field_flag(at, rule, "lowercase", true, &norm->lower));
    return dart_field_flag(at, rule, "strip_accents", norm->lower, &norm->accents);
}

static dart_status norm_rule(dart_tokenizer *t, dart_place at, const json_t *rule, int depth)
{
    static const char *const names[] = {"NFC", "NFD", "NFKC", "NFKD", "Lowercase", "Strip",
        "StripAccents", "Replace", "Prepend", "BertNormalizer", "Sequence", NULL};
    static const int form[] = {UTF8PROC_COMPOSE | UTF8PROC_STABLE,
        UTF8PROC_DECOMPOSE | UTF8PROC_STABLE, UTF8PROC_COMPOSE | UTF8PROC_COMPAT | UTF8PROC_STABLE,
        UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT | UTF8PROC_STABLE};
    uint32_t type;
    dart_norm *norm = NULL;
    const char *text;
    bool literal;
    DART_TRY(dart_field_type(at, rule, names, &type));
    at.type = names[type];
    switch (type) {
    case 4:
        return norm_add(t, at, (dart_norm){.kind = DART_NORM_LOWER}, &norm);
    case 5:
        DART_TRY(norm_add(t, at, (dart_norm){.kind = DART_NORM_STRIP}, &norm));
        DART_TRY(dart_field_flag(at, rule, "strip_left", true, &norm->left));
        return dart_field_flag(at, rule, "strip_right", true, &norm->right);
    case 6:
        return norm_add(t, at, (dart_norm){.kind = DART_NORM_ACCENTS}, &norm);
    case 7:
        DART_TRY(norm_add(t, at, (dart_norm){.kind = DART_NORM_REPLACE}, &norm));
        DART_TRY(pattern_of(at, rule, &text, &literal));
        DART_TRY(dart_regex_new(text, literal, t->what, &norm->code));
        DART_TRY(dart_field_text(at, rule, "content", NULL, &text));
        return keep(t, text, &norm->text);
    case 8:
        DART_TRY(norm_add(t, at, (dart_norm){.kind = DART_NORM_PREPEND}, &norm));
        DART_TRY(dart_field_text(at, rule, "prepend", NULL, &text));
        return keep(t, text, &norm->text);
    case 9:
        return norm_bert(t, at, rule);
    case 10:
        return sequence(t, at, rule, "normalizers", norm_rule, depth);
    default:
        return norm_add(t, at, (dart_norm){.kind = DART_NORM_FORM, .form = form[type]}, &norm);
    }
}

dart_status dart_rules_normalizer(dart_tokenizer *t, const json_t *json)
{
    if (!json || json_is_null(json)) return DART_OK;
    return norm_rule(t, (dart_place){t->what, "normalizer", ""}, json, 0);
}

/* ---- pre-tokenizers ---- */

static dart_status cut_add(dart_tokenizer *t, dart_place at, dart_cut cut, dart_cut **out)
{
    if (t->byte_level)
        return dart_fail(DART_INPUT, "%s: %s %s behind ByteLevel is not supported", at.what,
            at.section, at.type);
    if (t->cuts == DART_STEPS) return too_many(at);
    *out = &t->cut[t->cuts++];
    **out = cut;
    return DART_OK;
}

static dart_status cut_pattern(dart_tokenizer *t, dart_place at, const char *pattern, bool literal,
    dart_split_kind kind, bool invert)
{
    dart_cut *cut = NULL;
    DART_TRY(cut_add(t, at, (dart_cut){.kind = DART_CUT_SPLIT}, &cut));
    cut->split = (dart_split){.kind = kind, .invert = invert};
    return dart_regex_new(pattern, literal, t->what, &cut->split.code);
}

static dart_status behaviour(
    dart_place at, const json_t *rule, const char *fallback, dart_split_kind *out)
{
    static const char *const names[] = {
        "Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"};
    const char *text;
    DART_TRY(dart_field_text(at, rule, "behavior", fallback, &text));
    for (unsigned i = 0; i < sizeof names / sizeof *names; i++)
        if (!strcmp(names[i], text)) {
            *out = (dart_split_kind)i;
            return DART_OK;
        }
    return dart_field_refuse(at, "behavior",
        "not Removed, Isolated, MergedWithPrevious, "
        "MergedWithNext or Contiguous");
}

static dart_status cut_split(dart_tokenizer *t, dart_place at, const json_t *rule)
{
    const char *text;
    bool literal, invert;
    dart_split_kind kind = DART_SPLIT_REMOVED;
    DART_TRY(pattern_of(at, rule, &text, &literal));
    DART_TRY(behaviour(at, rule, NULL, &kind));
    DART_TRY(dart_field_flag(at, rule, "invert", false, &invert));
    return cut_pattern(t, at, text, literal, kind, invert);
}

static dart_status cut_prefix(dart_tokenizer *t, dart_place at, const char *text, bool first)
{
    dart_cut *cut = NULL;
    DART_TRY(cut_add(t, at, (dart_cut){.kind = DART_CUT_PREFIX, .first = first}, &cut));
    return keep(t, text, &cut->text);
}

static dart_status cut_bytes(dart_tokenizer *t, dart_place at, const json_t *rule)
{
    bool prefix, regex;
    DART_TRY(dart_field_flag(at, rule, "add_prefix_space", true, &prefix));
    DART_TRY(dart_field_flag(at, rule, "use_regex", true, &regex));
    if (prefix) DART_TRY(cut_prefix(t, at, " ", false));
    if (regex) DART_TRY(cut_pattern(t, at, dart_gpt2_pattern, false, DART_SPLIT_ISOLATED, false));
    if (t->byte_level) return dart_fail(DART_INPUT, "%s: %s: ByteLevel twice", at.what, at.section);
    t->byte_level = true;
    return DART_OK;
}

/* What Metaspace puts before a text: 0 nothing, 1 always, 2 to the first one. */
static dart_status meta_scheme(dart_place at, const json_t *rule, int *out)
{
    bool old;
    const char *scheme;
    DART_TRY(dart_field_flag(at, rule, "add_prefix_space", true, &old));
    DART_TRY(dart_field_text(at, rule, "prepend_scheme", old ? "always" : "never", &scheme));
    *out = !strcmp(scheme, "always") ? 1 : !strcmp(scheme, "first") ? 2 : 0;
    if (*out || !strcmp(scheme, "never")) return DART_OK;
    return dart_field_refuse(at, "prepend_scheme", "not always, first or never");
}

static dart_status cut_meta(dart_tokenizer *t, dart_place at, const json_t *rule)
{
    const char *mark;
    dart_cut *cut = NULL;
    int scheme;
    bool split;
    DART_TRY(dart_field_text(at, rule, "replacement", "\xe2\x96\x81", &mark));
    DART_TRY(meta_scheme(at, rule, &scheme));
    DART_TRY(dart_field_flag(at, rule, "split", true, &split));
    if (!*mark) return dart_field_refuse(at, "replacement", "empty");
    DART_TRY(cut_add(t, at, (dart_cut){.kind = DART_CUT_SPACES}, &cut));
    DART_TRY(keep(t, mark, &cut->text));
    if (scheme) DART_TRY(cut_prefix(t, at, mark, scheme == 2));
    return split ? cut_pattern(t, at, mark, true, DART_SPLIT_NEXT, false) : DART_OK;
}

static dart_status cut_rule(dart_tokenizer *t, dart_place at, const json_t *rule, int depth)
{
    static const char *const names[] = {"ByteLevel", "Split", "Digits", "Metaspace",
        "BertPreTokenizer", "Whitespace", "WhitespaceSplit", "Punctuation", "Sequence", NULL};
    uint32_t type;
    bool each;
    dart_split_kind kind = DART_SPLIT_REMOVED;
    DART_TRY(dart_field_type(at, rule, names, &type));
    at.type = names[type];
    switch (type) {
    case 0:
        return cut_bytes(t, at, rule);
    case 1:
        return cut_split(t, at, rule);
    case 2:
        DART_TRY(dart_field_flag(at, rule, "individual_digits", false, &each));
        return cut_pattern(t, at, each ? "\\p{N}" : "\\p{N}+", false, DART_SPLIT_ISOLATED, false);
    case 3:
        return cut_meta(t, at, rule);
    case 4:
        DART_TRY(cut_pattern(t, at, "\\s+", false, DART_SPLIT_REMOVED, false));
        return cut_pattern(t, at, punctuation_pattern, false, DART_SPLIT_ISOLATED, false);
    case 5:
        return cut_pattern(t, at, "\\w+|[^\\w\\s]+", false, DART_SPLIT_REMOVED, true);
    case 6:
        return cut_pattern(t, at, "\\s+", false, DART_SPLIT_REMOVED, false);
    case 7:
        DART_TRY(behaviour(at, rule, "Isolated", &kind));
        return cut_pattern(t, at, punctuation_pattern, false, kind, false);
    default:
        return sequence(t, at, rule, "pretokenizers", cut_rule, depth);
    }
}

dart_status dart_rules_cut(dart_tokenizer *t, const json_t *json)
{
    if (!json || json_is_null(json)) return DART_OK;
    return cut_rule(t, (dart_place){t->what, "pre_tokenizer", ""}, json, 0);
}

/* ---- decoders ---- */

static dart_status join_add(dart_tokenizer *t, dart_place at, dart_join join, dart_join **out)
{
    if (t->joins == DART_STEPS) return too_many(at);
    for (uint32_t i = 0; i < t->joins; i++)
        if (t->join[i].kind == DART_JOIN_FUSE && join.kind != DART_JOIN_STRIP)
            return dart_fail(
                DART_INPUT, "%s: %s %s behind Fuse is not supported", at.what, at.section, at.type);
    *out = &t->join[t->joins++];
    **out = join;
    return DART_OK;
}

static dart_status join_strip(dart_tokenizer *t, dart_place at, const json_t *rule)
{
    const char *text;
    dart_join *join = NULL;
    DART_TRY(join_add(t, at, (dart_join){.kind = DART_JOIN_STRIP}, &join));
    DART_TRY(dart_field_text(at, rule, "content", NULL, &text));
    DART_TRY(dart_field_count(at, rule, "start", 0, 1000, &join->left));
    DART_TRY(dart_field_count(at, rule, "stop", 0, 1000, &join->right));
    if (!*text) return dart_field_refuse(at, "content", "empty");
    for (uint32_t i = 0; i + 1 < t->joins; i++)
        if (t->join[i].kind == DART_JOIN_FUSE && (join->right || t->joins - i > 2))
            return dart_fail(DART_INPUT,
                "%s: %s Strip at the end of the whole text, or twice, is "
                "not supported",
                at.what, at.section);
    return keep(t, text, &join->from);
}

static dart_status join_replace(dart_tokenizer *t, dart_place at, const json_t *rule)
{
    const char *from, *to;
    dart_join *join = NULL;
    bool literal;
    DART_TRY(join_add(t, at, (dart_join){.kind = DART_JOIN_REPLACE}, &join));
    DART_TRY(pattern_of(at, rule, &from, &literal));
    DART_TRY(dart_field_text(at, rule, "content", NULL, &to));
    if (!literal) return dart_field_refuse(at, "pattern", "a Regex, which is not supported here");
    DART_TRY(keep(t, from, &join->from));
    return keep(t, to, &join->to);
}

static dart_status join_meta(dart_tokenizer *t, dart_place at, const json_t *rule)
{
    const char *mark;
    dart_join *join = NULL;
    int scheme;
    DART_TRY(join_add(t, at, (dart_join){.kind = DART_JOIN_META}, &join));
    DART_TRY(dart_field_text(at, rule, "replacement", "\xe2\x96\x81", &mark));
    DART_TRY(meta_scheme(at, rule, &scheme));
    if (!*mark) return dart_field_refuse(at, "replacement", "empty");
    join->left = scheme != 0;
    return keep(t, mark, &join->from);
}

static dart_status join_rule(dart_tokenizer *t, dart_place at, const json_t *rule, int depth)
{
    static const char *const names[] = {"ByteLevel", "Replace", "ByteFallback", "Fuse", "Strip",
        "Metaspace", "WordPiece", "Sequence", NULL};
    static const dart_join_kind plain[] = {
        [0] = DART_JOIN_BYTES, [2] = DART_JOIN_FALLBACK, [3] = DART_JOIN_FUSE};
    uint32_t type;
    const char *text;
    dart_join *join = NULL;
    DART_TRY(dart_field_type(at, rule, names, &type));
    at.type = names[type];
    switch (type) {
    case 1:
        return join_replace(t, at, rule);
    case 4:
        return join_strip(t, at, rule);
    case 5:
        return join_meta(t, at, rule);
    case 6:
        DART_TRY(join_add(t, at, (dart_join){.kind = DART_JOIN_PIECES}, &join));
        DART_TRY(dart_field_flag(at, rule, "cleanup", true, &join->cleanup));
        DART_TRY(dart_field_text(at, rule, "prefix", "##", &text));
        return keep(t, text, &join->from);
    case 7:
        return sequence(t, at, rule, "decoders", join_rule, depth);
    default:
        return join_add(t, at, (dart_join){.kind = plain[type]}, &join);
    }
}

dart_status dart_rules_join(dart_tokenizer *t, const json_t *json)
{
    t->no_decoder = !json || json_is_null(json);
    if (t->no_decoder) return DART_OK;
    return join_rule(t, (dart_place){t->what, "decoder", ""}, json, 0);
}
