/* Classifiers on encoders and decoders against a plain C transformer that reads one text at a time
 * without padding, gradients against finite differences, and configurations that are refused. */
#include "plain_transformer.h"

enum { BATCH = 3, TIME = 6, ROWS = BATCH * TIME, WORDS = 11, LABELS = 4, SEGMENTS = 2 };

static dart_model_config config_at(int which)
{
    dart_model_config c = {.layers = 2,
        .d_model = WIDTH,
        .heads = 2,
        .kv_heads = 2,
        .d_ff = INNER,
        .context = TIME,
        .vocab = WORDS,
        .tied = true,
        .labels = LABELS,
        .act = DART_ACT_GELU_ERF,
        .bias = DART_ALL_BIAS};
    roles_new(&c, 3, 4, 3, 2);
    c.encoder = c.norm.post = which < 3;
    if (which == 0) c.token_types = SEGMENTS;
    c.pooler = which < 2;
    if (which == 1) role_set(&c, LINEAR, "tt");
    if (which == 2) role_set(&c, LINEAR, "lora");
    if (which == 4) { /* Llama */
        c.norm.kind = DART_RMS_NORM;
        c.positions.kind = DART_ROTARY;
        c.act = DART_ACT_SWIGLU;
        c.bias = DART_NO_BIAS;
        c.kv_heads = 1;
    }
    return c;
}
enum { CONFIGS = 5 };

static const int32_t length[BATCH] = {6, 3, 1};

static void lab_open(lab *l, const dart_model_config *config)
{
    *l = (lab){.batch = BATCH, .time = TIME};
    ok(dart_model_new(config, NULL, &l->model));
    lab_fill(l);
    const dart_text_input in = dart_model_text_input(l->model, BATCH, TIME);
    uint64_t tokens, labels, index;
    dart_model_input_offsets(l->model, BATCH, TIME, &tokens, &labels, &index);
    double *to = l->data.region[DART_REGION_INPUT];
    int32_t at[BATCH], types[ROWS];
    for (int i = 0; i < ROWS; i++) {
        l->target[i] = (int32_t)(dart_uniform(9, DART_STREAM_TEST, i) * WORDS);
        types[i] = i % TIME > 1;
        to[tokens + i] = l->target[i];
        if (config->token_types) to[in.types + i] = types[i];
    }
    for (int b = 0; b < BATCH; b++) {
        l->label[b] = b;
        at[b] = b * TIME + (config->encoder ? 0 : length[b] - 1);
        to[labels + b] = b;
        to[in.lengths + b] = length[b];
        to[in.at + b] = at[b];
    }
    write_index(to + index, l->target, ROWS, WORDS);
    write_index(to + in.at_index, at, BATCH, ROWS);
    if (config->token_types) write_index(to + in.types_index, types, ROWS, SEGMENTS);
    assert_int_equal(in.words, dart_model_input_words(l->model, BATCH, TIME));
}

/* Scores of text b, and its negative log likelihood. */
static double plain_text(const lab *l, int b, double scores[LABELS])
{
    const dart_model *m = l->model;
    const uint32_t n = (uint32_t)length[b];
    double x[MOST * WIDTH], h[MOST * WIDTH], total = 0;
    plain_embed(l, m->embedding, m->positions, l->target + b * TIME, n, x);
    for (uint32_t t = 0; t < n && m->types >= 0; t++)
        for (int j = 0; j < WIDTH; j++)
            x[t * WIDTH + j] += value_of(l, m->types)[(t > 1) * WIDTH + j];
    if (m->config.encoder) {
        plain_norm(l, m->norm_emb_w, m->norm_emb_b, x, n, h);
        memcpy(x, h, sizeof x);
    }
    for (uint32_t layer = 0; layer < m->config.layers; layer++) {
        plain_sublayer(l, &m->block[layer], SELF, !m->config.encoder, x, n, NULL, 0);
        plain_sublayer(l, &m->block[layer], MLP, false, x, n, NULL, 0);
    }
    const double *row = m->config.encoder ? x : x + (n - 1) * WIDTH;
    if (m->norm_w >= 0) {
        plain_norm(l, m->norm_w, m->norm_b, row, 1, h);
        row = h;
    }
    double pooled[WIDTH];
    if (m->pooler >= 0) {
        plain_linear(l, m->pooler, m->pooler_bias, row, 1, pooled);
        for (int j = 0; j < WIDTH; j++) pooled[j] = tanh(pooled[j]);
        row = pooled;
    }
    plain_linear(l, m->classifier, m->classifier_bias, row, 1, scores);
    for (int i = 0; i < LABELS; i++) total += exp(scores[i]);
    return log(total) - scores[l->label[b]];
}

static void scores_equal_the_plain_transformer(void **state)
{
    (void)state;
    for (int which = 0; which < CONFIGS; which++) {
        const dart_model_config config = config_at(which);
        lab l;
        built b;
        dart_node keep[3];
        double loss, rows[BATCH], scores[BATCH * LABELS], want = 0;
        lab_open(&l, &config);
        assert_int_equal(l.model->classifier_bias >= 0, config.encoder);
        assert_int_equal(l.model->norm_w >= 0, !config.encoder);
        open_graph(&l, &b);
        keep[0] = dart_model_classify(l.model, b.graph, &b.leaves, false, &keep[1], &keep[2]);
        run_graph(&l, &b, 3, keep);
        ok(ir_read(&b.run, 0, &loss));
        ok(ir_read(&b.run, 1, rows));
        ok(ir_read(&b.run, 2, scores));
        for (int t = 0; t < BATCH; t++) {
            double plain[LABELS];
            const double nll = plain_text(&l, t, plain);
            for (int i = 0; i < LABELS; i++)
                if (fabs(plain[i] - scores[t * LABELS + i]) > TOLERANCE)
                    fail_msg("config %d text %d: score %g, plain %g", which, t,
                        scores[t * LABELS + i], plain[i]);
            assert_true(fabs(nll - rows[t]) < TOLERANCE);
            want += nll / BATCH;
        }
        assert_true(fabs(loss - want) < TOLERANCE);
        close_graph(&b);
        lab_close(&l);
    }
}

/* Of the loss by every trained parameter, as gradient_differences. */
static void gradients_match_differences(void **state)
{
    (void)state;
    int compared = 0;
    for (int which = 0; which < CONFIGS; which++) {
        const dart_model_config config = config_at(which);
        lab l;
        lab_open(&l, &config);
        compared += gradient_differences(&l, which);
        lab_close(&l);
    }
    print_message("classifiers: %d gradient entries compared\n", compared);
    assert_true(compared >= 400);
}

static void others_are_refused(void **state)
{
    (void)state;
    for (int i = 0; i < 8; i++) {
        dart_model_config c = config_at(i < 5 ? 0 : 3);
        dart_model *model;
        if (i == 0) c.labels = 1;
        if (i == 1) c.labels = DART_MAX_LABELS + 1;
        if (i == 2) c.labels = 0;
        if (i == 3) c.norm.post = false;
        if (i == 4) c.positions.kind = DART_ROTARY;
        if (i == 5) c.pooler = true;
        if (i == 6) c.partial_labels = true;
        if (i == 7) c.norm.post = true;
        if (dart_model_new(&c, NULL, &model) != DART_INPUT) fail_msg("case %d is taken", i);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(scores_equal_the_plain_transformer),
        cmocka_unit_test(gradients_match_differences), cmocka_unit_test(others_are_refused)};
    return cmocka_run_group_tests(tests, open_device, close_device);
}
