/* Rules of tokenizers whose files have none: the JSON that tokenizer.json would have. */
#include "build.h"
#include <stdlib.h>
#include <string.h>

static dart_status keep(dart_tokenizer *t, const json_t *json, const char **out)
{
    char *text;
    if (!json || json_is_null(json)) return DART_OK;
    json_incref((json_t *)(uintptr_t)json);
    DART_TRY(dart_json_write((json_t *)(uintptr_t)json, DART_OK, JSON_COMPACT, t->what, &text));
    *out = dart_arena_strdup(&t->arena, text);
    free(text);
    return *out ? DART_OK : DART_MEMORY;
}

dart_status dart_build_rules(dart_tokenizer *t, const json_t *normalizer,
    const json_t *pre_tokenizer, const json_t *post_processor, const json_t *decoder)
{
    DART_TRY(keep(t, normalizer, &t->source.normalizer));
    DART_TRY(keep(t, pre_tokenizer, &t->source.pre_tokenizer));
    DART_TRY(keep(t, post_processor, &t->source.post_processor));
    DART_TRY(keep(t, decoder, &t->source.decoder));
    DART_TRY(dart_rules_normalizer(t, normalizer));
    DART_TRY(dart_rules_cut(t, pre_tokenizer));
    DART_TRY(dart_rules_template(t, post_processor));
    return dart_rules_join(t, decoder);
}

dart_status dart_build_rules_text(dart_tokenizer *t, const char *json)
{
    char why[DART_JSON_WHY];
    json_t *root;
    DART_TRY(dart_json_parse(json, strlen(json), t->what, why, &root));
    dart_status status = dart_build_rules(t, json_object_get(root, "normalizer"),
        json_object_get(root, "pre_tokenizer"), json_object_get(root, "post_processor"),
        json_object_get(root, "decoder"));
    json_decref(root);
    return status;
}

static void template_json(json_t *list, const char *key, const char *value, dart_status *status)
{
    dart_json_add(list, json_pack("{s:{s:s,s:i}}", key, "id", value, "type_id", 0), status);
}

dart_status dart_build_template(dart_tokenizer *t, int32_t bos, int32_t eos)
{
    dart_status status = DART_OK;
    const int32_t role[2] = {bos, eos};
    for (int i = 0; i < 2; i++) {
        if (role[i] < 0) continue;
        const dart_token_text text = t->table.text[role[i]];
        if (dart_chars_sound(text.at, text.bytes) < text.bytes || memchr(text.at, 0, text.bytes))
            return dart_fail(DART_INPUT, "%s: token %d, which stands around texts, is not UTF-8",
                t->what, (int)role[i]);
    }
    json_t *rule = json_pack(
        "{s:s,s:[],s:[],s:{}}", "type", "TemplateProcessing", "single", "pair", "special_tokens");
    json_t *special = json_object_get(rule, "special_tokens");
    if (bos < 0 && eos < 0) {
        json_decref(rule);
        return DART_OK;
    }
    for (int pair = 0; pair < 2; pair++) {
        json_t *list = json_object_get(rule, pair ? "pair" : "single");
        for (int text = 0; text <= pair; text++) {
            if (bos >= 0) template_json(list, "SpecialToken", t->table.text[bos].at, &status);
            template_json(list, "Sequence", text ? "B" : "A", &status);
            if (eos >= 0) template_json(list, "SpecialToken", t->table.text[eos].at, &status);
        }
    }
    for (int i = 0; i < 2; i++) {
        if (role[i] < 0) continue;
        const char *name = t->table.text[role[i]].at;
        dart_json_set(special, name,
            json_pack("{s:s,s:[i],s:[s]}", "id", name, "ids", (int)role[i], "tokens", name),
            &status);
    }
    if (status == DART_OK) status = keep(t, rule, &t->source.post_processor);
    if (status == DART_OK) status = dart_rules_template(t, rule);
    json_decref(rule);
    return status == DART_MEMORY ? dart_fail(DART_MEMORY, "out of memory: %s", t->what) : status;
}

dart_status dart_build_spm_rules(
    dart_tokenizer *t, bool prefix, bool squeeze, int32_t bos, int32_t eos)
{
    char text[900];
    snprintf(text, sizeof text,
        "{\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[%s%s{\"type\":\"Replace\","
        "\"pattern\":"
        "{\"String\":\" "
        "\"},\"content\":\"\xe2\x96\x81\"}]},\"decoder\":{\"type\":\"Sequence\",\"decoders\":"
        "[{\"type\":\"Replace\",\"pattern\":{\"String\":\"\xe2\x96\x81\"},\"content\":\" "
        "\"},{\"type\":"
        "\"ByteFallback\"},{\"type\":\"Fuse\"}%s]}}",
        squeeze
            ? "{\"type\":\"Replace\",\"pattern\":{\"Regex\":\"\\\\A +| +\\\\z\"},\"content\":\"\"},"
              "{\"type\":\"Replace\",\"pattern\":{\"Regex\":\" {2,}\"},\"content\":\" \"},"
            : "",
        prefix ? "{\"type\":\"Prepend\",\"prepend\":\"\xe2\x96\x81\"}," : "",
        prefix ? ",{\"type\":\"Strip\",\"content\":\" \",\"start\":1,\"stop\":0}" : "");
    DART_TRY(dart_build_rules_text(t, text));
    return dart_build_template(t, bos, eos);
}
