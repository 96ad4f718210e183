/* What the masks of an encoder-decoder hide: padding and the future change nothing. On the f64
 * device.
 */
#include "seq2seq_lab.h"

/* Logits of all positions, (BATCH * time, columns), malloc'ed. */
static double *logits_of(const lab *l, uint32_t *out_columns)
{
    built b;
    open_graph(l, &b);
    dart_node y = dart_model_logits(l->model, b.graph, &b.leaves, l->time);
    *out_columns = l->model->weight[l->model->head].layout.padded_out;
    double *got = calloc((size_t)BATCH * l->time * *out_columns, sizeof *got);
    run_graph(l, &b, 1, &y);
    ok(ir_read(&b.run, 0, got));
    close_graph(&b);
    return got;
}

/* What stands in padded places is never seen: loss and gradients keep their bits, but for the
 * gradients of the padded tokens' own rows, which stay 0. */
static void padded_words_are_not_seen(void **state)
{
    (void)state;
    for (int which = 0; which < FIXED - 1; which++) {
        dart_model_config config = config_at(which);
        lab l;
        lab_open(&l, &config);
        double *before, *after, loss = train(&l, 0, &before);
        for (uint32_t b = 0; b < BATCH; b++) {
            for (uint32_t t = (uint32_t)real[b][0]; t < l.source_time; t++)
                l.source[b * l.source_time + t] = (int32_t)(t + 1);
            for (uint32_t t = (uint32_t)real[b][1] + 1; t < l.time; t++)
                l.target[b * l.time + t] = (int32_t)(t + 2);
        }
        write_input(&l);
        assert_true(train(&l, 0, &after) == loss);
        for (uint64_t i = 0; i < l.model->param_words; i++)
            if (fabs(before[i] - after[i]) > 1e-14) /* sums of other zeros */
                fail_msg("config %d: word %llu is %g, was %g", which, (unsigned long long)i,
                    after[i], before[i]);
        free(after);
        l.source[l.source_time] = (l.source[l.source_time] + 1) % (int32_t)config.source_vocab;
        write_input(&l);
        assert_true(fabs(train(&l, 0, NULL) - loss) > 1e-6); /* a real word is seen */
        free(before);
        lab_close(&l);
    }
}

/* The same sentences in a batch with more padding: the same loss and gradients. */
static void more_padding_changes_nothing(void **state)
{
    (void)state;
    for (int rope = 0; rope < 2; rope++) {
        double loss[2], *gradient[2];
        uint64_t words = 0;
        for (int wide = 0; wide < 2; wide++) {
            dart_model_config config = base_config();
            role_set(&config, LINEAR, "tt");
            /* no parameter depends on the context */
            config.positions.kind = rope ? DART_ROTARY : DART_SINUSOIDAL;
            config.context += wide ? 3 : 0;
            config.source_context += wide ? 2 : 0;
            lab l;
            lab_open(&l, &config);
            words = l.model->param_words;
            loss[wide] = train(&l, 3, &gradient[wide]);
            lab_close(&l);
        }
        assert_true(fabs(loss[0] - loss[1]) < 1e-13 * fabs(loss[0]));
        double apart = 0, norm = 0;
        for (uint64_t i = 0; i < words; i++) {
            apart += (gradient[0][i] - gradient[1][i]) * (gradient[0][i] - gradient[1][i]);
            norm += gradient[0][i] * gradient[0][i];
        }
        assert_true(norm > 0 && sqrt(apart / norm) < 1e-12);
        free(gradient[0]);
        free(gradient[1]);
    }
}

static void the_future_is_not_seen(void **state)
{
    (void)state;
    for (int which = 0; which < configs(); which++) {
        dart_model_config config = config_at(which);
        lab l;
        uint32_t columns;
        lab_open(&l, &config);
        double *before = logits_of(&l, &columns);
        for (uint32_t changed = 1; changed < l.time; changed++) {
            int32_t kept = l.target[changed]; /* of the first sentence */
            l.target[changed] = (kept + 1) % (int32_t)config.vocab;
            write_input(&l);
            double *after = logits_of(&l, &columns);
            for (uint32_t t = 0; t < l.time; t++) {
                bool same = memcmp(before + t * columns, after + t * columns,
                                columns * sizeof *before) == 0;
                assert_int_equal(same, t < changed);
            }
            /* other sentences are not touched */
            assert_memory_equal(before + l.time * columns, after + l.time * columns,
                (BATCH - 1) * l.time * columns * sizeof *before);
            free(after);
            l.target[changed] = kept;
        }
        free(before);
        lab_close(&l);
    }
}

/* A row that only fills a batch: no source, no labels. */
static void an_empty_row_is_harmless(void **state)
{
    (void)state;
    dart_model_config config = config_at(1);
    lab l;
    lab_open(&l, &config);
    l.length[2] = 0;
    l.label[2 * l.time] = -1;
    write_input(&l);
    double *gradient, loss = train(&l, 0, &gradient);
    assert_true(isfinite(loss) && loss > 0);
    for (uint64_t i = 0; i < l.model->param_words; i++) assert_true(isfinite(gradient[i]));
    free(gradient);
    lab_close(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(padded_words_are_not_seen),
        cmocka_unit_test(more_padding_changes_nothing), cmocka_unit_test(the_future_is_not_seen),
        cmocka_unit_test(an_empty_row_is_harmless)};
    return cmocka_run_group_tests(tests, open_device, close_device);
}
