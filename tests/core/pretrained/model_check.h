/* A scratch folder, and models compared with the lab's numbers. For one file of a program. */
#ifndef MODEL_CHECK_H
#define MODEL_CHECK_H

#include "model_files.h"
#include <math.h>
#include <setjmp.h>
#include <stddef.h>
#include <unistd.h>
#include <cmocka.h>

static char folder[] = "/tmp/dart-test-XXXXXX";
static unsigned compared;

static inline const char *path_of(const char *name)
{
    static char path[4][200];
    static unsigned turn;
    char *out = path[turn++ % 4];
    snprintf(out, 200, "%s/%s", folder, name);
    return out;
}

static inline void put_file(const char *name, const void *data, size_t size)
{
    assert_int_equal(dart_file_write_atomic(path_of(name), data, size), DART_OK);
}

/* Also clears what another test left. */
static inline void put_config(const char *text)
{
    static const char *const files[] = {
        "model.safetensors", "model.safetensors.index.json", "generation_config.json"};
    for (int i = 0; i < 3; i++) (void)remove(path_of(files[i]));
    put_file("config.json", text, strlen(text));
}

static inline dart_pretrained *opened(const char *path)
{
    dart_pretrained *model;
    if (dart_pretrained_open(path, &model) != DART_OK) fail_msg("%s", dart_error_text());
    return model;
}

/* Every tensor is one of the lab's, with its numbers, in reads of `step` rows. */
static inline void compare(
    const dart_pretrained *model, const lab *l, uint64_t step, float tolerance)
{
    uint32_t count, found = 0;
    const dart_pretrained_tensor *tensor = dart_pretrained_tensors(model, &count);
    for (uint32_t i = 0; i < count; i++) {
        const dart_pretrained_tensor *t = &tensor[i];
        float *rows = malloc(4 * (size_t)(step * t->columns));
        for (uint32_t k = 0; k < l->count; k++) {
            const lab_tensor *mine = &l->tensor[k];
            if (strcmp(mine->ours, t->name)) continue;
            assert_true(t->rows == mine->rows && t->columns == (mine->columns ? mine->columns : 1));
            assert_int_equal(t->vector, mine->columns == 0);
            found++;
        }
        for (uint64_t at = 0; at < t->rows; at += step) {
            const uint64_t n = t->rows - at < step ? t->rows - at : step;
            assert_int_equal(dart_pretrained_read(model, t->name, at, n, rows), DART_OK);
            for (uint64_t r = 0; r < n; r++)
                for (uint64_t c = 0; c < t->columns; c++, compared++) {
                    const float wanted = number_of(t->name, at + r, c);
                    if (!(fabsf(rows[r * t->columns + c] - wanted) <= tolerance))
                        fail_msg("%s (%u, %u)", t->name, (unsigned)(at + r), (unsigned)c);
                }
        }
        free(rows);
    }
    assert_int_equal(found, count);
}

static inline void check_llama(const dart_pretrained *model, uint32_t tensors)
{
    const dart_pretrained_config *c = dart_pretrained_config_of(model);
    uint32_t count;
    assert_int_equal(c->arch, DART_PRETRAINED_LLAMA);
    assert_true(c->layers == LAYERS && c->d_model == D && c->heads == HEADS && c->kv_heads == KV);
    assert_true(c->head_dim == SIZE && c->d_ff == FF && c->vocab == VOCAB && c->context == CONTEXT);
    assert_true(c->rms_norm && !c->post_norm && fabs(c->norm_eps - 1e-5) < 1e-12);
    assert_true(c->act == DART_PRETRAINED_SWIGLU && c->bias == DART_PRETRAINED_NO_BIAS);
    assert_true(!c->qk_norm && !c->sliding_window && !c->token_types && !c->pooler && !c->labels);
    assert_true(c->rope.scaling == DART_PRETRAINED_PLAIN && !c->rope.factors);
    assert_true(c->bos == 1 && c->eos_count >= 1 && c->eos[0] == 2);
    assert_non_null(dart_pretrained_tensors(model, &count));
    assert_int_equal(count, tensors);
    assert_int_equal(dart_pretrained_find(model, "head") == NULL, c->tied);
}

enum { TENSORS = 2 + 9 * LAYERS }; /* without a head */

static inline int set_up(void **state)
{
    (void)state;
    return !mkdtemp(folder);
}

static inline int tear_down(void **state)
{
    (void)state;
    return dart_remove_tree(folder) != DART_OK;
}

#endif
