/* Post-processors of tokenizer.json: which tokens stand around one text or two. */
#include "fields.h"
#include "tokenizer_impl.h"
#include <string.h>

enum { PARTS = 64 };

static dart_status part_add(dart_tokenizer *t, dart_template *to, dart_template_part part)
{
    if (!to->part) to->part = DART_NEW(&t->arena, dart_template_part, PARTS);
    if (!to->part) return DART_MEMORY;
    if (to->parts == PARTS)
        return dart_fail(DART_INPUT, "%s: a template has more than %d parts", t->what, (int)PARTS);
    to->part[to->parts++] = part;
    return DART_OK;
}

static dart_status check_id(const dart_tokenizer *t, dart_place at, const json_t *id, int32_t *out)
{
    json_int_t n = json_integer_value(id);
    if (!json_is_integer(id) || n < 0 || n >= t->table.size || !t->table.text[n].at)
        return dart_field_refuse(at, "ids", "not the ids of tokens");
    *out = (int32_t)n;
    return DART_OK;
}

/* {"SpecialToken": {"id": "[CLS]", "type_id": 0}} or {"Sequence": {"id": "A", "type_id": 0}} */
static dart_status template_part(dart_tokenizer *t, dart_place at, const json_t *special,
    const json_t *item, dart_template *to, bool *seen)
{
    const json_t *token = json_object_get(item, "SpecialToken"),
                 *sequence = json_object_get(item, "Sequence");
    const json_t *one = token ? token : sequence;
    const char *name;
    uint32_t type;
    if (!token == !sequence)
        return dart_field_refuse(at, "single, pair",
            "a list of something else than SpecialToken or "
            "Sequence");
    DART_TRY(dart_field_text(at, one, "id", NULL, &name));
    DART_TRY(dart_field_count(at, one, "type_id", 0, 255, &type));
    if (sequence) {
        if (strcmp(name, "A") && strcmp(name, "B"))
            return dart_field_refuse(at, "Sequence", "neither A nor B");
        seen[*name == 'B'] = true;
        return part_add(t, to, (dart_template_part){-1, *name == 'B', (int32_t)type});
    }
    const json_t *ids = json_object_get(json_object_get(special, name), "ids");
    if (!json_is_array(ids) || json_array_size(ids) == 0)
        return dart_field_refuse(
            at, "special_tokens", "without the ids of a token of the template");
    for (size_t i = 0; i < json_array_size(ids); i++) {
        int32_t id = -1;
        DART_TRY(check_id(t, at, json_array_get(ids, i), &id));
        DART_TRY(part_add(t, to, (dart_template_part){id, 0, (int32_t)type}));
    }
    return DART_OK;
}

static dart_status template_list(dart_tokenizer *t, dart_place at, const json_t *rule,
    const char *key, bool pair, dart_template *to)
{
    const json_t *list = json_object_get(rule, key);
    bool seen[2] = {false};
    if (pair && (!list || json_is_null(list) || !json_array_size(list))) return DART_OK;
    if (!json_is_array(list)) return dart_field_refuse(at, key, "missing or not a list");
    for (size_t i = 0; i < json_array_size(list); i++)
        DART_TRY(template_part(
            t, at, json_object_get(rule, "special_tokens"), json_array_get(list, i), to, seen));
    if (!seen[0] || seen[1] != pair)
        return dart_field_refuse(at, key, pair ? "without Sequence A or B" : "not of Sequence A");
    return DART_OK;
}

/* ["[SEP]", 102] */
static dart_status named(
    const dart_tokenizer *t, dart_place at, const json_t *rule, const char *key, int32_t *out)
{
    const json_t *value = json_object_get(rule, key);
    if (json_array_size(value) != 2)
        return dart_field_refuse(at, key, "not a list of a token and its id");
    return check_id(t, at, json_array_get(value, 1), out);
}

/* [CLS] A [SEP] B [SEP], or <s> A </s> </s> B </s>. */
static dart_status classic(dart_tokenizer *t, dart_place at, const json_t *rule, bool roberta)
{
    int32_t begin = -1, end = -1;
    DART_TRY(named(t, at, rule, "cls", &begin));
    DART_TRY(named(t, at, rule, "sep", &end));
    for (int pair = 0; pair < 2; pair++) {
        dart_template *to = pair ? &t->pair : &t->single;
        const int32_t second = roberta ? 0 : 1; /* RoBERTa has one segment */
        DART_TRY(part_add(t, to, (dart_template_part){begin, 0, 0}));
        DART_TRY(part_add(t, to, (dart_template_part){-1, 0, 0}));
        DART_TRY(part_add(t, to, (dart_template_part){end, 0, 0}));
        if (!pair) continue;
        if (roberta) DART_TRY(part_add(t, to, (dart_template_part){end, 0, 0}));
        DART_TRY(part_add(t, to, (dart_template_part){-1, 1, second}));
        DART_TRY(part_add(t, to, (dart_template_part){end, 0, second}));
    }
    return DART_OK;
}

static dart_status template_rule(dart_tokenizer *t, dart_place at, const json_t *rule, bool inner)
{
    static const char *const names[] = {
        "TemplateProcessing", "BertProcessing", "RobertaProcessing", "ByteLevel", "Sequence", NULL};
    uint32_t type;
    DART_TRY(dart_field_type(at, rule, names, &type));
    at.type = names[type];
    if (type < 3 && t->single.parts)
        return dart_fail(DART_INPUT, "%s: %s: two templates", at.what, at.section);
    if (type == 0) {
        DART_TRY(template_list(t, at, rule, "single", false, &t->single));
        return template_list(t, at, rule, "pair", true, &t->pair);
    }
    if (type < 3) return classic(t, at, rule, type == 2);
    if (type == 3) return DART_OK; /* it only moves offsets */
    const json_t *list = json_object_get(rule, "processors");
    if (!json_is_array(list) || inner)
        return dart_field_refuse(at, "processors", "not a list, or within another Sequence");
    for (size_t i = 0; i < json_array_size(list); i++)
        DART_TRY(template_rule(t, at, json_array_get(list, i), true));
    return DART_OK;
}

dart_status dart_rules_template(dart_tokenizer *t, const json_t *json)
{
    if (!json || json_is_null(json)) return DART_OK;
    return template_rule(t, (dart_place){t->what, "post_processor", ""}, json, false);
}
