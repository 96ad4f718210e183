/* The encoder-decoder against a plain C one that materialises everything, gradients of every method
 * against finite differences, names and refusals. On the f64 device. */
#include "seq2seq_lab.h"
#include "plain_transformer.h"

/* Only the real words of each sentence are computed. nll (BATCH * time), 0 at padding. */
static double plain_model(const lab *l, double *nll)
{
    const dart_model *m = l->model;
    double loss = 0, labels = 0, *head = dense_of(l, m->head);
    for (uint32_t b = 0; b < BATCH; b++) {
        uint32_t keys = (uint32_t)l->length[b], rows = (uint32_t)real[b][1] + 1;
        double memory[MOST * WIDTH], x[MOST * WIDTH], h[MOST * WIDTH];
        plain_embed(l, m->source_embedding, m->source_positions, l->source + b * l->source_time,
            keys, memory);
        for (uint32_t layer = 0; layer < m->config.enc_layers; layer++) {
            plain_sublayer(l, &m->encoder[layer], SELF, false, memory, keys, NULL, 0);
            plain_sublayer(l, &m->encoder[layer], MLP, false, memory, keys, NULL, 0);
        }
        if (m->source_norm_w >= 0) {
            memcpy(h, memory, sizeof h);
            plain_norm(l, m->source_norm_w, m->source_norm_b, h, keys, memory);
        }
        plain_embed(l, m->embedding, m->positions, l->target + b * l->time, rows, x);
        for (uint32_t layer = 0; layer < m->config.layers; layer++)
            for (int part = SELF; part <= MLP; part++)
                plain_sublayer(l, &m->block[layer], part, true, x, rows, memory, keys);
        memcpy(h, x, sizeof h);
        if (m->norm_w >= 0) plain_norm(l, m->norm_w, m->norm_b, x, rows, h);
        for (uint32_t t = 0, r = b * l->time; t < l->time; t++, r++) {
            double logits[TARGET_WORDS];
            nll[r] = t < rows ? plain_nll(l, head, h + t * WIDTH, l->label[r], logits) : 0;
            loss += nll[r];
            labels += t < rows;
        }
    }
    free(head);
    return loss / labels;
}

static void loss_equals_the_plain_transformer(void **state)
{
    (void)state;
    for (int which = 0; which < configs(); which++) {
        dart_model_config config = config_at(which);
        config.dropout = config.label_smoothing = 0;
        lab l;
        lab_open(&l, &config);
        double nll[BATCH * MOST], want = plain_model(&l, nll);
        const uint32_t chunks[] = {0, 1, 4, 99};
        for (int i = 0; i < 4; i++) {
            built b;
            double loss, rows[2 * BATCH * MOST];
            dart_node keep[2];
            open_graph(&l, &b);
            keep[0] = dart_model_loss(l.model, b.graph, &b.leaves, false, chunks[i], &keep[1]);
            run_graph(&l, &b, 2, keep);
            ok(ir_read(&b.run, 0, &loss));
            ok(ir_read(&b.run, 1, rows));
            close_graph(&b);
            if (fabs(loss - want) > TOLERANCE * fabs(want))
                fail_msg("config %d: loss %.9g, plain %.9g", which, loss, want);
            for (uint32_t r = 0; r < BATCH * l.time; r++)
                assert_true(fabs(rows[2 * r] - nll[r]) < TOLERANCE);
            loss = train(&l, chunks[i], NULL);
            assert_true(fabs(loss - want) < TOLERANCE * fabs(want));
        }
        lab_close(&l);
    }
}

static void gradients_match_differences(void **state)
{
    (void)state;
    int compared = 0;
    for (int which = 0; which < configs(); which++) {
        dart_model_config config = config_at(which);
        lab l;
        lab_open(&l, &config);
        compared += gradient_differences(&l, which);
        lab_close(&l);
    }
    print_message("encoder-decoder: %d gradient entries compared\n", compared);
    assert_true(compared >= 900);
}

static void weights_are_named_by_side(void **state)
{
    (void)state;
    static const char *const names[] = {"tok_emb", "src_emb", "enc.1.attn.q", "enc.0.mlp.down",
        "dec.0.attn.o", "dec.1.cross.q", "dec.0.cross.v", "dec.1.mlp.up"};
    dart_model_config config = config_at(1);
    dart_model *model;
    ok(dart_model_new(&config, NULL, &model));
    for (size_t n = 0; n < sizeof names / sizeof *names; n++) {
        uint32_t w = 0;
        while (w < model->weights && strcmp(model->weight[w].weight.name, names[n])) w++;
        if (w == model->weights) fail_msg("no weight is called %s", names[n]);
    }
    /* 2 tables, 2 x 6 in the encoder, 2 x 10 in the decoder */
    assert_int_equal(model->weights, 34);
    dart_model_free(model);
}

static void impossible_models_are_refused(void **state)
{
    (void)state;
    dart_model *model;
    dart_model_config c = base_config();
    c.shared_vocab = true;
    assert_int_equal(dart_model_new(&c, NULL, &model), DART_INPUT);
    assert_non_null(strstr(dart_error_text(), "13 source and 11 target"));
    c = base_config();
    c.source_context = 0;
    assert_int_equal(dart_model_new(&c, NULL, &model), DART_INPUT);
    c = base_config();
    c.enc_layers = 0;
    c.norm.post = true;
    assert_int_equal(dart_model_new(&c, NULL, &model), DART_INPUT);
    assert_non_null(strstr(dart_error_text(), "encoder-decoder"));
    c = base_config();
    c.adapter = 4;
    assert_int_equal(dart_model_new(&c, NULL, &model), DART_INPUT);
    assert_non_null(strstr(dart_error_text(), "adapters"));
    c = base_config();
    c.positions.kind = 3;
    assert_int_equal(dart_model_new(&c, NULL, &model), DART_INPUT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(loss_equals_the_plain_transformer),
        cmocka_unit_test(gradients_match_differences), cmocka_unit_test(weights_are_named_by_side),
        cmocka_unit_test(impossible_models_are_refused)};
    return cmocka_run_group_tests(tests, open_device, close_device);
}
