/* Decoder-only models with every option against a plain C transformer that materialises everything,
 * gradients against finite differences, chunking and layout. On the f64 device. */
#include "decoder_lab.h"
#include "plain_transformer.h"

/* nll[ROWS], logits (ROWS, VOCAB); returns the loss */
static double plain_model(const lab *l, double *nll, double *logits)
{
    const dart_model *m = l->model;
    double x[MOST * WIDTH], h[MOST * WIDTH], loss = 0, *head = dense_of(l, m->head);
    for (int b = 0; b < BATCH; b++) {
        plain_embed(l, m->embedding, m->positions, l->target + b * TIME, TIME, x);
        for (uint32_t layer = 0; layer < m->config.layers; layer++) {
            plain_sublayer(l, &m->block[layer], SELF, true, x, TIME, NULL, 0);
            plain_sublayer(l, &m->block[layer], MLP, true, x, TIME, NULL, 0);
        }
        plain_norm(l, m->norm_w, m->norm_b, x, TIME, h);
        for (int t = 0, r = b * TIME; t < TIME; t++, r++) {
            nll[r] = plain_nll(l, head, h + t * WIDTH, l->label[r], logits + r * VOCAB);
            loss += nll[r] / ROWS;
        }
    }
    free(head);
    return loss;
}

/* Other classes that are as likely as the label or likelier; VOCAB where there is no label. */
static int rank_of(const double *logits, int32_t label)
{
    int found = label < 0 ? VOCAB : -1;
    for (int v = 0; v < VOCAB && label >= 0; v++) found += logits[v] >= logits[label];
    return found;
}

static void loss_equals_the_plain_transformer(void **state)
{
    (void)state;
    for (int which = 0; which < configs(); which++) {
        dart_model_config config = config_at(which);
        config.dropout = 0;
        lab l;
        lab_open(&l, &config);
        double nll[ROWS], logits[ROWS * VOCAB], want = plain_model(&l, nll, logits);
        const uint32_t chunks[] = {0, 1, 3, 4, ROWS, 99};
        for (int i = 0; i < 6; i++) {
            built b;
            double loss, rows[2 * ROWS];
            dart_node keep[2];
            open_graph(&l, &b);
            keep[0] = dart_model_loss(l.model, b.graph, &b.leaves, false, chunks[i], &keep[1]);
            run_graph(&l, &b, 2, keep);
            ok(ir_read(&b.run, 0, &loss));
            ok(ir_read(&b.run, 1, rows));
            assert_true(fabs(loss - want) < TOLERANCE * fabs(want));
            for (int r = 0; r < ROWS; r++) {
                assert_true(fabs(rows[2 * r] - nll[r]) < TOLERANCE);
                assert_true(rows[2 * r + 1] == rank_of(logits + r * VOCAB, l.label[r]));
            }
            close_graph(&b);
            open_training(&l, &b, chunks[i]);
            ok(ir_read(&b.run, 0, &loss));
            assert_true(fabs(loss - want) < TOLERANCE * fabs(want));
            close_graph(&b);
        }
        for (uint32_t at = 0; at < TIME; at += 2) {
            built b;
            open_graph(&l, &b);
            dart_node y = dart_model_logits(l.model, b.graph, &b.leaves, at);
            uint32_t padded = l.model->weight[l.model->head].layout.padded_out;
            double *got = calloc((size_t)BATCH * padded, sizeof *got);
            run_graph(&l, &b, 1, &y);
            ok(ir_read(&b.run, 0, got));
            for (int s = 0; s < BATCH; s++)
                for (int v = 0; v < VOCAB; v++)
                    assert_true(fabs(got[s * padded + v] - logits[(s * TIME + at) * VOCAB + v]) <
                                TOLERANCE);
            free(got);
            close_graph(&b);
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
    print_message("model: %d gradient entries compared\n", compared);
    assert_true(compared >= 600);
}

/* The training step of a model with a large vocabulary: launches and tensors wider than a chunk of
 * the logits; the largest piece of the arena that any launch binds. */
static uint64_t largest_piece(uint32_t vocab, uint32_t chunk, const char *head, uint32_t *full)
{
    enum { SENTENCES = 8, LENGTH = 8 };
    dart_model_config config = base_config();
    config.vocab = vocab;
    config.context = LENGTH;
    role_set(&config, HEAD, head);
    dart_model *model;
    dart_model_leaves leaves;
    dart_graph *graph, *better;
    dart_plan *plan;
    ok(dart_model_new(&config, NULL, &model));
    ok(dart_graph_new(&graph));
    ok(dart_model_leaves_new(model, graph, SENTENCES, LENGTH, &leaves));
    dart_node keep[256] = {0};
    keep[0] = dart_model_loss(model, graph, &leaves, true, chunk, NULL);
    assert_true(model->params < 255);
    ok(dart_grad(graph, keep[0], model->params, leaves.param, keep + 1));
    dart_node *map = calloc(dart_graph_count(graph) + 1, sizeof *map);
    dart_cost cost = dart_cost_for(&device->caps);
    ok(dart_optimize(graph, &cost, model->params + 1, keep, &better, map));
    for (uint32_t i = 0; i <= model->params; i++) keep[i] = map[keep[i]];
    ok(dart_plan_new(better, &device->caps, NULL, model->params + 1, keep, &plan));
    uint32_t launches;
    uint64_t largest = 0;
    const dart_launch *list = dart_plan_launches(plan, &launches);
    *full = 0;
    for (uint32_t i = 0; i < launches; i++)
        for (uint32_t b = 0; b < list[i].buffers; b++) {
            if (list[i].buf[b].buffer < DART_REGIONS) continue;
            if (list[i].buf[b].words > largest) largest = list[i].buf[b].words;
            *full += list[i].kernel == DART_K_cross_entropy && b == 0 &&
                     list[i].buf[b].words == (uint64_t)chunk * vocab;
        }
    dart_plan_free(plan);
    dart_graph_free(better);
    dart_graph_free(graph);
    dart_model_leaves_free(&leaves);
    dart_model_free(model);
    free(map);
    return largest;
}

/* The claim: never more than a chunk of the logits, forward or backward. */
static void logits_come_in_chunks(void **state)
{
    (void)state;
    enum { WORDS_MOST = 500, ALL = 64, CHUNK = 16 }; /* a chunk is larger than the table: 16 > 8 */
    const char *const heads[] = {"dense", "tt", "ttm"};
    for (int h = 0; h < 3; h++) {
        uint32_t full;
        assert_int_equal(largest_piece(WORDS_MOST, CHUNK, heads[h], &full), CHUNK * WORDS_MOST);
        assert_int_equal(full, ALL / CHUNK);
        /* the control: one chunk of everything is what the bound forbids */
        assert_int_equal(largest_piece(WORDS_MOST, ALL, heads[h], &full), ALL * WORDS_MOST);
        assert_int_equal(full, 1);
    }
}

/* Dropout: the same step repeats, another step differs, evaluation ignores it. */
static void dropout_follows_the_step(void **state)
{
    (void)state;
    dart_model_config config = config_at(FIXED - 1);
    double value[3];
    lab l;
    lab_open(&l, &config);
    for (int i = 0; i < 3; i++) {
        built b;
        l.data.region[DART_REGION_ISCAL][0] = i == 2 ? 4 : 3;
        open_training(&l, &b, 0);
        ok(ir_read(&b.run, 0, &value[i]));
        close_graph(&b);
    }
    assert_true(value[0] == value[1]);
    assert_true(value[0] != value[2]);
    built b;
    double nll[ROWS], logits[ROWS * VOCAB], loss;
    open_graph(&l, &b);
    dart_node eval = dart_model_loss(l.model, b.graph, &b.leaves, false, 0, NULL);
    run_graph(&l, &b, 1, &eval);
    ok(ir_read(&b.run, 0, &loss));
    assert_true(fabs(loss - plain_model(&l, nll, logits)) < TOLERANCE);
    close_graph(&b);
    lab_close(&l);
}

/* Parameters do not overlap, decayed ones come first, counts add up, names are unique. */
static void layout_is_sound(void **state)
{
    (void)state;
    for (int which = 0; which < configs(); which++) {
        dart_model_config config = config_at(which);
        dart_model *m;
        ok(dart_model_new(&config, NULL, &m));
        uint64_t total = 0, sum, compressed, dense, expected_dense = 0;
        for (uint32_t p = 0; p < m->params; p++) {
            const dart_param *a = &m->param[p];
            uint64_t words = dart_shape_words(&a->shape);
            bool trained = a->region == DART_REGION_PARAM;
            total += words;
            assert_int_equal(a->offset % 64, 0);
            assert_true(a->offset + words <= (trained ? m->param_words : m->frozen_words));
            if (trained) assert_int_equal(a->decay, a->offset + words <= m->decay_words);
            if (trained) assert_true(a->decay || a->offset >= m->decay_words);
            for (uint32_t q = 0; q < p; q++) {
                const dart_param *b = &m->param[q];
                assert_string_not_equal(a->name, b->name);
                if (a->region != b->region) continue;
                assert_true(a->offset + words <= b->offset ||
                            b->offset + dart_shape_words(&b->shape) <= a->offset);
            }
        }
        for (uint32_t w = 0; w < m->weights; w++)
            if (m->weight[w].compressed)
                expected_dense += (uint64_t)m->weight[w].weight.out * m->weight[w].weight.in;
        dart_model_count(m, &sum, &compressed, &dense);
        assert_int_equal(sum, total);
        assert_int_equal(dense, expected_dense);
        assert_true(compressed <= total);

        float *param = malloc(m->param_words * sizeof *param);
        float *frozen = malloc((m->frozen_words + 1) * sizeof *frozen);
        ok(dart_model_init(m, 4, param, frozen));
        const dart_param *q = &m->param[m->weight[m->block[0].attn.q].first_param];
        const float *at = (q->region == DART_REGION_PARAM ? param : frozen) + q->offset;
        double square = 0;
        uint64_t words = dart_shape_words(&q->shape);
        for (uint64_t i = 0; i < words; i++) square += at[i] * at[i];
        assert_true(fabs(sqrt(square / words) / q->std - 1) < 0.6); /* a few dozen draws */
        const dart_param *norm = &m->param[m->norm_w];
        assert_int_equal(norm->region == DART_REGION_FROZEN, m->config.frozen_vectors);
        assert_true((m->config.frozen_vectors ? frozen : param)[norm->offset] == 1.0f);
        free(param);
        free(frozen);
        dart_model_free(m);
    }
}

static void bad_configurations_are_refused(void **state)
{
    (void)state;
    dart_model *m = NULL;
    dart_model_config c = base_config();
    c.heads = 3;
    assert_int_equal(dart_model_new(&c, NULL, &m), DART_INPUT);
    c = base_config();
    c.kv_heads = 0;
    assert_int_equal(dart_model_new(&c, NULL, &m), DART_INPUT);
    c = base_config();
    c.d_ff = 11; /* a prime: does not factor into two modes */
    role_set(&c, LINEAR, "tt");
    assert_int_equal(dart_model_new(&c, NULL, &m), DART_INPUT);
    assert_non_null(strstr(dart_error_text(), "11"));
    c = base_config();
    c.positions = (dart_model_positions){
        DART_ROTARY, 1e4, {.kind = DART_ROPE_LLAMA3, .factor = 8, .low = 4, .high = 4}};
    assert_int_equal(dart_model_new(&c, NULL, &m), DART_INPUT);
    assert_non_null(strstr(dart_error_text(), "rope_scaling"));
    c.positions.scaling.kind = DART_ROPE_PLAIN;
    c.head_dim = 5;
    assert_int_equal(dart_model_new(&c, NULL, &m), DART_INPUT);
    assert_non_null(strstr(dart_error_text(), "even head size"));
    c = base_config();
    c.adapter = 65537;
    assert_int_equal(dart_model_new(&c, NULL, &m), DART_INPUT);
    assert_non_null(strstr(dart_error_text(), "width 65537"));
    c = base_config();
    role_set(&c, LINEAR, "tt");
    c.role[LINEAR].rank = 4000;
    c.strict_rank = true;
    assert_int_equal(dart_model_new(&c, NULL, &m), DART_INPUT);
    c.strict_rank = false;
    ok(dart_model_new(&c, NULL, &m));
    dart_graph *graph;
    dart_model_leaves leaves;
    ok(dart_graph_new(&graph));
    assert_int_equal(dart_model_leaves_new(m, graph, 1, 7, &leaves), DART_INPUT);
    dart_graph_free(graph);
    dart_model_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(layout_is_sound),
        cmocka_unit_test(bad_configurations_are_refused),
        cmocka_unit_test(loss_equals_the_plain_transformer),
        cmocka_unit_test(gradients_match_differences), cmocka_unit_test(dropout_follows_the_step),
        cmocka_unit_test(logits_come_in_chunks)};
    return cmocka_run_group_tests(tests, open_device, close_device);
}
