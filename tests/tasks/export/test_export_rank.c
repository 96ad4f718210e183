/* Adapters that are no LoRA pairs: with a largest rank they become near ones, and the error that is
 * told is what is missing. */
#include "../train/pretrained_lab.h"
#include "export.h"
#include "gguf.h"
#include <math.h>

static void export(uint32_t rank, const char *out, dart_export_result *result)
{
    const dart_export_options o = {
        .size = sizeof o, .format = "gguf-lora", .out = out, .rank = rank};
    *result = (dart_export_result){.size = sizeof *result};
    if (dart_export(in("dota"), NULL, &o, NULL, result) != DART_OK)
        fail_msg("%s", dart_error_text());
}

static dart_gguf *adapter(const char *out, double *alpha)
{
    char path[256];
    dart_gguf *file;
    snprintf(path, sizeof path, "%s/adapter.gguf", out);
    if (dart_gguf_open(path, &file) != DART_OK) fail_msg("%s", dart_error_text());
    assert_int_equal(dart_gguf_f64(file, "adapter.lora.alpha", 0, alpha), DART_OK);
    return file;
}

/* alpha / r B A (out, in) of the module whose A is `a`; caller frees. */
static double *product(const dart_gguf *file, const dart_gguf_tensor *a, double alpha)
{
    char name[160];
    snprintf(name, sizeof name, "%.*sb", (int)strlen(a->name) - 1, a->name);
    const dart_gguf_tensor *b = dart_gguf_tensor_find(file, name);
    assert_non_null(b);
    const uint64_t columns = a->dim[0], rank = a->dim[1], rows = b->dim[1];
    const float *left = (const float *)(const void *)b->data;
    const float *right = (const float *)(const void *)a->data;
    double *sum = calloc(rows * columns, sizeof *sum);
    for (uint64_t r = 0; r < rows; r++)
        for (uint64_t k = 0; k < rank; k++)
            for (uint64_t c = 0; c < columns; c++)
                sum[r * columns + c] +=
                    alpha / (double)rank * left[r * rank + k] * right[k * columns + c];
    return sum;
}

static void errors_are_what_is_missing(void **state)
{
    (void)state;
    dart_export_result whole, cut;
    double alpha, other, last = 1;
    export(0, in("exact"), &whole);
    assert_true(whole.error < 1e-5);
    dart_gguf *exact = adapter(in("exact"), &alpha);
    for (uint32_t rank = 1; rank <= 4; rank *= 2) {
        char out[200];
        uint64_t count;
        double worst = 0;
        uint32_t shorter = 0;
        snprintf(out, sizeof out, "%s/rank-%u", folder, rank);
        export(rank, out, &cut);
        dart_gguf *file = adapter(out, &other);
        const dart_gguf_tensor *t = dart_gguf_tensors(file, &count);
        for (uint64_t i = 0; i < count; i++) {
            if (t[i].name[strlen(t[i].name) - 1] != 'a') continue;
            const dart_gguf_tensor *of = dart_gguf_tensor_find(exact, t[i].name);
            double *near = product(file, &t[i], other), *full = product(exact, of, alpha);
            char name[160];
            snprintf(name, sizeof name, "%.*sb", (int)strlen(t[i].name) - 1, t[i].name);
            const uint64_t words = dart_gguf_tensor_find(file, name)->dim[1] * t[i].dim[0];
            double left = 0, all = 0;
            for (uint64_t k = 0; k < words; k++) {
                left += (near[k] - full[k]) * (near[k] - full[k]);
                all += full[k] * full[k];
            }
            worst = fmax(worst, sqrt(left / all));
            assert_true(t[i].dim[1] <= rank);
            shorter += t[i].dim[1] < of->dim[1];
            free(near);
            free(full);
        }
        print_message("rank %u: error %.3g, told %.3g\n", rank, worst, cut.error);
        assert_true(shorter > 0 && fabs(worst - cut.error) < 1e-4);
        assert_true(cut.error < last && cut.error > 1e-3 && cut.parameters < whole.parameters);
        last = cut.error;
        dart_gguf_close(file);
    }
    dart_gguf_close(exact);
}

static int set_up_adapter(void **state)
{
    static const char *const more[] = {" ", "a", " a"};
    watch w = {0};
    if (set_up_base(state)) return 1;
    write_pieces(tokenizer_path, more);
    dart_recipe *recipe = tuning("dota", "cpu", in("dota"));
    if (train(recipe, &w, NULL) != DART_OK) fail_msg("%s", dart_error_text());
    dart_recipe_free(recipe);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(errors_are_what_is_missing)};
    return cmocka_run_group_tests(tests, set_up_adapter, tear_down);
}
