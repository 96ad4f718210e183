/* The translator against whole prefixes: any grouping of them gives the logits of the whole
 * sentence; what does not fit is refused. */
#include "pairs.h"
#include "parallel.h"
#include "setup.h"
#include "translator.h"
#include <math.h>

/* Logits after `prefix` from the graph of a whole sentence of one pair. */
static const float *whole(dart_session *session, const int32_t *source, int32_t length,
    const int32_t *prefix, uint32_t known)
{
    const dart_model *model = session->model;
    dart_buffer input = session->memory.buffer[DART_REGION_INPUT];
    uint64_t at[3];
    int32_t tokens[CONTEXT] = {0};
    int32_t *index = calloc(model->config.vocab + 1 + CONTEXT, sizeof *index);
    dart_model_source_offsets(model, 1, CONTEXT, &at[0], &at[1], &at[2]);
    must(dart_device_write_i32(session->device, input, at[0], CONTEXT, source));
    must(dart_device_write_i32(session->device, input, at[1], 1, &length));
    memcpy(tokens, prefix, known * sizeof *tokens);
    must(dart_session_logits(session, tokens, index));
    free(index);
    return session->logits + (size_t)(known - 1) * session->logit_columns;
}

/* A random model's logits for prefixes that grow, swap, multiply and start over, against the same
 * model's graph of whole prefixes. */
static void prefixes_may_be_regrouped(void **state)
{
    (void)state;
    enum { SENTENCES = 2, BEAMS = 3, ROWS = SENTENCES * BEAMS };
    static const struct {
        const char *key, *value;
    } variants[] = {{"pos", "learned"}, {"pos", "rope"}, {"pos", "sinusoidal"},
        {"norm_position", "post"}, {"kv_heads", "1"}, {"embedding", "tt-embedding"},
        {"shared_vocab", "true"}};
    static const char *const devices[] = {"cpu", "opencl:0", "vulkan:0"};
    uint32_t compared = 0;
    for (size_t v = 0; v < 3 * sizeof variants / sizeof *variants; v++) {
        dart_recipe *recipe = recipe_for(tiny_path("none"), v % 2 ? "tt" : "dense", "");
        dart_corpus corpus;
        dart_settings set;
        dart_model_config config;
        dart_model *model;
        dart_session *session;
        dart_session_options options;
        dart_translator *t;
        dart_device *device;
        tiny_set(recipe, variants[v / 3].key, variants[v / 3].value);
        dart_recipe_settings(recipe, &set);
        if (dart_device_open(devices[v % 3], NULL, &device) != DART_OK) {
            print_message("%s skipped: %s\n", devices[v % 3], dart_error_text());
            dart_recipe_free(recipe);
            continue;
        }
        must(dart_corpus_for(&set, NULL, &corpus));
        must(dart_config_for(&set, &corpus.vocab, &corpus.source_vocab, &config));
        must(dart_model_new(&config, NULL, &model));
        float *param = calloc(model->param_words, sizeof *param);
        float *frozen = calloc(model->frozen_words + 1, sizeof *frozen);
        must(dart_model_init(model, 3, param, frozen));
        /* far from uniform; a chain of four cores is scaled by the fourth power */
        for (uint64_t i = 0; i < model->param_words; i++) param[i] *= v % 2 ? 1.3F : 3;
        must(dart_session_options_from(&set, config.vocab, &options));
        options.train = options.eval = false;
        options.logits = true;
        must(dart_session_new(device, NULL, model, &options, &session));
        must(dart_session_write(session, param, frozen, NULL));
        must(dart_translator_new(device, model, SENTENCES, BEAMS, param, frozen, &t));
        const int32_t source[SENTENCES * CONTEXT] = {5, 6, 2, 0, 0, 0, 0, 0, 7, 4, 5, 6, 2};
        const int32_t length[SENTENCES] = {3, 5};
        int32_t prefix[ROWS][CONTEXT];
        must(dart_translator_encode(t, source, length));
        uint32_t known = 0;
        for (int call = 0; call < 9; call++) {
            /* after five tokens the prefixes are dropped and others begin */
            int32_t before[ROWS][CONTEXT], flat[ROWS * CONTEXT];
            memcpy(before, prefix, sizeof prefix);
            known = call == 5 ? 3 : known + 1;
            for (uint32_t i = 0; i < ROWS; i++) {
                uint32_t parent = i / BEAMS * BEAMS + (i * 5 + (uint32_t)call) % BEAMS;
                memcpy(prefix[i], before[call % 2 ? i : parent], sizeof prefix[i]);
                uint32_t from = call == 5 ? 0 : known - 1;
                for (uint32_t k = from; k < known; k++)
                    prefix[i][k] =
                        k ? (int32_t)(1 + (7 * i + 3 * k + (uint32_t)call) % (config.vocab - 1))
                          : DART_BOS;
                memcpy(flat + i * known, prefix[i], known * sizeof *flat);
            }
            const float *logits;
            uint32_t columns;
            must(dart_translator_next(t, flat, known, &logits, &columns));
            for (uint32_t i = 0; i < ROWS; i++) {
                const float *want = whole(session, source + i / BEAMS * CONTEXT, length[i / BEAMS],
                    flat + i * known, known);
                double apart = 0, norm = 0;
                for (uint32_t c = 0; c < config.vocab; c++) {
                    double d = (double)logits[i * columns + c] - want[c];
                    apart += d * d;
                    norm += (double)want[c] * want[c];
                }
                if (!(sqrt(apart) <= 1e-4 * sqrt(norm)))
                    fail_msg("%s %s on %s, call %d, row %u: logits apart by %g of %g",
                        variants[v / 3].key, variants[v / 3].value, devices[v % 3], call, i,
                        sqrt(apart), sqrt(norm));
                compared++;
            }
        }
        dart_translator_free(t);
        dart_session_free(session);
        dart_model_free(model);
        dart_device_close(device);
        dart_corpus_free(&corpus);
        dart_recipe_free(recipe);
        free(param);
        free(frozen);
    }
    print_message("%u rows of logits compared\n", compared);
    assert_true(compared >= 7 * 9 * ROWS); /* the cpu alone */
}

static void the_translator_refuses_what_is_not_its(void **state)
{
    (void)state;
    dart_recipe *recipe = recipe_for(tiny_path("none"), "dense", "");
    dart_settings set;
    dart_model_config config;
    dart_model *model;
    dart_device *device;
    dart_translator *t;
    const float *logits;
    uint32_t columns;
    dart_recipe_settings(recipe, &set);
    must(dart_device_open("cpu", NULL, &device));
    must(dart_config_from(&set, 20, &config));
    must(dart_model_new(&config, NULL, &model));
    float *param = calloc(model->param_words, sizeof *param);
    must(dart_translator_new(device, model, 1, 2, param, NULL, &t));
    int32_t source[CONTEXT] = {1}, length = CONTEXT + 1;
    assert_int_equal(dart_translator_encode(t, source, &length), DART_INPUT);
    assert_non_null(strstr(dart_error_text(), "9 tokens, the model takes at most 8"));
    length = 1;
    source[7] = 20;
    assert_int_equal(dart_translator_encode(t, source, &length), DART_INPUT);
    assert_non_null(strstr(dart_error_text(), "token 20 of a source is outside 0..19"));
    int32_t prefix[2 * (CONTEXT + 1)] = {0};
    assert_int_equal(dart_translator_next(t, prefix, CONTEXT + 1, &logits, &columns), DART_INPUT);
    assert_int_equal(dart_translator_next(t, prefix, 0, &logits, &columns), DART_INPUT);
    prefix[1] = -1;
    assert_int_equal(dart_translator_next(t, prefix, 1, &logits, &columns), DART_INPUT);
    dart_translator_free(t);
    dart_model_free(model);
    config.enc_layers = 0;
    must(dart_model_new(&config, NULL, &model));
    assert_int_equal(dart_translator_new(device, model, 1, 2, param, NULL, &t), DART_INPUT);
    assert_null(t);
    dart_model_free(model);
    dart_device_close(device);
    dart_recipe_free(recipe);
    free(param);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(prefixes_may_be_regrouped),
        cmocka_unit_test(the_translator_refuses_what_is_not_its)};
    return cmocka_run_group_tests(tests, pairs_set_up, tiny_tear_down);
}
